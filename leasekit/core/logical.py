"""Logical clocks: what happened before what, whatever the machines' clocks say (Lamport 1978; Fidge, Mattern 1988).

A vector clock counts, for each process, the events that it knows of. A counter here is Lamport's time of the process's
newest event, not its number: it may jump. Vectors compare as ever, since a process's own counter still rises with
each of its events, and the greatest counter of a vector is the Lamport time, which so needs no place of its own in the
records that carry vectors from process to process.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

LIMIT = 64
"""The most entries that an event's vector has."""
LONGEST_NAME = 300
GREATEST = 2**53 - 1
"""The greatest counter that is read: what every JSON reader takes for an integer."""


class Relation(enum.StrEnum):
    """How one vector stands to another."""

    EQUAL = "equal"
    """The same event."""
    BEFORE = "before"
    AFTER = "after"
    CONCURRENT = "concurrent"
    """Neither could know of the other."""


def lamport_after(*heard: int) -> int:
    """Lamport's time of an event that comes after events of these times."""
    return 1 + max(heard, default=0)


@dataclass(frozen=True, eq=False)
class VectorClock:
    """A vector of counters, one for each process; a process that is not in it stands at 0. Immutable.

    The entries stand in the order of their news, the newest last, so that a vector that has grown too long forgets
    whom it has not heard of for longest. Comparing ignores that order.
    """

    counts: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, process: str) -> int:
        return self.counts.get(process, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VectorClock) and self.compared(other) is Relation.EQUAL

    def __hash__(self) -> int:
        return hash(frozenset((process, count) for process, count in self.counts.items() if count))

    @property
    def lamport(self) -> int:
        """The Lamport time of the newest event in it; 0 if there is none."""
        return max(self.counts.values(), default=0)

    def tick(self, process: str, *, limit: int = LIMIT) -> VectorClock:
        """The vector of the next event of `process`, with at most `limit` entries.

        What is forgotten may later make an order look like concurrency, never the other way round: the newest event
        of a process always has its own entry, and only an entry as great as that makes something come after it.
        """
        counts = {name: count for name, count in self.counts.items() if name != process}
        counts[process] = lamport_after(self.lamport)
        surplus = len(counts) - limit
        return VectorClock(dict(list(counts.items())[max(0, surplus) :]))

    def merged(self, other: VectorClock) -> VectorClock:
        """The least vector that is not before either: what is known after hearing of the other."""
        counts = dict(self.counts)
        for process, count in other.counts.items():
            if count > self[process]:
                counts.pop(process, None)
                counts[process] = count
        return VectorClock(counts)

    def compared(self, other: VectorClock) -> Relation:
        """Before: every counter is at most the other's, and at least one is less."""
        less = any(count < other[process] for process, count in self.counts.items()) or any(
            count > self[process] for process, count in other.counts.items()
        )
        greater = any(count > other[process] for process, count in self.counts.items()) or any(
            count < self[process] for process, count in other.counts.items()
        )
        if less and greater:
            return Relation.CONCURRENT
        if less:
            return Relation.BEFORE
        return Relation.AFTER if greater else Relation.EQUAL


NEVER = VectorClock()


def read(counts: object) -> VectorClock:
    """The vector that stands in a record. Raises ValueError if there is none such: another program wrote it."""
    if not isinstance(counts, Mapping):
        raise ValueError("a vector clock is an object of counters by process")  # noqa: TRY004 (what was read is wrong)
    if len(counts) > LIMIT:
        raise ValueError(f"a vector clock has at most {LIMIT} entries, not {len(counts)}")
    for process, count in counts.items():
        if not isinstance(process, str) or not 0 < len(process) <= LONGEST_NAME:
            raise ValueError(f"a process has a name of 1 to {LONGEST_NAME} characters")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= GREATEST:
            raise ValueError(f"{count!r} is no counter")
    return VectorClock(dict(counts))
