"""The keys in their order, with what they hold and how many bytes that is."""

from __future__ import annotations

from bisect import bisect_left, insort

from leasekit.backends.raft.kv.limits import OVERHEAD_BYTES
from leasekit.backends.raft.kv.operations import utf8_size
from leasekit.store import Entry

_MANY = 32
"""From so many keys on, one pass over all keys is cheaper than taking each out of the sorted list."""


class Keys:
    """A map of entries that knows the order of its keys, so that a prefix is found without a look at every key."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.order: list[str] = []
        """Sorted by code points, which is the order of the UTF-8 bytes as well."""
        self.size_bytes = 0

    def under(self, prefix: str) -> list[Entry]:
        """All entries whose key starts with `prefix`, in key order."""
        entries, order = self.entries, self.order
        found: list[Entry] = []
        for position in range(bisect_left(order, prefix), len(order)):
            key = order[position]
            if not key.startswith(prefix):
                break
            found.append(entries[key])
        return found

    def none_under(self, prefix: str) -> bool:
        """Whether no key starts with `prefix`."""
        position = bisect_left(self.order, prefix)
        return position == len(self.order) or not self.order[position].startswith(prefix)

    def put(self, entry: Entry) -> None:
        """Set the entry's key to it."""
        old = self.entries.get(entry.key)
        if old is None:
            insort(self.order, entry.key)
            self.size_bytes += entry_bytes(entry)
        else:
            self.size_bytes += len(entry.value) - len(old.value)
        self.entries[entry.key] = entry

    def remove(self, keys: list[str]) -> None:
        """Take out keys, which all exist."""
        for key in keys:
            self.size_bytes -= entry_bytes(self.entries.pop(key))
        if len(keys) < _MANY:
            for key in keys:
                del self.order[bisect_left(self.order, key)]
        else:
            self.order = [key for key in self.order if key in self.entries]


def entry_bytes(entry: Entry) -> int:
    """What an entry counts for against the capacity."""
    return OVERHEAD_BYTES + utf8_size(entry.key) + len(entry.value)
