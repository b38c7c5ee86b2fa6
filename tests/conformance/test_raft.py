"""leasekit's own store against the contract, on one member and on three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from leasekit.backends.raft import open_store
from leasekit.store import Store
from leasekit.urls import parse
from support.patient import PatientConformance
from support.servers import RaftCluster


@pytest.fixture(scope="module", params=[1, 3])
def cluster(request: pytest.FixtureRequest) -> Iterator[RaftCluster]:
    """Members of this module's own, since the suite stops and freezes them."""
    # A busy machine does not keep the short timings of other tests: each election leaves a write's outcome unknown.
    with RaftCluster(request.param, election_timeout_ms=1000, heartbeat_ms=100) as cluster:
        yield cluster


class TestRaft(PatientConformance):
    @pytest.fixture(autouse=True)
    def _on(self, cluster: RaftCluster) -> None:
        self.cluster = cluster

    async def open(self, prefix: str) -> Store:
        return open_store(parse(self.cluster.url(prefix)))

    async def restart(self) -> None:
        await asyncio.to_thread(self.cluster.stop_all)
        await asyncio.to_thread(self.cluster.start_all)

    async def compact(self, store: Store, revision: int) -> None:
        # A member that starts from a snapshot does not know what changed before it.
        for index in range(self.cluster.size):
            await asyncio.to_thread(self.cluster.snapshot, index)
        await self.restart()
        assert (await store.scan("", timeout_s=self.timeout_s)).revision >= revision

    def silenced(self) -> AbstractAsyncContextManager[None]:
        return self._frozen()

    @asynccontextmanager
    async def _frozen(self) -> AsyncIterator[None]:
        for index in range(self.cluster.size):
            self.cluster.pause(index)
        try:
            yield
        finally:
            for index in range(self.cluster.size):
                self.cluster.resume(index)
