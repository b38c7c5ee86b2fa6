"""What each member's log must be, as far as it has told its disk: kept apart from the code under test."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from leasekit.backends.raft.core.types import Entry, HardState, MemberId, Recovered, SnapshotMeta, Write


@dataclass(slots=True)
class Shadow:
    """The terms of a log, from the writes that its member handed out."""

    base_index: int
    base_term: int
    terms: list[int]
    """Of the entries behind the base."""
    state: HardState

    @staticmethod
    def of(recovered: Recovered) -> Shadow:
        """The log that a member starts with."""
        meta = recovered.snapshot.meta
        return Shadow(meta.index, meta.term, [entry.term for entry in recovered.entries], recovered.hard_state)

    @property
    def last_index(self) -> int:
        """Of the last entry."""
        return self.base_index + len(self.terms)

    def term(self, index: int) -> int | None:
        """Of the entry at `index`; None if there is none, or it is covered by the snapshot."""
        place = index - self.base_index - 1
        if place == -1:
            return self.base_term
        return self.terms[place] if 0 <= place < len(self.terms) else None

    def holds(self, index: int, term: int) -> bool:
        """Whether the committed entry with this index and term is here, or in the snapshot."""
        return index <= self.base_index or self.term(index) == term

    def write(self, write: Write) -> None:
        """Do what the disk is to do."""
        if write.snapshot is not None:
            meta: SnapshotMeta = write.snapshot.meta
            self.base_index, self.base_term, self.terms = meta.index, meta.term, []
        if write.entries:
            self.append(write.entries)
        if write.hard_state is not None:
            self.state = write.hard_state

    def append(self, entries: tuple[Entry, ...]) -> None:
        """Put `entries` in the place of what stands from the first one on."""
        del self.terms[entries[0].index - self.base_index - 1 :]
        self.terms += [entry.term for entry in entries]


class Disks:
    """For each member, what it has told its disk to keep, and what its disk has said to be safe."""

    def __init__(self) -> None:
        self.told: dict[MemberId, Shadow] = {}
        self.durable: dict[MemberId, Shadow] = {}
        self.waiting: dict[MemberId, deque[Write]] = {}

    def start(self, member: MemberId, recovered: Recovered) -> None:
        """`member` starts with what was on its disk, which is durable."""
        self.told[member] = Shadow.of(recovered)
        self.durable[member] = Shadow.of(recovered)
        self.waiting[member] = deque()

    def wrote(self, member: MemberId, write: Write) -> None:
        """`write` was handed out."""
        self.told[member].write(write)
        self.waiting[member].append(write)

    def persisted(self, member: MemberId, number: int) -> None:
        """All up to write `number` is durable."""
        waiting = self.waiting[member]
        while waiting and waiting[0].number <= number:
            self.durable[member].write(waiting.popleft())
