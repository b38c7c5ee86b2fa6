"""Watches over blocking queries: few of them, resumed, and never spinning."""

from __future__ import annotations

import asyncio
import gc
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from leasekit.backends.consul import watches
from leasekit.backends.consul.agents import Agents, Params
from leasekit.backends.consul.client import Answer
from leasekit.backends.consul.store import ConsulStore
from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, Changed, Delete, Put, Resync
from support.proxy import Proxy
from support.servers import ConsulCluster

from .conftest import PATIENCE_S, Open, commit

SPACING_MAX_S = watches._SPACING_S * 2**watches._SPACING_DOUBLINGS


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulCluster]:
    """A server of this module's own, since its tests stop it."""
    with ConsulCluster() as cluster:
        yield cluster


@pytest.fixture
def link(server: ConsulCluster) -> Iterator[Proxy]:
    """A breakable link to that server, which also counts connections."""
    with Proxy(server.endpoints[0]) as proxy:
        yield proxy


async def told(watch: AsyncIterator[Changed | Resync], value: bytes | None) -> Changed:
    """The next change to `value`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            event = await anext(watch)
            if isinstance(event, Changed) and (event.entry.value if event.entry else None) == value:
                return event


async def patiently_put(store: ConsulStore, key: str, value: bytes) -> int:
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            try:
                return (await commit(store, Put(key, value))).revision
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.05)


async def test_300_watches_fit_into_the_agents_default_of_200_connections(
    opened: Open, server: ConsulCluster, link: Proxy, prefix: str
) -> None:
    store = opened(server.url(prefix, endpoints=[link.address]))
    writer = opened(server.url(prefix))
    put = await commit(writer, Put("start", b""))
    all_watches = [store.watch(f"e{n}/leader", after=put.revision) for n in range(300)]
    waiting = [asyncio.ensure_future(anext(watch)) for watch in all_watches]
    await asyncio.sleep(0.3)
    for n in range(0, 300, 30):
        await commit(writer, *(Put(f"e{m}/leader", b"%d" % m) for m in range(n, n + 30)))
    async with asyncio.timeout(PATIENCE_S):
        for n, task in enumerate(waiting):
            change = await task
            assert isinstance(change, Changed) and change.key == f"e{n}/leader"
            assert change.entry is not None and change.entry.value == b"%d" % n
    assert link.connections <= watches.FEEDS_MAX + 10
    # Requests do not wait behind watches, of which each waits so long for an answer.
    async with asyncio.timeout(0.9 * watches.WAIT_S):
        await store.get("start", timeout_s=PATIENCE_S)
    for watch in all_watches:
        await watch.aclose()


async def test_watches_of_the_same_key_share_one_query(opened: Open, server: ConsulCluster, prefix: str) -> None:
    store = opened(server.url(prefix))
    put = await commit(store, Put("leader", b"0"))
    several = [store.watch("leader", after=put.revision) for _ in range(5)]
    waiting = [asyncio.ensure_future(anext(watch)) for watch in several]
    await asyncio.sleep(0.1)
    assert store._watches.queries == 1
    later = await commit(store, Put("leader", b"1"))
    assert {(await task).revision for task in waiting} == {later.revision}
    for watch in several:
        await watch.aclose()
    assert store._watches.queries == 0


async def test_a_watch_dropped_without_being_closed_ends_its_query(
    opened: Open, server: ConsulCluster, prefix: str
) -> None:
    store = opened(server.url(prefix))
    put = await commit(store, Put("leader", b"0"))
    watch = store.watch("leader", after=put.revision)
    reading = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.1)
    reading.cancel()
    await asyncio.wait({reading})
    del watch, reading
    gc.collect()
    # Noticed at the query's next answer.
    await commit(store, Put("leader", b"1"))
    async with asyncio.timeout(PATIENCE_S):
        while store._watches.queries:
            await asyncio.sleep(0.01)


async def test_a_watch_resumes_across_a_restart(opened: Open, server: ConsulCluster, prefix: str) -> None:
    store = opened(server.url(prefix))
    lease = await store.grant(300, timeout_s=PATIENCE_S)
    put = await commit(store, Put("leader", b"0", lease.id), Put("gone", b"0"))
    kept, gone = store.watch("leader", after=put.revision), store.watch("gone", after=put.revision)
    waiting = [asyncio.ensure_future(told(kept, b"1")), asyncio.ensure_future(told(gone, None))]
    await asyncio.sleep(0.1)
    await asyncio.to_thread(server.stop_all)
    await asyncio.sleep(0.5)
    assert not any(task.done() for task in waiting)
    await asyncio.to_thread(server.start_all)
    await patiently_put(store, "leader", b"1")
    await commit(store, Delete("gone"))
    await asyncio.gather(*waiting)
    await kept.aclose()
    await gone.aclose()


async def test_a_store_set_up_anew_says_to_look_again(opened: Open, prefix: str) -> None:
    with ConsulCluster() as cluster:
        store = opened(cluster.url(prefix))
        for n in range(60):  # so that the next store's revisions are below
            put = await commit(store, Put("leader", b"%d" % n))
        watch = store.watch("leader", after=put.revision)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(cluster.stop_all)
        shutil.rmtree(cluster.folder(0))
        await asyncio.to_thread(cluster.start_all)
        async with asyncio.timeout(PATIENCE_S):
            resync = await waiting
            assert isinstance(resync, Resync) and resync.revision < put.revision
        revision = await patiently_put(store, "leader", b"new")
        assert (await told(watch, b"new")).revision == revision < put.revision
        await watch.aclose()
        await store.aclose()


async def test_watches_from_a_transaction_of_ones_own_ask_nothing_first(
    opened: Open, server: ConsulCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, writer = opened(server.url(prefix)), opened(server.url(prefix))
    lease = await store.grant(10, timeout_s=PATIENCE_S)
    asked: list[bool] = []
    block = Agents.block

    async def noting(self: Agents, path: str, params: Params, *, timeout_s: float) -> Answer:
        asked.append("index" in dict(params))
        return await block(self, path, params, timeout_s=timeout_s)

    monkeypatch.setattr(Agents, "block", noting)
    claim = Put("e/leader", b"me", lease.id), Delete("e/request")
    claimed = await commit(store, *claim, compares=(Absent("e/leader"),))
    # Told exactly: neither the put itself, nor the absent key because a sibling was written.
    both = {key: store.watch(key, after=claimed.revision) for key in ("e/leader", "e/request")}
    waiting = {key: asyncio.ensure_future(anext(watch)) for key, watch in both.items()}
    await commit(writer, Put("e/history", b"1"))
    await asyncio.sleep(0.2)
    async with asyncio.timeout(PATIENCE_S):
        while len(asked) < 2:
            await asyncio.sleep(0.01)
    assert not any(one.done() for one in waiting.values())
    assert all(asked)
    asking = await commit(writer, Put("e/request", b"go"))
    gone = await commit(writer, Delete("e/leader"))
    async with asyncio.timeout(PATIENCE_S):
        request, leader = await waiting["e/request"], await waiting["e/leader"]
    assert isinstance(request, Changed) and isinstance(leader, Changed)
    assert (request.entry is not None, request.revision) == (True, asking.revision)
    assert leader.entry is None and leader.revision >= gone.revision
    for watch in both.values():
        await watch.aclose()


async def test_a_missing_key_is_not_told_because_its_siblings_change(
    opened: Open, server: ConsulCluster, link: Proxy, prefix: str
) -> None:
    store = opened(server.url(prefix, endpoints=[link.address]))
    writer = opened(server.url(prefix))
    read = await commit(store, Put("q/other", b""))
    watch = store.watch("q/missing", after=read.revision)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.1)
    sent, loop = link.bytes_sent, asyncio.get_running_loop()
    began_s = loop.time()
    for n in range(300):
        await commit(writer, Put("q/other", b"%d" % n))
    # It wakes for them all the same, but less and less often; one query takes some 250 bytes.
    queries = (link.bytes_sent - sent) / 250
    assert queries < 30 + (loop.time() - began_s) / SPACING_MAX_S
    assert not waiting.done()
    put = await commit(writer, Put("q/missing", b"1"))
    async with asyncio.timeout(PATIENCE_S):
        change = await waiting
    assert isinstance(change, Changed) and (change.key, change.revision) == ("q/missing", put.revision)
    await watch.aclose()


async def test_a_quiet_watch_asks_next_to_nothing(
    opened: Open, server: ConsulCluster, link: Proxy, prefix: str
) -> None:
    store = opened(server.url(prefix, endpoints=[link.address]))
    put = await commit(store, Put("leader", b"0"))
    watch = store.watch("leader", after=put.revision)
    waiting = asyncio.ensure_future(anext(watch))
    async with asyncio.timeout(PATIENCE_S):
        sent = -1
        while link.bytes_sent != sent:  # until its query is under way, and then for a second
            sent = link.bytes_sent
            await asyncio.sleep(1)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})
    await watch.aclose()


async def test_a_watch_without_a_server_tries_again_at_leisure(
    opened: Open, server: ConsulCluster, link: Proxy, prefix: str
) -> None:
    store = opened(server.url(prefix, endpoints=[link.address]))
    put = await commit(store, Put("leader", b"0"))
    watch = store.watch("leader", after=put.revision)
    waiting = asyncio.ensure_future(told(watch, b"1"))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(server.stop_all)
    made, loop = link.connections_made, asyncio.get_running_loop()
    began_s = loop.time()
    await asyncio.sleep(2)
    assert link.connections_made - made <= 7.5 * (loop.time() - began_s)
    async with asyncio.timeout(PATIENCE_S):
        while link.connections_made - made < 2:
            await asyncio.sleep(0.05)
    await asyncio.to_thread(server.start_all)
    await patiently_put(store, "leader", b"1")
    await waiting
    await watch.aclose()


async def test_a_cut_network_is_noticed_by_another_request(opened: Open, server: ConsulCluster, prefix: str) -> None:
    """Two links to one server stand for two agents."""
    with Proxy(server.endpoints[0]) as first, Proxy(server.endpoints[0]) as second:
        store = opened(server.url(prefix, endpoints=[first.address, second.address]))
        lease = await store.grant(10, timeout_s=PATIENCE_S)
        put = await commit(store, Put("leader", b"0"))
        watch = store.watch("leader", after=put.revision)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.1)
        first.cut()
        with pytest.raises(OutcomeUnknown):
            await store.renew(lease.id, timeout_s=1)
        later = await commit(store, Put("leader", b"1"))
        async with asyncio.timeout(watches.WAIT_S / 2):
            assert (await waiting).revision == later.revision
        await watch.aclose()
        await store.revoke(lease.id, timeout_s=PATIENCE_S)
        await store.aclose()
        first.heal()
