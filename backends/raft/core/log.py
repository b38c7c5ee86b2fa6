"""The log of one member: entries behind a snapshot, and how far they are durable, committed and handed out.

    snapshot.index <= applied <= committed <= last, and applied <= stable <= last

All entries behind the snapshot are in memory; the disk is only read at the start.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from leasekit.backends.raft.core import membership as memberships
from leasekit.backends.raft.core.types import Entry, EntryKind, Membership, Recovered, Snapshot, SnapshotMeta

_ENTRY_OVERHEAD_BYTES = 32


def size_of(entry: Entry) -> int:
    """What an entry counts for in limits, in bytes."""
    return len(entry.data) + _ENTRY_OVERHEAD_BYTES


class Log:
    """Indexes begin with 1; 0 stands before all entries, in term 0."""

    def __init__(self, recovered: Recovered) -> None:
        self.snapshot: Snapshot = recovered.snapshot
        self._base = recovered.snapshot.meta  # the entry before the first that is kept
        self._entries: list[Entry] = list(recovered.entries)
        self._memberships: list[tuple[int, Membership]] = [(self._base.index, self._base.membership)]
        self._note_memberships(self._entries)
        self.committed = max(self._base.index, min(recovered.hard_state.commit, self.last_index))
        self.applied = self._base.index
        self.stable = self.last_index
        self._handed_out = self.last_index
        self._writes: deque[tuple[int, int]] = deque()  # number, and the last index that it makes durable
        self._received: Snapshot | None = None

    @property
    def base(self) -> SnapshotMeta:
        """The entry before the first one that is kept: its index and term."""
        return self._base

    @property
    def last_index(self) -> int:
        """The index of the last entry."""
        return self._base.index + len(self._entries)

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self._entries[-1].term if self._entries else self._base.term

    @property
    def membership(self) -> Membership:
        """The latest in the log, committed or not (thesis section 4.1)."""
        return self._memberships[-1][1]

    @property
    def membership_index(self) -> int:
        """Where the latest membership stands."""
        return self._memberships[-1][0]

    @property
    def restoring(self) -> bool:
        """Whether a received snapshot is not yet what the state machine is."""
        return self.applied < self._base.index

    def term(self, index: int) -> int | None:
        """The term of the entry at `index`; None if it is not known here any more, or not yet."""
        if index == self._base.index:
            return self._base.term
        if self._base.index < index <= self.last_index:
            return self._entries[index - self._base.index - 1].term
        return None

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log with that end is at least as up to date as this one (paper section 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def entries(self, first: int, last: int, max_bytes: int) -> tuple[Entry, ...]:
        """From `first` to `last` as far as `max_bytes` goes; one at least."""
        start = first - self._base.index - 1
        stop = last - self._base.index
        size = 0
        for place in range(start, stop):
            size += size_of(self._entries[place])
            if size > max_bytes and place > start:
                stop = place
                break
        return tuple(self._entries[start:stop])

    def append(self, entries: Sequence[Entry]) -> None:
        """Put `entries` at the end, in place of whatever stands from the first one's index on."""
        first = entries[0].index
        if first <= self.last_index:
            assert first > self.committed, "a committed entry is never replaced"
            self._truncate(first)
        assert first == self.last_index + 1, "no gaps"
        self._entries.extend(entries)
        self._note_memberships(entries)

    def follow(self, previous_index: int, previous_term: int, entries: Sequence[Entry]) -> int | None:
        """Make the log hold `entries` behind the given one; the last of their indexes, None if that one is not here.

        Only a real conflict removes anything: a late or repeated request must not cut off what came after it (bugs
        of that kind are many; paper figure 2, AppendEntries step 3).
        """
        if self.term(previous_index) != previous_term:
            return None
        for place, entry in enumerate(entries):
            if self.term(entry.index) != entry.term:
                self.append(entries[place:])
                break
        return previous_index + len(entries)

    def agreement(self, index: int, term: int) -> tuple[int, int]:
        """The last place at or before `index` with a term of at most `term`, and its term.

        Where another log has `term` at `index`, the two cannot agree behind that place (back-off by terms, paper
        section 5.3). The term is 0 if it is not known here any more.
        """
        index = min(index, self.last_index)
        if index < self._base.index:
            return index, 0
        place = bisect_right(self._entries, term, hi=index - self._base.index, key=lambda entry: entry.term)
        return (self._base.index + place, self._entries[place - 1].term if place else self._base.term)

    def commit_to(self, index: int) -> None:
        """All up to `index` is committed; it may be less than is known already."""
        assert index <= self.last_index, "committed beyond the end of the log"
        self.committed = max(self.committed, index)

    def take_unwritten(self, number: int) -> tuple[Snapshot | None, tuple[Entry, ...]]:
        """What write `number` is to make durable of this log."""
        entries = tuple(self._entries[self._handed_out - self._base.index :])
        self._handed_out = self.last_index
        self._writes.append((number, self.last_index))
        received, self._received = self._received, None
        return received, entries

    @property
    def has_unwritten(self) -> bool:
        """Whether there is anything to be made durable."""
        return self._received is not None or self._handed_out < self.last_index

    def persisted(self, number: int) -> None:
        """Everything up to write `number` is durable."""
        while self._writes and self._writes[0][0] <= number:
            self.stable = max(self.stable, self._writes.popleft()[1])

    def take_restored(self) -> Snapshot | None:
        """The received snapshot once it is durable: the state machine is to become it."""
        if not self.restoring or self.stable < self._base.index:
            return None
        self.applied = self._base.index
        return self.snapshot

    @property
    def has_restored(self) -> bool:
        """Whether `take_restored` has something."""
        return self.restoring and self.stable >= self._base.index

    @property
    def applicable(self) -> int:
        """Up to here entries may be applied."""
        return self.applied if self.restoring else min(self.committed, self.stable)

    def take_committed(self, max_bytes: int) -> tuple[Entry, ...]:
        """The next entries to apply, as far as `max_bytes` goes."""
        if self.applicable <= self.applied:
            return ()
        entries = self.entries(self.applied + 1, self.applicable, max_bytes)
        self.applied = entries[-1].index
        return entries

    def restore(self, snapshot: Snapshot) -> None:
        """Become the received `snapshot` and nothing else."""
        self.snapshot, self._base, self._entries = snapshot, snapshot.meta, []
        self._memberships = [(self._base.index, self._base.membership)]
        self.committed = self._handed_out = self._base.index
        # What is being written is void, whichever indexes it has.
        self._writes = deque((number, 0) for number, _ in self._writes)
        self.stable = 0
        self._received = snapshot

    def compact(self, snapshot: Snapshot, keep_entries: int) -> None:
        """Forget what the durable local `snapshot` covers, save the last `keep_entries` for members that are behind."""
        if snapshot.meta.index <= self.snapshot.meta.index:
            return
        assert snapshot.meta.index <= self.applied, "only what was applied is in a snapshot"
        self.snapshot = snapshot
        index = max(self._base.index, min(snapshot.meta.index - keep_entries, self.stable))
        term = self.term(index)
        assert term is not None
        held = [(at, membership) for at, membership in self._memberships if at <= index]
        del self._entries[: index - self._base.index]
        self._base = SnapshotMeta(index, term, held[-1][1])
        self._memberships = [(index, held[-1][1]), *self._memberships[len(held) :]]

    def membership_at(self, index: int) -> Membership:
        """The membership that holds as of `index`, which is not before the kept entries."""
        return [membership for at, membership in self._memberships if at <= index][-1]

    def _truncate(self, first: int) -> None:
        del self._entries[first - self._base.index - 1 :]
        self._memberships = [(at, membership) for at, membership in self._memberships if at < first]
        self.stable = min(self.stable, first - 1)
        self._handed_out = min(self._handed_out, first - 1)
        # A write under way may hold, at these places, what is void now: its end says nothing about them (ABA).
        self._writes = deque((number, min(last, first - 1)) for number, last in self._writes)

    def _note_memberships(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind is EntryKind.MEMBERSHIP:
                self._memberships.append((entry.index, memberships.decode(entry.data)))
