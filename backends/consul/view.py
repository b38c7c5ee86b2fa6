"""What a blocking query has shown so far, and which changes its next answer tells. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from leasekit.store import Changed, Entry, Resync

# Reads and the entries that they showed, counted together.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Target:
    """What is watched: a key, or every key that starts with it."""

    key: str
    prefix: bool

    def covers(self, key: str) -> bool:
        """Whether a change of `key` is a change of this."""
        return key.startswith(self.key) if self.prefix else key == self.key


class Reads:
    """What reads showed lately, by the revision that they gave.

    A watch from such a revision can then be told exactly what is gone since, which Consul itself cannot say. Only for
    reads whose revision stands for one state: the index of a scan, or of the transaction that wrote before it read.
    """

    def __init__(self) -> None:
        self._shown: OrderedDict[int, dict[Target, tuple[Entry, ...]]] = OrderedDict()
        self._size = 0

    def remember(self, target: Target, revision: int, entries: tuple[Entry, ...]) -> None:
        """Note what a read of `target` showed; the oldest are forgotten."""
        shown = self._shown.setdefault(revision, {})
        if target not in shown:
            shown[target] = entries
            self._size += 1 + len(entries)
        while self._size > _REMEMBERED:
            _, forgotten = self._shown.popitem(last=False)
            self._size -= sum(1 + len(entries) for entries in forgotten.values())

    def known(self, target: Target, revision: int) -> tuple[Entry, ...] | None:
        """What `target` was as of `revision`; None if no read is remembered that showed it."""
        for read, entries in self._shown.get(revision, {}).items():
            if read == target or (read.prefix and target.key.startswith(read.key)):
                return tuple(entry for entry in entries if target.covers(entry.key))
        return None

    def forget(self) -> None:
        """Forget everything: the revisions may not mean any more what they did."""
        self._shown.clear()
        self._size = 0


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
        return _changes(before, self._entries, index)

    def since(self, target: Target, after: int, known: tuple[Entry, ...] | None = None) -> tuple[Changed | Resync, ...]:
        """What the last answer tells to whoever saw the target as of `after`, before that answer was asked for.

        `known` is what it saw. Without it deletions show only in the index, without their keys. Then a key that is
        absent is told as gone, unless the index says that nothing happened since; and for a prefix a Resync follows,
        since a key may have gone.
        """
        assert self._entries is not None, "nothing was observed yet"
        shown = {key: entry for key, entry in self._entries.items() if target.covers(key)}
        if known is not None:
            return _changes({entry.key: entry for entry in known}, shown, self.index)
        old = {key: entry for key, entry in shown.items() if entry.revision <= after}
        put = _changes(old, shown, self.index)
        if self.index <= after:
            return put
        if target.prefix:
            return (*put, Resync(self.index))
        return put if shown else (Changed(target.key, None, self.index),)


def _changes(before: dict[str, Entry], now: dict[str, Entry], index: int) -> tuple[Changed, ...]:
    """What tells `now` from `before`: first what is gone, then what was put, in order of revision."""
    gone = [Changed(key, None, index) for key in before if key not in now]
    put = [Changed(key, entry, entry.revision) for key, entry in now.items() if before.get(key) != entry]
    return (*gone, *sorted(put, key=lambda change: change.revision))
