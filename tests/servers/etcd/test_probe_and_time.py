"""What a cluster says of itself, and what its clock shows."""

from __future__ import annotations

import asyncio
import re

import pytest

from leasekit.clock import SYSTEM_CLOCK
from leasekit.errors import StoreUnavailable
from support.proxy import Proxy
from support.servers import EtcdCluster

from .conftest import PATIENCE_S, Open, takes_less


async def test_a_sound_server_is_described(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    health = await opened(etcd.url(prefix)).probe(timeout_s=PATIENCE_S)
    [endpoint] = health.endpoints
    assert endpoint.endpoint == etcd.endpoints[0]
    assert endpoint.error is None
    assert endpoint.version is not None and re.fullmatch(r"3\.5\.\d+", endpoint.version)
    assert endpoint.round_trip_s is not None and 0 < endpoint.round_trip_s < PATIENCE_S
    assert endpoint.is_store_leader
    assert health.warnings == ()
    assert int(health.details["raft term"]) >= 1
    assert re.fullmatch(r"[0-9a-f]+", health.details["cluster id"])


async def test_a_version_that_may_end_leases_early_is_warned_of(etcd34: EtcdCluster, prefix: str, opened: Open) -> None:
    [warning] = (await opened(etcd34.url(prefix)).probe(timeout_s=PATIENCE_S)).warnings
    assert "3.4.31" in warning


async def test_one_of_three_leads_and_a_dead_one_is_said_to_be(
    etcd_cluster: EtcdCluster, prefix: str, opened: Open
) -> None:
    leader = await asyncio.to_thread(etcd_cluster.leader_index)
    dead = (leader + 1) % 3
    await asyncio.to_thread(etcd_cluster.kill, dead)
    store = opened(etcd_cluster.url(prefix))
    errors: list[str | None] = [None] * 3
    errors[dead] = "Connection refused"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            health = await store.probe(timeout_s=3)
            leaders = [index for index in range(3) if health.endpoints[index].is_store_leader]
            said = [endpoint.error for endpoint in health.endpoints]
            # They may elect another at any time: the two answers need not agree then.
            if said == errors and leaders == [await asyncio.to_thread(etcd_cluster.leader_index)]:
                break
    assert health.reachable


async def test_a_lost_quorum_is_said_plainly(etcd_cluster: EtcdCluster, prefix: str, opened: Open) -> None:
    for index in (1, 2):
        await asyncio.to_thread(etcd_cluster.kill, index)
    store = opened(etcd_cluster.url(prefix))
    expected = ("knows no leader", "no election can go on")
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            warnings = (await store.probe(timeout_s=1)).warnings
            if all(any(words in warning for warning in warnings) for words in expected):
                return


async def test_servers_of_two_clusters_are_found_out(
    etcd: EtcdCluster, etcd34: EtcdCluster, prefix: str, opened: Open
) -> None:
    store = opened(etcd.url(prefix, endpoints=etcd.endpoints + etcd34.endpoints))
    assert any("different etcd clusters" in warning for warning in (await store.probe(timeout_s=PATIENCE_S)).warnings)


async def test_a_frozen_server_cannot_hold_up_a_probe(prefix: str, opened: Open) -> None:
    with EtcdCluster() as cluster:
        store = opened(cluster.url(prefix))
        await store.get("key", timeout_s=PATIENCE_S)
        cluster.pause(0)

        async def probe() -> None:
            health = await store.probe(timeout_s=0.5)
            assert not health.reachable
            assert health.endpoints[0].error

        try:
            await takes_less(1.5, probe)
        finally:
            cluster.resume(0)


async def test_the_time_is_the_servers_within_its_resolution(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(etcd.url(prefix))
    before_s = SYSTEM_CLOCK.wall_s()
    told = await store.server_time(timeout_s=PATIENCE_S)
    after_s = SYSTEM_CLOCK.wall_s()
    assert told is not None
    assert told.resolution_s == 1
    assert before_s - told.resolution_s <= told.unix_s <= after_s + told.resolution_s


async def test_the_time_is_asked_of_another_server_when_the_first_is_mute(
    etcd: EtcdCluster, prefix: str, opened: Open
) -> None:
    with Proxy(etcd.endpoints[0]) as mute:
        mute.cut()
        store = opened(etcd.url(prefix, endpoints=[mute.address, *etcd.endpoints]))
        assert await store.server_time(timeout_s=8) is not None


async def test_a_port_that_speaks_no_http_tells_no_time(prefix: str, opened: Open) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnavailable, match="listen-client-http-urls"):
            await opened(f"etcd://127.0.0.1:{port}/{prefix}").server_time(timeout_s=PATIENCE_S)
