"""Servers that die, freeze, come back or cannot reach their peers: what goes on and what the caller is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, Put, Store
from support.ports import Reservation
from support.proxy import Proxy
from support.servers import EtcdCluster

from .conftest import PATIENCE_S, Open, complaint, connected, takes_less, until


@pytest.fixture
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(size=3) as three:
        yield three


@pytest.fixture
def dead() -> Iterator[str]:
    """An address at which nobody listens."""
    reservation = Reservation(1)
    try:
        yield f"127.0.0.1:{reservation.ports[0]}"
    finally:
        reservation.release()


def first_is(cluster: EtcdCluster, index: int) -> list[str]:
    """The cluster's endpoints, beginning with server `index`."""
    return cluster.endpoints[index:] + cluster.endpoints[:index]


async def put_patiently(store: Store, key: str) -> int:
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            try:
                committed = await store.transact([], [Put(key, b"1")], timeout_s=5)
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.02)
            else:
                assert committed is not None
                return committed.revision


async def test_a_dead_endpoint_costs_nothing_but_its_turn(
    etcd: EtcdCluster, prefix: str, dead: str, opened: Open
) -> None:
    async def put() -> None:
        store = opened(etcd.url(prefix, endpoints=[dead, *etcd.endpoints]))
        assert await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)

    await takes_less(1, put)


async def test_an_endpoint_that_swallows_connections_costs_only_its_head_start(
    etcd: EtcdCluster, prefix: str, opened: Open
) -> None:
    with Proxy(etcd.endpoints[0]) as black_hole:
        black_hole.cut()

        async def put() -> None:
            store = opened(etcd.url(prefix, endpoints=[black_hole.address, *etcd.endpoints]))
            assert await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)

        await takes_less(1.5, put)


async def test_no_server_at_all_is_unavailable_and_the_error_says_why(dead: str, opened: Open) -> None:
    store = opened(f"etcd://{dead}/p")
    await complaint(lambda: store.transact([], [Put("key", b"1")], timeout_s=0.5), f"{dead} Connection refused")


async def test_the_error_says_why_now_and_not_why_earlier(dead: str, opened: Open) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    store = opened(f"etcd://{dead}/p")
    await complaint(lambda: store.get("key", timeout_s=0.5), "Connection refused")
    host, _, port = dead.rpartition(":")
    async with await asyncio.start_server(hang_up, host, int(port)):
        await complaint(lambda: store.get("key", timeout_s=0.5), "accepts connections")


async def test_a_name_that_nobody_knows_is_unavailable_and_the_error_says_why(opened: Open) -> None:
    store = opened("etcd://leasekit-test.invalid/p")
    why = r"leasekit-test\.invalid:2379 (Name|No address|Temporary failure|nodename)"
    await complaint(lambda: store.get("key", timeout_s=1), why)


async def test_a_request_waits_for_a_server_that_is_about_to_start(prefix: str, opened: Open) -> None:
    with EtcdCluster() as cluster:
        await asyncio.to_thread(cluster.kill, 0)
        store = opened(cluster.url(prefix))
        write = asyncio.create_task(store.transact([], [Put("key", b"1")], timeout_s=2 * PATIENCE_S))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cluster.start, 0)
        assert await write is not None


async def test_reads_and_writes_go_on_when_the_server_in_use_dies(
    cluster: EtcdCluster, prefix: str, opened: Open
) -> None:
    follower = (await asyncio.to_thread(cluster.leader_index) + 1) % 3
    store = opened(cluster.url(prefix, endpoints=first_is(cluster, follower)))
    await put_patiently(store, "before")
    await asyncio.to_thread(cluster.kill, follower)
    assert await store.get("before", timeout_s=PATIENCE_S) is not None
    assert await store.transact([Absent("after")], [Put("after", b"1")], timeout_s=PATIENCE_S)


async def test_a_read_leaves_a_frozen_server_in_time_for_another_to_answer(
    cluster: EtcdCluster, prefix: str, opened: Open
) -> None:
    follower = (await asyncio.to_thread(cluster.leader_index) + 1) % 3
    store = opened(cluster.url(prefix, endpoints=first_is(cluster, follower)))
    await connected(store, cluster.endpoints[follower])
    await put_patiently(store, "key")
    cluster.pause(follower)
    try:
        # Each of the three has a third of it.
        assert await store.get("key", timeout_s=15) is not None
    finally:
        cluster.resume(follower)


async def test_a_write_to_a_frozen_server_is_unknown_and_the_next_goes_elsewhere(
    cluster: EtcdCluster, prefix: str, opened: Open
) -> None:
    follower = (await asyncio.to_thread(cluster.leader_index) + 1) % 3
    store = opened(cluster.url(prefix, endpoints=first_is(cluster, follower)))
    await connected(store, cluster.endpoints[follower])
    await put_patiently(store, "key")
    cluster.pause(follower)
    try:
        with pytest.raises(OutcomeUnknown, match=cluster.endpoints[follower]):
            await store.transact([], [Put("key", b"2")], timeout_s=1)
        assert await store.transact([], [Put("key", b"3")], timeout_s=PATIENCE_S)
    finally:
        cluster.resume(follower)


