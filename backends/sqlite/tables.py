"""The store's operations on the tables, each within a transaction that the caller has begun.

The same model as the memory store's, said in SQL; the property tests hold the two together.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any

from leasekit.clock import Boot
from leasekit.errors import ConfigError, LeaseLost
from leasekit.store import (
    Absent,
    At,
    Changed,
    Committed,
    Compare,
    Delete,
    Entry,
    Op,
    Put,
    Resync,
    Snapshot,
)

RETAINED_TOMBSTONES = 10_000
# Tombstones are counted only now and then.
_TRIM_EVERY = 1024

_ENTRY = "key, value, create_revision, revision, lease_id"


class Tables:
    """One transaction's view. `revision` is the store's, raised as the transaction writes."""

    def __init__(self, connection: sqlite3.Connection, boot: Boot) -> None:
        self._connection = connection
        self._boot = boot
        self.file_id: bytes
        """Tells this file from another in its place, whose revisions would mean nothing."""
        self.revision: int
        self.compacted: int
        self.file_id, self.revision, self.compacted, *stamped = connection.execute(
            "SELECT file_id, revision, compacted, boot_id, time_namespace FROM state"
        ).fetchone()
        self._began_at = self.revision
        self._stamped = Boot(*stamped)

    # Leases and time.

    def has_due(self, now_s: float) -> bool:
        """Whether leases are to be ended before anything else is done. Raises ConfigError as `end_due` does."""
        return bool(self._due(now_s))

    def end_due(self, now_s: float) -> None:
        """End every lease that has run out, the earliest first.

        Raises:
            ConfigError: the leases were granted by processes whose clocks cannot be compared with this one's.
        """
        for lease_id in self._due(now_s):
            self._end(lease_id)
        if self._stamped != self._boot:
            self._run("UPDATE state SET boot_id = ?, time_namespace = ?", self._boot.id, self._boot.time_namespace)

    def next_end_s(self) -> float | None:
        """When the next lease runs out."""
        row = self._one("SELECT min(ends_s) FROM leases")
        return row[0] if row else None

    def grant(self, ttl_s: float, now_s: float) -> str:
        """Make a lease; returns its id, which no other file or time will have."""
        lease_id = os.urandom(8).hex()
        self._run("INSERT INTO leases VALUES (?, ?, ?)", lease_id, ttl_s, now_s + ttl_s)
        return lease_id

    def renew(self, lease_id: str, now_s: float) -> float | LeaseLost:
        """Start the lease anew; returns its time to live."""
        row = self._one("SELECT ttl_s FROM leases WHERE id = ?", lease_id)
        if row is None:
            return LeaseLost(lease_id)
        ttl_s: float = row[0]
        self._run("UPDATE leases SET ends_s = ? WHERE id = ?", now_s + ttl_s, lease_id)
        return ttl_s

    def revoke(self, lease_id: str) -> None:
        """End the lease, if there is one."""
        self._end(lease_id)

    def _due(self, now_s: float) -> list[str]:
        if self._stamped.id != self._boot.id:
            # Leases do not outlive the boot that they were granted in.
            return [row[0] for row in self._run("SELECT id FROM leases ORDER BY ends_s")]
        if self._stamped.time_namespace != self._boot.time_namespace and self._one("SELECT 1 FROM leases LIMIT 1"):
            raise ConfigError(
                "store URL",
                "the leases in this file were granted in another time namespace, whose clock differs from this one's: "
                "run all candidates in one time namespace, or use a file for each",
            )
        query, values = "SELECT id FROM leases WHERE ends_s <= ?", [now_s]
        if not self._boot.id:
            # No boot id to go by: a lease granted in the future is of another boot. A second covers rounding.
            query += " OR ends_s - ttl_s > ?"
            values.append(now_s + 1)
        return [row[0] for row in self._run(query + " ORDER BY ends_s", *values)]

    def _end(self, lease_id: str) -> None:
        self._run("DELETE FROM leases WHERE id = ?", lease_id)
        keys = [row[0] for row in self._run("SELECT key FROM entries WHERE lease_id = ? ORDER BY key", lease_id)]
        if keys:
            self.revision += 1
            for key in keys:
                self._delete(key, self.revision)

    # Keys.

    def get(self, key: str) -> Entry | None:
        """The key as of this transaction."""
        row = self._one(f"SELECT {_ENTRY} FROM entries WHERE key = ?", key)
        return Entry(*row) if row else None

    def scan(self, prefix: str) -> Snapshot:
        """The keys that start with `prefix`, in key order."""
        rows = self._run(f"SELECT {_ENTRY} FROM entries WHERE key >= ? AND key < ? ORDER BY key", *_range(prefix))
        return Snapshot(tuple(Entry(*row) for row in rows), self.revision)

    def transact(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Committed | LeaseLost | None:
        """Do all of `ops`, or nothing: None if a compare does not hold, LeaseLost if a lease is dead."""
        if not all(self._holds(compare) for compare in compares):
            return None
        for op in ops:
            if isinstance(op, Put) and op.lease_id is not None and not self._lives(op.lease_id):
                return LeaseLost(op.lease_id)
        revision = self.revision + 1
        reads: list[tuple[Entry, ...]] = []
        for op in ops:
            if isinstance(op, Put):
                self._put(op, revision)
                self.revision = revision
            elif isinstance(op, Delete):
                if self._delete(op.key, revision):
                    self.revision = revision
            elif op.prefix:
                reads.append(self.scan(op.key).entries)
            else:
                found = self.get(op.key)
                reads.append((found,) if found else ())
        return Committed(self.revision, tuple(reads))

    def changes(self, after: int, prefix: str) -> list[Changed] | Resync:
        """The last change of each key under `prefix` that changed later than `after`; Resync if some are forgotten.

        A revision from the future comes from another file than this.
        """
        if after < self.compacted or after > self.revision:
            return Resync(self.revision)
        low, high = _range(prefix)
        rows = self._run(
            f"SELECT {_ENTRY}, 1 FROM entries WHERE revision > ? AND key >= ? AND key < ? "
            "UNION ALL SELECT key, NULL, NULL, revision, NULL, 0 FROM gone WHERE revision > ? AND key >= ? AND key < ? "
            "ORDER BY 4, 1",
            *(after, low, high),
            *(after, low, high),
        )
        return [Changed(row[0], Entry(*row[:5]) if row[5] else None, row[3]) for row in rows]

    def describe(self) -> dict[str, str]:
        """For `leasekit doctor`."""
        counts = self._one("SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM leases)") or (0, 0)
        return {
            "sqlite": sqlite3.sqlite_version,
            "revision": str(self.revision),
            "keys": str(counts[0]),
            "leases": str(counts[1]),
        }

    def finish(self) -> None:
        """Record the revision reached. To be called before a commit."""
        if self.revision == self._began_at:
            return
        self._run("UPDATE state SET revision = ?", self.revision)
        if self.revision // _TRIM_EVERY != self._began_at // _TRIM_EVERY:
            newest = "SELECT revision FROM gone ORDER BY revision DESC LIMIT 1 OFFSET ?"
            if row := self._one(newest, RETAINED_TOMBSTONES):
                self.compact(row[0])

    def compact(self, revision: int) -> None:
        """Forget the deletions up to and including `revision`."""
        revision = min(revision, self.revision)
        self._run("DELETE FROM gone WHERE revision <= ?", revision)
        self._run("UPDATE state SET compacted = max(compacted, ?)", revision)

    def _holds(self, compare: Compare) -> bool:
        if isinstance(compare, Absent):
            return self._revision_of(compare.key) is None
        if isinstance(compare, At):
            return self._revision_of(compare.key) == compare.revision
        return self._one("SELECT 1 FROM entries WHERE key >= ? AND key < ? LIMIT 1", *_range(compare.prefix)) is None

    def _revision_of(self, key: str) -> int | None:
        row = self._one("SELECT revision FROM entries WHERE key = ?", key)
        return row[0] if row else None

    def _lives(self, lease_id: str) -> bool:
        return self._one("SELECT 1 FROM leases WHERE id = ?", lease_id) is not None

    def _put(self, op: Put, revision: int) -> None:
        self._run(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE "
            "SET value = excluded.value, revision = excluded.revision, lease_id = excluded.lease_id",
            *(op.key, op.value, revision, revision, op.lease_id),
        )
        self._run("DELETE FROM gone WHERE key = ?", op.key)

    def _delete(self, key: str, revision: int) -> bool:
        if not self._run("DELETE FROM entries WHERE key = ?", key).rowcount:
            return False
        self._run("INSERT INTO gone VALUES (?, ?)", key, revision)
        return True

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        # Read to the end, so that no statement stays open beyond its transaction.
        rows: list[tuple[Any, ...]] = self._connection.execute(statement, values).fetchall()
        return rows[0] if rows else None


def _range(prefix: str) -> tuple[str, str]:
    """From the prefix itself to the first key after all that start with it. Prefixes here are never empty."""
    return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
