"""What a look at a whole prefix shows: every election, its leader and its queue. Pure: entries in, plain data out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from leasekit.core.queue import priority_of
from leasekit.core.records import HoldRecord, Keys, load_leader
from leasekit.election import Candidate, Leader, candidate_of, leader_of
from leasekit.errors import ProtocolError
from leasekit.store import Entry


@dataclass(frozen=True, slots=True)
class ElectionView:
    """One election as of a look. `problem` says what is wrong with its records, None if nothing is."""

    election: str
    leader: Leader | None
    candidates: tuple[Candidate, ...]
    held: bool
    """Whether a forced resignation keeps the place empty until the old lease is surely out of use."""
    problem: str | None = None

    @property
    def waiting(self) -> int:
        """How many candidates queue behind the leader."""
        return sum(candidate.id != (self.leader.id if self.leader else None) for candidate in self.candidates)

    @property
    def state(self) -> str:
        """led, held, or vacant; unreadable where the records are."""
        if self.problem is not None:
            return "unreadable"
        if self.leader is not None:
            return "led"
        return "held" if self.held else "vacant"

    def data(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "election": self.election,
            "state": self.state,
            "leader": None if self.leader is None else asdict(self.leader),
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "problem": self.problem,
        }


def elections(entries: Iterable[Entry]) -> list[ElectionView]:
    """The elections that the entries of a prefix belong to, by name. Keys of no election are passed over."""
    by_name: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        name, slash, _ = entry.key.partition("/")
        if slash:
            by_name.setdefault(name, {})[entry.key] = entry
    return [election(name, by_name[name]) for name in sorted(by_name)]


def election(name: str, entries: dict[str, Entry]) -> ElectionView:
    """The election `name`, from its entries by key."""
    keys = Keys(name)
    queue = sorted(
        (entry for key, entry in entries.items() if key.startswith(keys.queue)),
        key=lambda entry: (-priority_of(entry), entry.create_revision),
    )
    leader_entry = entries.get(keys.leader)
    try:
        held = leader_entry is not None and isinstance(load_leader(leader_entry.value), HoldRecord)
        return ElectionView(name, leader_of(leader_entry), tuple(map(candidate_of, queue)), held)
    except ProtocolError as error:
        return ElectionView(name, None, (), held=False, problem=str(error))


def age_s(since: str, wall_s: float) -> float | None:
    """Seconds since a record's `since`, by this machine's wall clock; None if it is no time. For people only."""
    try:
        began = datetime.fromisoformat(since)
    except ValueError:
        return None
    return max(0.0, wall_s - began.replace(tzinfo=began.tzinfo or UTC).timestamp())
