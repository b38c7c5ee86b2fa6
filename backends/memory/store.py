"""The shell around `MemoryState`: names, prefixes and the clock.

The data of `memory://name` lives as long as the process and may be reached from several loops, each in its own
thread.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from leasekit.backends.memory.state import MemoryState
from leasekit.backends.memory.watch import MemoryWatch, SharedData
from leasekit.clock import SYSTEM_CLOCK, Clock
from leasekit.errors import ConfigError, StoreUnavailable
from leasekit.store import (
    Capabilities,
    Committed,
    Compare,
    EndpointHealth,
    Entry,
    Health,
    Lease,
    NoneUnder,
    Op,
    ServerTime,
    Snapshot,
    Store,
)
from leasekit.urls import DEFAULT_PREFIX, StoreURL

CAPABILITIES = Capabilities(
    ttl_min_s=0.05,
    ttl_max_s=1e9,
    expiry_late_s=0.05,
    durable=False,
    server_time=True,
    compares_empty=True,
)

_T = TypeVar("_T")


def open_store(url: StoreURL) -> MemoryStore:
    """`memory://name`, the same data for every handle of that name in this process; `memory://`, private."""
    url.require_known_options()
    if len(url.endpoints) > 1:
        raise ConfigError("store URL", "memory:// takes one name, not several")
    return MemoryStore(str(url.endpoints[0]) if url.endpoints else None, prefix=url.prefix)


_named: dict[str, SharedData] = {}
_named_lock = threading.Lock()


def _data_of(name: str | None) -> SharedData:
    if not name:
        return SharedData()
    with _named_lock:
        return _named.setdefault(name, SharedData())


class MemoryStore(Store):
    """A handle on data in this process: for tests, trials and single-process programs. Nothing survives the process."""

    capabilities = CAPABILITIES

    def __init__(self, name: str | None, clock: Clock = SYSTEM_CLOCK, *, prefix: str = DEFAULT_PREFIX) -> None:
        self.url = f"memory://{name or ''}"
        self._clock = clock
        self._data = _data_of(name)
        self._root = prefix + "/"
        self._watches: weakref.WeakSet[MemoryWatch] = weakref.WeakSet()
        self._closed = False

    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        if not CAPABILITIES.ttl_min_s <= ttl_s <= CAPABILITIES.ttl_max_s:
            low, high = CAPABILITIES.ttl_min_s, CAPABILITIES.ttl_max_s
            raise ConfigError("ttl_s", f"{ttl_s:g} is out of range: the memory store grants {low:g} to {high:g} s")
        return await self._use(lambda state, now_s: state.grant(ttl_s, now_s))

    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        return await self._use(lambda state, now_s: state.renew(lease_id, now_s))

    async def revoke(self, lease_id: str, *, timeout_s: float) -> None:
        await self._use(lambda state, now_s: state.revoke(lease_id, now_s))

    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        found = await self._use(lambda state, now_s: state.get(self._root + key, now_s))
        return found and self._seen(found)

    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        found = await self._use(lambda state, now_s: state.scan(self._root + prefix, now_s))
        return Snapshot(tuple(map(self._seen, found.entries)), found.revision)

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        full_compares, full_ops = [*map(self._full_compare, compares)], [*map(self._full_op, ops)]
        done = await self._use(lambda state, now_s: state.transact(full_compares, full_ops, now_s))
        return done and Committed(done.revision, tuple(tuple(map(self._seen, read)) for read in done.reads))

    def watch(self, key: str, *, prefix: bool = False, after: int) -> MemoryWatch:
        self._ensure_open()
        watch = MemoryWatch(self._data, self._clock, self._root, key, prefix=prefix, after=after)
        self._watches.add(watch)
        return watch

    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        await self._turn()
        return ServerTime(self._clock.wall_s(), 0.0)

    async def probe(self, *, timeout_s: float) -> Health:
        error = "closed" if self._closed else None
        warning = "The memory store elects within this process only."
        return Health((EndpointHealth(self.url, error, round_trip_s=0.0, is_store_leader=True),), (warning,))

    async def aclose(self) -> None:
        self._closed = True
        for watch in list(self._watches):
            await watch.aclose()

    def compact(self, revision: int) -> None:
        """Forget every change up to and including `revision`, so that watches from before it get a Resync."""
        self._data.use(lambda state: state.compact(revision))

    async def _use(self, action: Callable[[MemoryState, float], _T]) -> _T:
        await self._turn()
        return self._data.use(lambda state: action(state, self._clock.now().boot_s))

    async def _turn(self) -> None:
        # Every request is a point at which others run and cancelling works, as with a store that is far away.
        await asyncio.sleep(0)
        self._ensure_open()

    def _ensure_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self.url} is closed")

    def _seen(self, entry: Entry) -> Entry:
        return replace(entry, key=entry.key.removeprefix(self._root))

    def _full_compare(self, compare: Compare) -> Compare:
        if isinstance(compare, NoneUnder):
            return NoneUnder(self._root + compare.prefix)
        return replace(compare, key=self._root + compare.key)

    def _full_op(self, op: Op) -> Op:
        return replace(op, key=self._root + op.key)
