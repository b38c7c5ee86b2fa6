"""Consul against the store contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from leasekit.backends.consul import open_store
from leasekit.store import Put, Store
from leasekit.urls import parse
from support.patient import PatientConformance
from support.servers import ConsulCluster


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulCluster]:
    """A server of this module's own, since the suite stops and freezes it."""
    with ConsulCluster() as cluster:
        yield cluster


class TestConsul(PatientConformance):
    @pytest.fixture(autouse=True)
    def _on(self, server: ConsulCluster) -> None:
        self.server = server

    async def open(self, prefix: str) -> Store:
        return open_store(parse(self.server.url(prefix)))

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.stop_all)
        await asyncio.to_thread(self.server.start_all)

    @asynccontextmanager
    async def silenced(self) -> AsyncIterator[None]:
        self.server.pause(0)
        try:
            yield
        finally:
            self.server.resume(0)

    async def test_an_update_keeps_the_create_revision(self) -> None:
        # Here it does not: `leasekit.store.Put` grants Consul that. A put deletes first, or the old session would stay.
        async with self.client() as store:
            await self.put(store, "key", b"1")
            second = await self.put(store, "key", b"2")
            entry = await store.get("key", timeout_s=self.timeout_s)
            assert entry is not None and entry.create_revision == entry.revision == second

    async def test_a_put_without_a_lease_outlives_the_lease_that_held_the_key(self) -> None:
        async with self.client() as store:
            lease = await store.grant(self.ttl_of(store), timeout_s=self.timeout_s)
            await self.put(store, "key", b"same", lease.id)
            await self.commit(store, Put("key", b"same"))
            await store.revoke(lease.id, timeout_s=self.timeout_s)
            assert await self.value(store, "key") == b"same"