async def test_a_write_whose_reply_was_lost_is_not_sent_again(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    onlooker = opened(etcd.url(prefix))
    with Proxy(etcd.endpoints[0]) as proxy:
        # The second endpoint is good: a write sent again would find its key there and lose to itself.
        store = opened(etcd.url(prefix, endpoints=[proxy.address, *etcd.endpoints]))
        await connected(store, proxy.address)
        proxy.drop_replies()
        write = asyncio.create_task(store.transact([Absent("key")], [Put("key", b"once")], timeout_s=PATIENCE_S))
        async with asyncio.timeout(PATIENCE_S):
            while await onlooker.get("key", timeout_s=PATIENCE_S) is None:
                await asyncio.sleep(0.01)
        proxy.close_connections()
        with pytest.raises(OutcomeUnknown):
            await write


async def test_a_grant_whose_reply_was_lost_is_asked_for_again(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    with Proxy(etcd.endpoints[0]) as proxy:
        store = opened(etcd.url(prefix, endpoints=[proxy.address, *etcd.endpoints]))
        await connected(store, proxy.address)
        proxy.drop_replies()
        grant = asyncio.create_task(store.grant(60, timeout_s=2 * PATIENCE_S))
        await until(lambda: proxy.bytes_lost > 0)
        proxy.close_connections()
        lease = await grant
        assert await store.renew(lease.id, timeout_s=PATIENCE_S) == lease.ttl_s


async def test_a_connection_reset_under_a_read_is_made_again(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    with Proxy(etcd.endpoints[0]) as proxy:
        proxy.delay_s = 0.1
        store = opened(etcd.url(prefix, endpoints=[proxy.address]))
        assert await store.get("key", timeout_s=PATIENCE_S) is None
        read = asyncio.create_task(store.get("key", timeout_s=PATIENCE_S))
        await asyncio.sleep(0.05)
        proxy.close_connections()
        assert await read is None


async def test_a_server_without_its_peers_refuses_a_write_which_is_then_surely_not_applied(
    cluster: EtcdCluster, prefix: str, opened: Open
) -> None:
    leader = await asyncio.to_thread(cluster.leader_index)
    follower = (leader + 1) % 3
    store = opened(cluster.url(prefix, endpoints=[cluster.endpoints[follower]]))
    await put_patiently(store, "key")
    for other in range(3):
        if other != follower:
            await asyncio.to_thread(cluster.kill, other)
    # From the moment at which the server knows that it has no leader, it says so.
    said = ""
    async with asyncio.timeout(PATIENCE_S):
        while "no leader" not in said:
            with pytest.raises((StoreUnavailable, OutcomeUnknown)) as caught:
                await store.transact([], [Put("key", b"2")], timeout_s=1)
            said = str(caught.value)
    assert isinstance(caught.value, StoreUnavailable)
    await asyncio.to_thread(cluster.start_all)
    assert await put_patiently(store, "key")


async def test_elections_of_etcd_itself_are_outlived(cluster: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(cluster.url(prefix))
    lease = await store.grant(60, timeout_s=PATIENCE_S)
    await store.transact([], [Put("key", b"1", lease.id)], timeout_s=PATIENCE_S)
    await asyncio.to_thread(cluster.kill, await asyncio.to_thread(cluster.leader_index))
    assert await put_patiently(store, "other")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                assert await store.renew(lease.id, timeout_s=5) == lease.ttl_s
                break
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.02)
    assert await store.get("key", timeout_s=PATIENCE_S) is not None


async def test_renewals_go_through_another_server_when_theirs_freezes(
    cluster: EtcdCluster, prefix: str, opened: Open
) -> None:
    follower = (await asyncio.to_thread(cluster.leader_index) + 1) % 3
    store = opened(cluster.url(prefix, endpoints=first_is(cluster, follower)))
    await connected(store, cluster.endpoints[follower])
    lease = await store.grant(60, timeout_s=PATIENCE_S)
    await store.transact([], [Put("key", b"1", lease.id)], timeout_s=PATIENCE_S)
    assert await store.renew(lease.id, timeout_s=PATIENCE_S) == lease.ttl_s
    cluster.pause(follower)
    try:
        with pytest.raises(OutcomeUnknown, match=cluster.endpoints[follower]):
            await store.renew(lease.id, timeout_s=1)
        assert await store.renew(lease.id, timeout_s=PATIENCE_S) == lease.ttl_s
    finally:
        cluster.resume(follower)


async def test_a_frozen_cluster_cannot_delay_closing(prefix: str, opened: Open) -> None:
    with EtcdCluster() as cluster:
        store = opened(cluster.url(prefix))
        lease = await store.grant(60, timeout_s=PATIENCE_S)
        await store.renew(lease.id, timeout_s=PATIENCE_S)
        watch = store.watch("key", after=1)
        waiting = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0.1)
        cluster.pause(0)
        try:
            pending = asyncio.create_task(store.transact([], [Put("key", b"1")], timeout_s=100))
            await asyncio.sleep(0.1)
            async with asyncio.timeout(10):  # a tenth of what is pending
                await store.aclose()
            assert await waiting is None
            with pytest.raises(OutcomeUnknown):
                await pending
        finally:
            cluster.resume(0)


async def test_connecting_again_and_again_to_a_server_that_drops_everybody_is_no_storm(
    etcd: EtcdCluster, prefix: str, opened: Open
) -> None:
    with Proxy(etcd.endpoints[0]) as proxy:
        store = opened(etcd.url(prefix, endpoints=[proxy.address]))
        assert await store.get("key", timeout_s=PATIENCE_S) is None
        watch = store.watch("key", after=1)
        waiting = asyncio.ensure_future(anext(watch))
        made = proxy.connections_made
        loop = asyncio.get_running_loop()
        end_s = loop.time() + 2
        while loop.time() < end_s:
            proxy.close_connections()
            await asyncio.sleep(0.005)
        assert proxy.connections_made - made <= 40, (
            "a pause of a second makes it begin anew; without pauses there are hundreds"
        )
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
