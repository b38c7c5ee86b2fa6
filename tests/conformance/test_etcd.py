"""The etcd store against the contract, on both release lines that are tested."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from leasekit.backends.etcd import open_store
from leasekit.store import Store
from leasekit.urls import parse
from support.patient import PatientConformance
from support.servers import EtcdCluster


@pytest.fixture(scope="module", params=["3.5", "3.4"])
def server(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    """A server of this module's own, since the suite stops and freezes it."""
    with EtcdCluster(version=request.param) as cluster:
        yield cluster


class TestEtcd(PatientConformance):
    @pytest.fixture(autouse=True)
    def _on(self, server: EtcdCluster) -> None:
        self.server = server

    async def open(self, prefix: str) -> Store:
        return open_store(parse(self.server.url(prefix)))

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.stop_all)
        await asyncio.to_thread(self.server.start_all)

    async def compact(self, store: Store, revision: int) -> None:
        await asyncio.to_thread(self.server.etcdctl, "compact", str(revision))

    def silenced(self) -> AbstractAsyncContextManager[None]:
        return self._frozen()

    @asynccontextmanager
    async def _frozen(self) -> AsyncIterator[None]:
        self.server.pause(0)
        try:
            yield
        finally:
            self.server.resume(0)
