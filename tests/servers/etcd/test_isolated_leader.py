"""A leader of etcd that is cut off from its peers, but not from the client, answers keepalives from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc.aio
import pytest

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd.methods import KEEP_ALIVE
from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Put
from support.proxy import Proxy
from support.servers import EtcdCluster

from .conftest import PATIENCE_S, Open


class ClusterWithLinks(EtcdCluster):
    """Three servers that reach each other only through links that can be cut."""

    def __init__(self, stack: ExitStack) -> None:
        # Long enough that the leader goes on believing in itself while the test looks.
        super().__init__(size=3, election_timeout_ms=8000, heartbeat_ms=200)
        self._stack = stack
        self.links: list[Proxy] = []

    def _command(self, index: int) -> list[str | Path]:
        if not self.links:
            self.links = [self._stack.enter_context(Proxy(f"127.0.0.1:{self.port(i, 1)}")) for i in range(self.size)]
        everybody = ",".join(f"s{i}=http://{link.address}" for i, link in enumerate(self.links))
        return [
            *super()._command(index),
            f"--initial-cluster={everybody}",
            f"--initial-advertise-peer-urls=http://{self.links[index].address}",
        ]


@pytest.fixture
def cluster() -> Iterator[ClusterWithLinks]:
    with ExitStack() as stack:
        cluster = ClusterWithLinks(stack)
        yield stack.enter_context(cluster)


async def answered_ttl(endpoint: str, lease_id: str) -> int:
    """The time to live that a keepalive of our own is answered, with no further question."""
    async with grpc.aio.insecure_channel(endpoint) as channel:
        stream = channel.stream_stream(
            KEEP_ALIVE.path,
            request_serializer=KEEP_ALIVE.request.SerializeToString,
            response_deserializer=KEEP_ALIVE.answer.FromString,
        )()
        await stream.write(rpc.LeaseKeepAliveRequest(ID=int(lease_id, 16)))
        answer = await asyncio.wait_for(stream.read(), PATIENCE_S)
        stream.cancel()
        assert isinstance(answer, rpc.LeaseKeepAliveResponse)
        return answer.TTL


async def test_its_answer_does_not_count(cluster: ClusterWithLinks, prefix: str, opened: Open) -> None:
    leader = await asyncio.to_thread(cluster.leader_index)
    store = opened(cluster.url(prefix, endpoints=[cluster.endpoints[leader]]))
    lease = await store.grant(300, timeout_s=PATIENCE_S)
    await store.transact([], [Put("leader", b"me", lease.id)], timeout_s=PATIENCE_S)
    assert await store.renew(lease.id, timeout_s=PATIENCE_S) == lease.ttl_s
    for link in cluster.links:
        link.cut()
    assert await answered_ttl(cluster.endpoints[leader], lease.id) == lease.ttl_s, "etcd itself believes it"
    with pytest.raises((StoreUnavailable, OutcomeUnknown)):
        await store.renew(lease.id, timeout_s=0.7)
    for link in cluster.links:
        link.heal()
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            try:
                assert await store.renew(lease.id, timeout_s=2) == lease.ttl_s
                break
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.05)
