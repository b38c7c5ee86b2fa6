"""A store in one SQLite file: candidates are the processes of this user on this host."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from leasekit.backends.sqlite.database import Database
from leasekit.backends.sqlite.failures import Busy
from leasekit.backends.sqlite.feed import SqliteWatch
from leasekit.backends.sqlite.tables import Tables
from leasekit.backends.sqlite.worker import Begin, Worker
from leasekit.clock import SYSTEM_CLOCK, Boot, Clock, this_boot
from leasekit.errors import ConfigError, LeasekitError, LeaseLost, StoreUnavailable
from leasekit.store import (
    Capabilities,
    Committed,
    Compare,
    Delete,
    EndpointHealth,
    Entry,
    Health,
    Lease,
    NoneUnder,
    Op,
    Put,
    ServerTime,
    Snapshot,
    Store,
)
from leasekit.urls import DEFAULT_PREFIX

CAPABILITIES = Capabilities(
    ttl_min_s=0.2,
    ttl_max_s=1e9,
    expiry_late_s=0.1,
    durable=True,
    server_time=True,
    compares_empty=True,
)
# Another process's transaction takes about a millisecond; the wait doubles from the first to the second.
_RETRY_FIRST_S = 0.001
_RETRY_LAST_S = 0.02

_T = TypeVar("_T")


class SqliteStore(Store):
    """A handle on the leases in `path`. Opens the file when first asked something."""

    capabilities = CAPABILITIES

    def __init__(
        self, path: Path, *, prefix: str = DEFAULT_PREFIX, clock: Clock = SYSTEM_CLOCK, boot: Boot | None = None
    ) -> None:
        try:
            path = path.absolute()  # the working directory may change before it is opened
        except FileNotFoundError:
            raise ConfigError(
                "store URL", f"{path} is relative to a working directory that is gone: name the whole path"
            ) from None
        self.url = f"sqlite:///{quote(str(path))}" + ("" if prefix == DEFAULT_PREFIX else f"?prefix={quote(prefix)}")
        self.path = path
        self._root = prefix + "/"
        self._clock = clock
        self.database = Database(path, clock, boot or this_boot())
        self._worker = Worker(self.database, self._root)
        self._watches: weakref.WeakSet[SqliteWatch] = weakref.WeakSet()
        # A handle that is dropped unclosed takes its thread along. Not at exit: leases are given back through it then.
        weakref.finalize(self, self._worker.stop).atexit = False

    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        if not CAPABILITIES.ttl_min_s <= ttl_s <= CAPABILITIES.ttl_max_s:
            low, high = CAPABILITIES.ttl_min_s, CAPABILITIES.ttl_max_s
            raise ConfigError("ttl_s", f"{ttl_s:g} is out of range: SQLite grants {low:g} to {high:g} s")
        return Lease(await self._write(lambda tables, now_s: tables.grant(ttl_s, now_s), timeout_s), ttl_s)

    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        renewed = await self._write(lambda tables, now_s: tables.renew(lease_id, now_s), timeout_s, urgent=True)
        return _or_lost(renewed)

    async def revoke(self, lease_id: str, *, timeout_s: float) -> None:
        await self._write(lambda tables, now_s: tables.revoke(lease_id), timeout_s)

    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        found = await self._read(lambda tables: tables.get(self._root + key), timeout_s)
        return found and self._seen(found)

    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        found = await self._read(lambda tables: tables.scan(self._root + prefix), timeout_s)
        return Snapshot(tuple(map(self._seen, found.entries)), found.revision)

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        full_compares, full_ops = [*map(self._full_compare, compares)], [*map(self._full_op, ops)]
        if any(isinstance(op, Put | Delete) for op in ops):
            done = await self._write(lambda tables, now_s: tables.transact(full_compares, full_ops), timeout_s)
        else:
            done = await self._read(lambda tables: tables.transact(full_compares, full_ops), timeout_s)
        done = _or_lost(done)
        return done and Committed(done.revision, tuple(tuple(map(self._seen, read)) for read in done.reads))

    def watch(self, key: str, *, prefix: bool = False, after: int) -> SqliteWatch:
        self._worker.ensure_usable()
        watch = SqliteWatch(
            self._root, key, prefix=prefix, after=after, attach=self._worker.attach, detach=self._worker.detach
        )
        self._watches.add(watch)
        return watch

    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        return ServerTime(self._clock.wall_s(), 0.0)

    async def probe(self, *, timeout_s: float) -> Health:
        began_s = self._clock.now().boot_s
        error, details = None, {"file": str(self.path)}
        try:
            details |= await self._read(Tables.describe, timeout_s)
        except LeasekitError as failure:
            error = str(failure)
        took_s = self._clock.now().boot_s - began_s
        endpoint = EndpointHealth(
            self.url, error, version=details.get("sqlite"), round_trip_s=took_s, is_store_leader=error is None
        )
        warning = "SQLite elects among the processes of this user on this host only."
        return Health((endpoint,), (warning,), details)

    async def aclose(self) -> None:
        for watch in list(self._watches):
            await watch.aclose()
        await self._worker.aclose()

    async def compact(self, revision: int, *, timeout_s: float) -> None:
        """Forget the deletions up to and including `revision`, so that watches from before it get a Resync."""
        await self._write(lambda tables, now_s: tables.compact(revision), timeout_s)

    async def _read(self, action: Callable[[Tables], _T], timeout_s: float) -> _T:
        return await self._try(lambda begin: self.database.read(action), timeout_s)

    async def _write(self, action: Callable[[Tables, float], _T], timeout_s: float, *, urgent: bool = False) -> _T:
        def write(begin: Begin) -> _T:
            def act(tables: Tables, now_s: float) -> _T:
                begin()
                return action(tables, now_s)

            return self.database.write(act)

        return await self._try(write, timeout_s, urgent=urgent)

    async def _try(self, call: Callable[[Begin], _T], timeout_s: float, *, urgent: bool = False) -> _T:
        """The result of `call`, made again while another process is writing. Waiting here leaves the thread free."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        wait_s = _RETRY_FIRST_S
        busy = False
        while True:
            try:
                return await self._worker.run(call, deadline_s - loop.time(), urgent=urgent)
            except Busy:
                busy = True
            except StoreUnavailable:
                if busy and loop.time() >= deadline_s:
                    raise self._still_busy(timeout_s) from None
                raise
            if loop.time() + wait_s >= deadline_s:
                raise self._still_busy(timeout_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _RETRY_LAST_S)

    def _still_busy(self, timeout_s: float) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.path}: another process has been writing for {timeout_s:g} s: is one stopped or hung?"
        )

    def _seen(self, entry: Entry) -> Entry:
        return replace(entry, key=entry.key.removeprefix(self._root))

    def _full_compare(self, compare: Compare) -> Compare:
        if isinstance(compare, NoneUnder):
            return NoneUnder(self._root + compare.prefix)
        return replace(compare, key=self._root + compare.key)

    def _full_op(self, op: Op) -> Op:
        return replace(op, key=self._root + op.key)


def _or_lost(outcome: _T | LeaseLost) -> _T:
    if isinstance(outcome, LeaseLost):
        raise outcome
    return outcome
