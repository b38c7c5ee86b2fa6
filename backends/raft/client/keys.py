"""Whole keys and back: on the wire a key stands with the store's prefix before it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from leasekit.store import Changed, Committed, Compare, Entry, NoneUnder, Op


class Keys:
    """Puts `root` before keys, and takes it off what comes back."""

    def __init__(self, root: str) -> None:
        self.root = root

    def compares(self, compares: Iterable[Compare]) -> tuple[Compare, ...]:
        """With whole keys."""
        return tuple(self._compare(compare) for compare in compares)

    def ops(self, ops: Iterable[Op]) -> tuple[Op, ...]:
        """With whole keys."""
        return tuple(replace(op, key=self.root + op.key) for op in ops)

    def committed(self, committed: Committed) -> Committed:
        """With the store's own keys."""
        return Committed(committed.revision, tuple(self.entries(read) for read in committed.reads))

    def entries(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """With the store's own keys."""
        return tuple(self.entry(entry) for entry in entries)

    def changed(self, change: Changed) -> Changed:
        """With the store's own key."""
        entry = None if change.entry is None else self.entry(change.entry)
        return Changed(change.key.removeprefix(self.root), entry, change.revision)

    def entry(self, entry: Entry) -> Entry:
        """With the store's own key."""
        return replace(entry, key=entry.key.removeprefix(self.root))

    def _compare(self, compare: Compare) -> Compare:
        if isinstance(compare, NoneUnder):
            return NoneUnder(self.root + compare.prefix)
        return replace(compare, key=self.root + compare.key)
