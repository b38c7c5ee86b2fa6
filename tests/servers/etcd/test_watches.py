"""Watches over what breaks them: restarts, compaction, frozen servers, a store that was put back in time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Changed, Put, Resync, Store
from support.proxy import Proxy
from support.servers import EtcdCluster

from .conftest import PATIENCE_S, Open, metric, until


@pytest.fixture
def own() -> Iterator[EtcdCluster]:
    """A server for this test alone."""
    with EtcdCluster() as cluster:
        yield cluster


async def put(store: Store, key: str, value: bytes = b"1") -> int:
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            try:
                committed = await store.transact([], [Put(key, value)], timeout_s=5)
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.02)
            else:
                assert committed is not None
                return committed.revision


async def first(watch: AsyncIterator[Changed | Resync]) -> Changed | Resync:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(watch)


async def test_changes_made_while_the_server_was_down_are_told(own: EtcdCluster, prefix: str, opened: Open) -> None:
    store, writer = opened(own.url(prefix)), opened(own.url(prefix))
    after = await put(writer, "key")
    watch = store.watch("key", after=after)
    change = await put(writer, "key", b"2")
    assert (await first(watch)).revision == change
    await asyncio.to_thread(own.kill, 0)
    await asyncio.to_thread(own.start, 0)
    change = await put(writer, "key", b"3")
    told = await first(watch)
    assert isinstance(told, Changed)
    assert (told.revision, told.entry and told.entry.value) == (change, b"3")


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_what_was_compacted_while_the_watch_was_away_is_a_gap_and_it_goes_on(
    version: str, prefix: str, opened: Open
) -> None:
    with EtcdCluster(version="3.4" if version == "3.4" else "3.5") as cluster, Proxy(cluster.endpoints[0]) as proxy:
        writer = opened(cluster.url(prefix))
        store = opened(cluster.url(prefix, endpoints=[proxy.address]))
        after = await put(writer, "key")
        watch = store.watch("key", after=after)
        seen = await put(writer, "key", b"seen")
        assert (await first(watch)).revision == seen
        proxy.cut()
        for n in range(5):
            last = await put(writer, "key", b"missed %d" % n)
        await asyncio.to_thread(cluster.etcdctl, "compact", str(last))
        proxy.close_connections()
        proxy.heal()
        told = await first(watch)
        assert isinstance(told, Resync)
        assert told.revision == last
        new = await put(writer, "key", b"new")
        while (told := await first(watch)).revision < new:
            pass
        assert isinstance(told, Changed) and told.entry and told.entry.value == b"new"


async def test_no_change_is_lost_however_often_the_connection_breaks(
    etcd: EtcdCluster, prefix: str, opened: Open
) -> None:
    writer = opened(etcd.url(prefix))
    with Proxy(etcd.endpoints[0]) as proxy:
        store = opened(etcd.url(prefix, endpoints=[proxy.address]))
        after = await put(writer, "start")
        told: dict[str, int] = {}

        async def read() -> None:
            async for change in store.watch("k/", prefix=True, after=after):
                assert isinstance(change, Changed)
                assert change.key not in told, "told twice, although nothing was compacted or restored"
                assert change.revision > max(told.values(), default=0), "out of order"
                told[change.key] = change.revision

        reading = asyncio.create_task(read())
        put_at: dict[str, int] = {}
        for n in range(300):
            put_at[f"k/{n}"] = await put(writer, f"k/{n}")
            if n % 20 == 10:
                proxy.close_connections()
        async with asyncio.timeout(PATIENCE_S):
            while len(told) < len(put_at) and not reading.done():
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert told == put_at


async def test_a_watch_leaves_a_frozen_server_for_a_living_one(prefix: str, opened: Open) -> None:
    with EtcdCluster(size=3) as cluster:
        follower = (await asyncio.to_thread(cluster.leader_index) + 1) % 3
        others = [endpoint for index, endpoint in enumerate(cluster.endpoints) if index != follower]
        writer = opened(cluster.url(prefix, endpoints=others))
        store = opened(cluster.url(prefix, endpoints=[cluster.endpoints[follower], *others]))
        after = await put(writer, "key")
        watch = store.watch("key", after=after)
        seen = await put(writer, "key", b"2")
        assert (await first(watch)).revision == seen
        cluster.pause(follower)
        try:
            missed = await put(writer, "key", b"3")
            assert (await first(watch)).revision == missed
        finally:
            cluster.resume(follower)


async def test_a_watch_leaves_a_server_that_lost_its_peers(prefix: str, opened: Open) -> None:
    with EtcdCluster(size=3) as cluster:
        leader = await asyncio.to_thread(cluster.leader_index)
        store = opened(cluster.url(prefix))
        after = await put(store, "key")
        watch = store.watch("key", after=after)
        assert (await first_change(store, watch, b"2")).revision > after
        await asyncio.to_thread(cluster.kill, leader)
        assert (await first_change(store, watch, b"3")).revision > after


async def first_change(store: Store, watch: AsyncIterator[Changed | Resync], value: bytes) -> Changed:
    await put(store, "key", value)
    while True:
        told = await first(watch)
        if isinstance(told, Changed) and told.entry is not None and told.entry.value == value:
            return told


async def test_all_watches_share_one_stream(own: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(own.url(prefix))
    after = await put(store, "start")
    watches = [store.watch(f"key{n}", after=after) for n in range(30)]
    waiting = [asyncio.ensure_future(anext(watch)) for watch in watches]
    # One more comes and goes when the stream has been quiet for a while.
    await until(lambda: metric(own, "etcd_debugging_mvcc_watcher_total") == 30)
    await until(lambda: metric(own, "etcd_debugging_mvcc_watch_stream_total") == 1)
    for n in range(30):
        await put(store, f"key{n}")
    assert [change.key for change in await asyncio.gather(*waiting) if isinstance(change, Changed)] == [
        f"key{n}" for n in range(30)
    ]


async def test_a_closed_watch_is_cancelled_on_the_server(own: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(own.url(prefix))
    after = await put(store, "start")
    one, other = store.watch("one", after=after), store.watch("other", after=after)
    waiting = [asyncio.ensure_future(anext(one)), asyncio.ensure_future(anext(other))]
    await until(lambda: metric(own, "etcd_debugging_mvcc_watcher_total") == 2)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    await until(lambda: metric(own, "etcd_debugging_mvcc_watcher_total") == 1)
    await put(store, "other")
    assert (await waiting[1]).revision > after
    await other.aclose()  # type: ignore[attr-defined]
    await until(lambda: metric(own, "etcd_debugging_mvcc_watcher_total") == 0)


async def test_a_quiet_watch_stays_on_its_connection(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    with Proxy(etcd.endpoints[0]) as proxy:
        store = opened(etcd.url(prefix, endpoints=[proxy.address]))
        after = await put(store, "start")
        watch = store.watch("key", after=after)
        before = proxy.bytes_received
        waiting = asyncio.ensure_future(anext(watch))
        await until(lambda: proxy.bytes_received > before)  # the watch is there
        made = proxy.connections_made
        await asyncio.sleep(1)
        before = proxy.bytes_received
        await asyncio.sleep(5)  # several times the pause after which the server is asked whether it is there
        await until(lambda: proxy.bytes_received > before)  # it was asked, and answered
        assert not waiting.done()
        assert proxy.connections_made == made
        change = await put(store, "key")
        assert (await waiting).revision == change


async def test_while_the_server_is_down_the_client_hardly_tries(own: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(own.url(prefix))
    after = await put(store, "start")
    watch = store.watch("key", after=after)
    waiting = asyncio.ensure_future(anext(watch))
    await until(lambda: metric(own, "etcd_debugging_mvcc_watcher_total") == 1)
    await asyncio.to_thread(own.kill, 0)
    attempts = 0

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.transport.abort()

    host, _, port = own.endpoints[0].rpartition(":")
    async with await asyncio.start_server(refuse, host, int(port)) as listener:
        await asyncio.sleep(4)
        listener.close()
    assert 1 <= attempts <= 25
    await asyncio.to_thread(own.start, 0)
    change = await put(store, "key")
    assert (await waiting).revision == change


async def test_a_store_put_back_in_time_is_a_gap(own: EtcdCluster, prefix: str, opened: Open, tmp_path: Path) -> None:
    store, writer = opened(own.url(prefix)), opened(own.url(prefix))
    await put(writer, "key", b"old")
    await asyncio.to_thread(back_up, own, tmp_path / "backup")
    for n in range(20):
        after = await put(writer, "key", b"lost %d" % n)
    watch = store.watch("key", after=after)
    seen = await put(writer, "key", b"seen")
    assert (await first(watch)).revision == seen
    await asyncio.to_thread(restore, own, tmp_path / "backup")
    told = await first(watch)
    assert isinstance(told, Resync)
    assert told.revision < seen
    new = await put(writer, "key", b"new")
    assert new < seen
    while (told := await first(watch)).revision < new:
        pass
    assert isinstance(told, Changed) and told.entry and told.entry.value == b"new"


async def test_a_store_put_back_in_time_is_noticed_even_after_it_has_overtaken_the_watch(
    own: EtcdCluster, prefix: str, opened: Open, tmp_path: Path
) -> None:
    writer = opened(own.url(prefix))
    await put(writer, "key", b"old")
    await asyncio.to_thread(back_up, own, tmp_path / "backup")
    await asyncio.to_thread(own.kill, 0)
    await asyncio.to_thread(own.start, 0)  # so that Raft's term is above the one that the restored server begins with
    with Proxy(own.endpoints[0]) as proxy:
        store = opened(own.url(prefix, endpoints=[proxy.address]))
        after = await put(writer, "key", b"lost")
        watch = store.watch("key", after=after)
        seen = await put(writer, "key", b"seen")
        assert (await first(watch)).revision == seen
        proxy.cut()
        await asyncio.to_thread(restore, own, tmp_path / "backup")
        while await put(writer, "other") <= seen:
            pass
        proxy.close_connections()
        proxy.heal()
        assert isinstance(await first(watch), Resync)


async def test_a_watch_from_the_future_of_a_lagging_server_is_no_gap(prefix: str, opened: Open) -> None:
    with EtcdCluster(size=3) as cluster:
        follower = (await asyncio.to_thread(cluster.leader_index) + 1) % 3
        others = [endpoint for index, endpoint in enumerate(cluster.endpoints) if index != follower]
        writer = opened(cluster.url(prefix, endpoints=others))
        store = opened(cluster.url(prefix, endpoints=[cluster.endpoints[follower]]))
        await put(store, "start")
        cluster.pause(follower)
        for n in range(50):
            after = await put(writer, f"k{n}")
        watch = store.watch("key", after=after)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)
        cluster.resume(follower)
        change = await put(writer, "key")
        told = await asyncio.wait_for(waiting, PATIENCE_S)
        assert isinstance(told, Changed)
        assert told.revision == change


def back_up(cluster: EtcdCluster, to: Path) -> None:
    cluster.kill(0)
    shutil.copytree(cluster.folder(0), to)
    cluster.start(0)


def restore(cluster: EtcdCluster, backup: Path) -> None:
    cluster.kill(0)
    shutil.rmtree(cluster.folder(0))
    shutil.copytree(backup, cluster.folder(0))
    cluster.start(0)
