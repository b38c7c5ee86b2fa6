"""What a look at a whole prefix shows: every election, its leader and its queue. Pure: entries in, plain data out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from leasekit.core.lease import margin_s
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
    hold_ttl_s: float | None = None
    """Set while a forced resignation keeps the place empty: the ttl of the old lease, which has to run out first."""
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
        return "vacant" if self.hold_ttl_s is None else "held"

    def filled_within_s(self, expires_within_s: Callable[[float], float]) -> float | None:
        """How long the place stays empty at most: from now, or if somebody leads, from the death of the leader.

        While the store is well and one of those who wait lives; None if nobody waits. `expires_within_s` is the store's.
        """
        if not self.waiting:
            return None
        if self.leader is not None:
            return expires_within_s(self.leader.ttl_s)
        if self.hold_ttl_s is not None:
            return self.hold_ttl_s + margin_s(self.hold_ttl_s)
        # A living candidate claims at once, unless one that has died stands ahead of it: until its key is gone, too.
        return max(expires_within_s(candidate.ttl_s) for candidate in self.candidates)

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
        record = None if leader_entry is None else load_leader(leader_entry.value)
        hold_ttl_s = record.ttl_s if isinstance(record, HoldRecord) else None
        return ElectionView(name, leader_of(leader_entry), tuple(map(candidate_of, queue)), hold_ttl_s)
    except ProtocolError as error:
        return ElectionView(name, None, (), problem=str(error))


def age_s(since: str, wall_s: float) -> float | None:
    """Seconds since a record's `since`, by this machine's wall clock; None if it is no time. For people only."""
    try:
        began = datetime.fromisoformat(since)
    except ValueError:
        return None
    return max(0.0, wall_s - began.replace(tzinfo=began.tzinfo or UTC).timestamp())
