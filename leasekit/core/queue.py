"""Reading one consistent look at an election: who queues, who is first, who leads, and what of it is mine."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from leasekit.core import records
from leasekit.core.records import CandidateRecord, HoldRecord, Keys, LeaderRecord
from leasekit.errors import ProtocolError
from leasekit.store import Absent, At, Compare, Entry, Get, NoneUnder, Op, Put


@dataclass(frozen=True, slots=True)
class Base:
    """The token base as last read, and the revision that a claim compares; revision None: the key is absent."""

    value: int = 0
    revision: int | None = None

    @property
    def unchanged(self) -> Compare:
        return Absent(records.BASE_KEY) if self.revision is None else At(records.BASE_KEY, self.revision)


NO_BASE = Base()


@dataclass(frozen=True, slots=True)
class Look:
    """What one transaction of reads (`look_ops`) showed, as of `revision`."""

    revision: int
    leader: Entry | None
    queue: tuple[Entry, ...]
    """Higher priority first, then lower create revision."""
    base: Base

    def candidate(self, key: str) -> Entry | None:
        return next((entry for entry in self.queue if entry.key == key), None)

    def predecessor(self, key: str) -> Entry | None:
        """Who stands right before `key` in the queue; None if it is first."""
        position = [entry.key for entry in self.queue].index(key)
        return self.queue[position - 1] if position else None


class Holder(enum.Enum):
    """Whose the `leader` record is."""

    NOBODY = enum.auto()
    ME = enum.auto()
    ANOTHER = enum.auto()
    HOLD = enum.auto()


def look_ops(keys: Keys) -> tuple[Get, ...]:
    """The reads that `read_look` understands, in its order."""
    return Get(keys.leader), Get(keys.queue, prefix=True), Get(records.BASE_KEY)


def read_look(reads: tuple[tuple[Entry, ...], ...], revision: int) -> Look:
    """Take apart what `look_ops` read."""
    leader, queue, base = reads
    return Look(
        revision=revision,
        leader=leader[0] if leader else None,
        queue=in_order(queue),
        base=Base(records.load_base(base[0].value), base[0].revision) if base else NO_BASE,
    )


def in_order(candidates: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The queue: higher priority first, then lower create revision."""
    return tuple(sorted(candidates, key=lambda entry: (-priority_of(entry), entry.create_revision)))


def priority_of(candidate: Entry) -> int:
    """A candidate's priority. A record that cannot be read queues at 0: it must not stop the others."""
    try:
        return records.load_candidate(candidate.value).priority
    except ProtocolError:
        return 0


def holder_of(leader: Entry | None, *, lease_id: str, id: str) -> Holder:
    """Whose the record is: mine by the lease, and by the id among the candidates that share the lease.

    A record that cannot be read is another's: it says that somebody leads, not who.
    """
    if leader is None:
        return Holder.NOBODY
    try:
        record = records.load_leader(leader.value)
    except ProtocolError:
        return Holder.ANOTHER
    if isinstance(record, HoldRecord):
        return Holder.HOLD
    return Holder.ME if leader.lease_id == lease_id and record.id == id else Holder.ANOTHER


def waiting(
    keys: Keys, id: str, compares: Sequence[Compare], ops: Sequence[Op], reads: Sequence[tuple[Entry, ...]]
) -> int | None:
    """How many candidates queue behind the leader, if this transaction, by the candidate `id`, was applied and shows it."""
    if NoneUnder(keys.queue) in compares:
        return 0
    if not reads:
        return None
    found = {get.key: entries for get, entries in zip((op for op in ops if isinstance(op, Get)), reads, strict=False)}
    if keys.queue not in found:
        return None
    leader = id if any(isinstance(op, Put) and op.key == keys.leader for op in ops) else None
    for entry in found.get(keys.leader, ()):
        with suppress(ProtocolError):
            record = records.load_leader(entry.value)
            leader = None if isinstance(record, HoldRecord) else record.id
    behind = [entry for entry in found[keys.queue] if leader is None or entry.key != keys.candidate(leader)]
    return len(behind)


def token_of(leader: Entry) -> int:
    """The fencing token of the leadership that this record stands for. Raises ProtocolError for a hold."""
    record = records.load_leader(leader.value)
    if isinstance(record, HoldRecord):
        raise ProtocolError("a hold stands for no leadership and has no token")
    return record.base + leader.revision


def leader_value(candidate: CandidateRecord, base: Base, wall_s: float, clock: Mapping[str, int]) -> bytes:
    """The leader record of this candidate, to be put now."""
    return records.dump_leader(LeaderRecord.of(candidate, base=base.value, wall_s=wall_s, clock=clock))
