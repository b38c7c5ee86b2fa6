"""What a write-ahead log should hold, in a few lines; and scripts of random things done to one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from leasekit.backends.raft.core.types import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Recovered,
    Snapshot,
    SnapshotMeta,
    Write,
)
from leasekit.backends.raft.wal.log import Wal


@dataclass(frozen=True)
class Compact:
    """Snapshot everything up to this index."""

    snapshot: Snapshot
    keep_from_index: int | None


Step = list[Write] | Compact
"""One call: `write_all`, or `compact`."""


def an_entry(index: int, term: int = 1) -> Entry:
    return Entry(index, term, EntryKind.COMMAND, f"entry {index} of term {term}".encode())


def entries(first: int, end: int, term: int = 1) -> tuple[Entry, ...]:
    """Those from `first` to the one before `end`."""
    return tuple(an_entry(index, term) for index in range(first, end))


def do(wal: Wal, step: Step) -> None:
    """Do it to a real log."""
    if isinstance(step, Compact):
        wal.compact(step.snapshot, step.keep_from_index)
    else:
        wal.write_all(step)


def is_synced(step: Step) -> bool:
    """Whether all before it, and it, is durable when it returns."""
    return isinstance(step, Compact) or any(write.must_sync for write in step)


def last_index(state: Recovered) -> int:
    return state.entries[-1].index if state.entries else state.snapshot.meta.index


def stages(state: Recovered, step: Step) -> Iterator[Recovered]:
    """Every state that the log may be left in if this step is cut off, in order; the last one is that of its end."""
    if isinstance(step, Compact):
        index = step.snapshot.meta.index
        entries = tuple(entry for entry in state.entries if entry.index > index)
        yield clamped(replace(state, snapshot=step.snapshot, entries=entries))
        return
    for write in step:
        if write.snapshot is not None:
            state = clamped(Recovered(state.hard_state, write.snapshot, ()))
            yield state
        for entry in write.entries:
            kept = tuple(old for old in state.entries if old.index < entry.index)
            state = replace(state, entries=(*kept, entry))
            yield state
        if write.hard_state is not None:
            state = replace(state, hard_state=write.hard_state)
            yield state


def after(state: Recovered, step: Step) -> Recovered:
    """The state that the whole of a step leads to."""
    return [state, *stages(state, step)][-1]


def clamped(state: Recovered) -> Recovered:
    commit = max(state.hard_state.commit, state.snapshot.meta.index)
    return replace(state, hard_state=replace(state.hard_state, commit=commit))


class Script:
    """Random steps that a member might make, from one seed."""

    def __init__(self, rng: random.Random, state: Recovered) -> None:
        self._rng = rng
        self._state = state
        self._number = 0

    def next(self) -> Step:
        step = self._compact() if self._rng.random() < 0.12 else self._writes()
        self._state = after(self._state, step)
        return step

    def _compact(self) -> Step:
        state = self._state
        if state.hard_state.commit <= state.snapshot.meta.index:
            return self._writes()
        index = self._rng.randint(state.snapshot.meta.index + 1, state.hard_state.commit)
        term = next(entry.term for entry in state.entries if entry.index == index)
        return Compact(self._snapshot(index, term), self._rng.choice((None, index - 3, index + 1, 1)))

    def _writes(self) -> list[Write]:
        writes = []
        state = self._state
        for _ in range(self._rng.choice((1, 1, 1, 2, 4))):
            write = self._write(state)
            writes.append(write)
            state = after(state, [write])
        return writes

    def _write(self, state: Recovered) -> Write:
        rng = self._rng
        self._number += 1
        term = state.hard_state.term + (rng.random() < 0.2)
        snapshot = None
        if rng.random() < 0.06:
            # Not of the index of the one that is there: of one place in the log there is only one state.
            lowest = max(last_index(state), state.snapshot.meta.index + 1)
            snapshot = self._snapshot(lowest + rng.randint(0, 5), term)
            state = clamped(Recovered(state.hard_state, snapshot, ()))
        low, high = state.hard_state.commit, last_index(state)
        first = high + 1 if rng.random() < 0.8 else rng.randint(low + 1, high + 1)
        entries = tuple(self._entry(first + each, term) for each in range(rng.choice((0, 1, 1, 2, 5))))
        last = entries[-1].index if entries else high
        vote = rng.choice((None, "a", "bé"))
        only_commit = not entries and snapshot is None and rng.random() < 0.5
        if only_commit:
            hard_state = replace(state.hard_state, commit=rng.randint(low, last))
        else:
            hard_state = HardState(term, vote, rng.randint(low, last))
        keep = only_commit or term != state.hard_state.term or rng.random() < 0.6
        return Write(self._number, snapshot, entries, hard_state if keep else None, must_sync=not only_commit)

    def _entry(self, index: int, term: int) -> Entry:
        kind = self._rng.choice(list(EntryKind))
        return Entry(index, term, kind, self._rng.randbytes(self._rng.choice((0, 1, 30, 200))))

    def _snapshot(self, index: int, term: int) -> Snapshot:
        membership = Membership(voters={"a": "h:1", "bé": "h:2"}, learners={"c": "h:3"})
        data = f"state at {index}".encode() + self._rng.randbytes(self._rng.choice((0, 50)))
        return Snapshot(SnapshotMeta(index, term, membership), data)
