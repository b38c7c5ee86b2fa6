"""The latest changes, for watches that begin in the past. Bounded, and no part of the replicated state."""

from __future__ import annotations

from collections import deque

from leasekit.backends.raft.kv.limits import OVERHEAD_BYTES
from leasekit.store import Changed

REVISIONS_MAX = 10_000
SIZE_MAX_BYTES = 32 * 1024 * 1024


class History:
    """Changes by revision, the oldest dropped first when there are too many revisions or bytes."""

    def __init__(self, revisions_max: int = REVISIONS_MAX, size_max_bytes: int = SIZE_MAX_BYTES) -> None:
        self._revisions_max = revisions_max
        self._size_max_bytes = size_max_bytes
        self._changes: deque[tuple[int, tuple[Changed, ...], int]] = deque()
        self._size_bytes = 0
        self.compacted = 0
        """Changes up to this revision may be missing."""

    def empty(self, compacted: int) -> History:
        """One under the same limits that knows nothing up to `compacted`."""
        history = History(self._revisions_max, self._size_max_bytes)
        history.compacted = compacted
        return history

    def record(self, revision: int, changes: tuple[Changed, ...]) -> None:
        """Add the changes of a revision later than all before."""
        size_bytes = 0
        for change in changes:
            entry = change.entry
            size_bytes += OVERHEAD_BYTES + len(change.key) + (0 if entry is None else len(entry.value))
        self._changes.append((revision, changes, size_bytes))
        self._size_bytes += size_bytes
        while self._size_bytes > self._size_max_bytes or len(self._changes) > self._revisions_max:
            self.compacted, _, dropped_bytes = self._changes.popleft()
            self._size_bytes -= dropped_bytes

    def since(self, key: str, prefix: bool, after: int) -> tuple[Changed, ...] | None:
        """The changes of `key` (or of all keys with that prefix) later than `after`; None if some may be missing."""
        if after < self.compacted:
            return None
        later: list[tuple[Changed, ...]] = []
        for revision, changes, _ in reversed(self._changes):
            if revision <= after:
                break
            later.append(changes)
        return tuple(
            [
                change
                for changes in reversed(later)
                for change in changes
                if (change.key.startswith(key) if prefix else change.key == key)
            ]
        )
