"""What a store holds and how it changes, as a pure model: no I/O, no clock, no loop. Other stores are tested against it.

The time is handed in, in seconds of the suspend-aware clock, and every question about keys or leases ends first what
has run out: expiry never depends on a timer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from leasekit.errors import LeaseLost
from leasekit.store import (
    Absent,
    At,
    Changed,
    Committed,
    Compare,
    Delete,
    Entry,
    Get,
    Lease,
    Op,
    Put,
    Resync,
    Snapshot,
)

RETAINED_CHANGES = 10_000


@dataclass(slots=True)
class _Held:
    """A living lease: when it ends, and what ends with it."""

    ttl_s: float
    ends_s: float
    keys: set[str] = field(default_factory=set)


class MemoryState:
    """A revisioned key-value map with leases, and a bounded log of its changes."""

    def __init__(self, retained_changes: int = RETAINED_CHANGES) -> None:
        self.revision = 0
        self._entries: dict[str, Entry] = {}
        self._leases: dict[str, _Held] = {}
        self._granted = 0
        self._log: list[Changed] = []
        self._retained_changes = retained_changes
        self._compacted = 0

    def grant(self, ttl_s: float, now_s: float) -> Lease:
        """Make a lease that ends `ttl_s` from now."""
        self.expire(now_s)
        self._granted += 1
        lease_id = f"{self._granted:x}"
        self._leases[lease_id] = _Held(ttl_s, now_s + ttl_s)
        return Lease(lease_id, ttl_s)

    def renew(self, lease_id: str, now_s: float) -> float:
        """Start the lease anew; returns its time to live. Raises LeaseLost."""
        self.expire(now_s)
        held = self._leases.get(lease_id)
        if held is None:
            raise LeaseLost(lease_id)
        held.ends_s = now_s + held.ttl_s
        return held.ttl_s

    def revoke(self, lease_id: str, now_s: float) -> None:
        """End the lease, and its keys with it."""
        self.expire(now_s)
        if lease_id in self._leases:
            self._end(lease_id)

    def expire(self, now_s: float) -> None:
        """End every lease that has run out, the earliest first."""
        due = [lease_id for lease_id, held in self._leases.items() if held.ends_s <= now_s]
        for lease_id in sorted(due, key=lambda lease_id: self._leases[lease_id].ends_s):
            self._end(lease_id)

    def next_expiry_s(self) -> float | None:
        """The moment at which the next lease runs out; None if there is no lease."""
        return min((held.ends_s for held in self._leases.values()), default=None)

    def get(self, key: str, now_s: float) -> Entry | None:
        """The key as of now."""
        self.expire(now_s)
        return self._entries.get(key)

    def scan(self, prefix: str, now_s: float) -> Snapshot:
        """All keys that start with `prefix`, in key order."""
        self.expire(now_s)
        return Snapshot(self._under(prefix), self.revision)

    def transact(self, compares: Sequence[Compare], ops: Sequence[Op], now_s: float) -> Committed | None:
        """Do all of `ops` if all of `compares` hold, else None. Raises LeaseLost, with nothing done."""
        writes = [op.key for op in ops if not isinstance(op, Get)]
        assert len(set(writes)) == len(writes), f"a transaction writes one key twice: {sorted(writes)}"
        self.expire(now_s)
        if not all(self._holds(compare) for compare in compares):
            return None
        for op in ops:
            if isinstance(op, Put) and op.lease_id is not None and op.lease_id not in self._leases:
                raise LeaseLost(op.lease_id)
        revision = self.revision + 1
        reads: list[tuple[Entry, ...]] = []
        for op in ops:
            if isinstance(op, Put):
                self._put(op, revision)
            elif isinstance(op, Delete):
                self._remove(op.key, revision)
            elif op.prefix:
                reads.append(self._under(op.key))
            else:
                found = self._entries.get(op.key)
                reads.append((found,) if found else ())
        return Committed(self.revision, tuple(reads))

    def changes(self, key: str, *, prefix: bool, after: int) -> tuple[Changed, ...] | Resync:
        """The changes of `key` (or of all keys with that prefix) later than `after`; Resync if some are forgotten.

        A revision from the future comes from other data than this: that too calls for looking again.
        """
        if after < self._compacted or after > self.revision:
            return Resync(self.revision)
        first = bisect_right(self._log, after, key=lambda change: change.revision)
        return tuple(change for change in self._log[first:] if matches(change, key, prefix=prefix))

    def compact(self, revision: int) -> None:
        """Forget every change up to and including `revision`: a watch from before it gets a Resync."""
        revision = min(revision, self.revision)
        del self._log[: bisect_right(self._log, revision, key=lambda change: change.revision)]
        self._compacted = max(self._compacted, revision)

    def _holds(self, compare: Compare) -> bool:
        if isinstance(compare, Absent):
            return compare.key not in self._entries
        if isinstance(compare, At):
            found = self._entries.get(compare.key)
            return found is not None and found.revision == compare.revision
        return not self._under(compare.prefix)

    def _under(self, prefix: str) -> tuple[Entry, ...]:
        return tuple(self._entries[key] for key in sorted(self._entries) if key.startswith(prefix))

    def _put(self, op: Put, revision: int) -> None:
        old = self._entries.get(op.key)
        if old is not None and old.lease_id is not None:
            self._leases[old.lease_id].keys.discard(op.key)
        if op.lease_id is not None:
            self._leases[op.lease_id].keys.add(op.key)
        entry = Entry(op.key, op.value, old.create_revision if old else revision, revision, op.lease_id)
        self._entries[op.key] = entry
        self._record(Changed(op.key, entry, revision))

    def _remove(self, key: str, revision: int) -> None:
        old = self._entries.pop(key, None)
        if old is None:
            return
        if old.lease_id is not None and old.lease_id in self._leases:
            self._leases[old.lease_id].keys.discard(key)
        self._record(Changed(key, None, revision))

    def _end(self, lease_id: str) -> None:
        revision = self.revision + 1
        for key in sorted(self._leases.pop(lease_id).keys):
            self._remove(key, revision)

    def _record(self, change: Changed) -> None:
        self.revision = change.revision
        self._log.append(change)
        if len(self._log) > 2 * self._retained_changes:
            self.compact(self._log[-self._retained_changes - 1].revision)


def matches(change: Changed, key: str, *, prefix: bool) -> bool:
    """Whether a watch of `key` (or of that prefix) is told this change."""
    return change.key.startswith(key) if prefix else change.key == key
