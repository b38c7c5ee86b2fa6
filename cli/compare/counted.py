"""A store that counts what is asked of it, call by call of the contract: the same on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from leasekit.connection import Connection
from leasekit.store import Changed, Committed, Compare, Entry, Health, Lease, Op, Resync, ServerTime, Snapshot, Store


class CountedStore(Store):
    """Hands every call on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url
        self.capabilities = store.capabilities
        self.calls = 0

    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        self.calls += 1
        return await self._store.grant(ttl_s, timeout_s=timeout_s)

    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        self.calls += 1
        return await self._store.renew(lease_id, timeout_s=timeout_s)

    async def revoke(self, lease_id: str, *, timeout_s: float) -> None:
        self.calls += 1
        await self._store.revoke(lease_id, timeout_s=timeout_s)

    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        self.calls += 1
        return await self._store.get(key, timeout_s=timeout_s)

    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        self.calls += 1
        return await self._store.scan(prefix, timeout_s=timeout_s)

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        self.calls += 1
        return await self._store.transact(compares, ops, timeout_s=timeout_s)

    def watch(self, key: str, *, prefix: bool = False, after: int) -> AsyncIterator[Changed | Resync]:
        self.calls += 1
        return self._store.watch(key, prefix=prefix, after=after)

    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        return await self._store.server_time(timeout_s=timeout_s)

    async def probe(self, *, timeout_s: float) -> Health:
        return await self._store.probe(timeout_s=timeout_s)

    async def aclose(self) -> None:
        await self._store.aclose()


class CountedConnection(Connection):
    """A connection over such a store."""

    def _begin(self) -> None:
        super()._begin()
        self.counted = CountedStore(self._store)
        self._store = self.counted
