"""What a blocking query has shown so far, and which changes its next answer tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leasekit.store import Changed, Entry, Resync


@dataclass(frozen=True, slots=True)
class Target:
    """What is watched: a key, or every key that starts with it."""

    key: str
    prefix: bool

    def covers(self, key: str) -> bool:
        """Whether a change of `key` is a change of this."""
        return key.startswith(self.key) if self.prefix else key == self.key


class View:
    """The last answer to a blocking query: the entries that it showed, and its index.

    Answers are compared by content: a query on a missing key also wakes when a sibling is written. Since all reads are
    `consistent`, an index that falls means other data than before (a store restored, or set up anew) or that Consul
    has forgotten deletions that made it so high; which of the two cannot be told.
    """

    def __init__(self) -> None:
        self.index = 0
        self._entries: dict[str, Entry] | None = None

    def observe(self, entries: Iterable[Entry], index: int) -> tuple[Changed | Resync, ...]:
        """Take the next answer in; returns what it tells to whoever has seen the one before."""
        before, self._entries = self._entries, {entry.key: entry for entry in entries}
        index_before, self.index = self.index, index
        if before is None:
            return ()
        if index < index_before:
            return (Resync(index),)
        gone = [Changed(key, None, index) for key in before if key not in self._entries]
        put = [Changed(e.key, e, e.revision) for e in self._entries.values() if before.get(e.key) != e]
        return (*gone, *sorted(put, key=lambda change: change.revision))

    def since(self, target: Target, after: int) -> tuple[Changed | Resync, ...]:
        """What the last answer tells to whoever saw the target as of `after`, before that answer was asked for.

        Deletions show only in the index, without their keys. So a key that is absent is told as gone, unless the index
        says that nothing happened since; and for a prefix a Resync follows, since a key may have gone.
        """
        assert self._entries is not None, "nothing was observed yet"
        shown = [entry for entry in self._entries.values() if target.covers(entry.key)]
        newer = sorted((e for e in shown if e.revision > after), key=lambda entry: entry.revision)
        put = tuple(Changed(entry.key, entry, entry.revision) for entry in newer)
        if self.index <= after:
            return put
        if target.prefix:
            return (*put, Resync(self.index))
        return put if shown else (Changed(target.key, None, self.index),)
