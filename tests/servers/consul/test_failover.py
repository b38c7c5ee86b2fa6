"""Several agents: one dies, freezes or loses its leader, and the others are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from leasekit.backends.consul.store import ConsulStore
from leasekit.backends.consul.watches import WAIT_S
from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import At, Changed, Put
from support.servers import ConsulCluster

from .conftest import PATIENCE_S, Open, commit, session

_T = TypeVar("_T")


async def in_thread(action: Callable[..., _T], *arguments: object) -> _T:
    return await asyncio.to_thread(action, *arguments)


async def patiently_put(store: ConsulStore, key: str, value: bytes) -> int:
    """A put on a cluster that is finding a leader."""
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            try:
                committed = await store.transact([], [Put(key, value)], timeout_s=5)
                assert committed is not None
                return committed.revision
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.05)


async def patiently_renew(store: ConsulStore, lease_id: str) -> float:
    """A renewal on a cluster that may still be finding a leader."""
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            try:
                return await store.renew(lease_id, timeout_s=5)
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.05)


def followers(cluster: ConsulCluster) -> list[int]:
    leader = cluster.leader_index()
    return [index for index in range(cluster.size) if index != leader]


async def test_a_session_is_renewed_through_another_agent_than_the_one_that_made_it(
    opened: Open, consul_cluster: ConsulCluster
) -> None:
    first, second = [opened(consul_cluster.url("p", endpoints=[consul_cluster.endpoints[i]])) for i in (0, 1)]
    lease = await first.grant(10, timeout_s=PATIENCE_S)
    said = session(consul_cluster, lease.id)
    assert said is not None and said["Node"] == "s0"
    assert await second.renew(lease.id, timeout_s=PATIENCE_S) == 10
    await commit(second, Put("leader", b"1", lease.id))
    await second.revoke(lease.id, timeout_s=PATIENCE_S)


async def test_the_death_of_the_agent_that_made_it_does_not_end_a_session(
    opened: Open, consul_cluster: ConsulCluster
) -> None:
    """With Consul's default check the session would end with its agent."""
    made_by = followers(consul_cluster)[0]
    ordered = [consul_cluster.endpoints[made_by], *consul_cluster.endpoints]
    store = opened(consul_cluster.url("p", endpoints=list(dict.fromkeys(ordered))))
    checked = opened(consul_cluster.url("p", endpoints=ordered[:1], checks="serfHealth"))
    lease = await store.grant(120, timeout_s=PATIENCE_S)
    with_check = await checked.grant(120, timeout_s=PATIENCE_S)
    await commit(store, Put("leader", b"1", lease.id))
    await in_thread(consul_cluster.kill, made_by)
    async with asyncio.timeout(2 * PATIENCE_S):
        while await in_thread(session, consul_cluster, with_check.id, (made_by + 1) % 3) is not None:
            await asyncio.sleep(0.2)
    assert await patiently_renew(store, lease.id) == 120
    assert await store.get("leader", timeout_s=PATIENCE_S) is not None


async def test_a_killed_leader_is_survived(opened: Open, consul_cluster: ConsulCluster) -> None:
    leader = await in_thread(consul_cluster.leader_index)
    ordered = [consul_cluster.endpoints[leader], *consul_cluster.endpoints]
    store = opened(consul_cluster.url("p", endpoints=list(dict.fromkeys(ordered))))
    lease = await store.grant(60, timeout_s=PATIENCE_S)
    put = await commit(store, Put("key", b"0", lease.id))
    watch = store.watch("key", after=put.revision)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.1)
    await in_thread(consul_cluster.kill, leader)
    revision = await patiently_put(store, "key", b"1")
    assert revision > put.revision
    async with asyncio.timeout(PATIENCE_S):
        change = await waiting
        while not (isinstance(change, Changed) and change.entry is not None and change.entry.value == b"1"):
            change = await anext(watch)
    assert await patiently_renew(store, lease.id) == 60
    await watch.aclose()


async def test_a_frozen_agent_is_left_after_one_time_out(opened: Open, consul_cluster: ConsulCluster) -> None:
    frozen, other = followers(consul_cluster)
    store = opened(consul_cluster.url("p", endpoints=[consul_cluster.endpoints[i] for i in (frozen, other)]))
    lease = await store.grant(60, timeout_s=PATIENCE_S)
    put = await commit(store, Put("key", b"0"))
    watch = store.watch("key", after=put.revision)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.1)
    consul_cluster.pause(frozen)
    try:
        with pytest.raises(OutcomeUnknown):
            await store.renew(lease.id, timeout_s=1)
        assert await store.renew(lease.id, timeout_s=PATIENCE_S) == 60
        later = await commit(store, Put("key", b"1"), compares=(At("key", put.revision),))
        # The watch has left the frozen agent with the renewal, long before its own time-out.
        async with asyncio.timeout(WAIT_S / 2):
            assert (await waiting).revision == later.revision
        async with asyncio.timeout(PATIENCE_S):
            await store.aclose()
    finally:
        consul_cluster.resume(frozen)


async def test_a_read_gets_its_answer_though_the_first_agent_is_frozen(
    opened: Open, consul_cluster: ConsulCluster
) -> None:
    frozen, other = followers(consul_cluster)
    store = opened(consul_cluster.url("p", endpoints=[consul_cluster.endpoints[i] for i in (frozen, other)]))
    consul_cluster.pause(frozen)
    try:
        # Each of the two has half of it.
        assert await store.get("key", timeout_s=6) is None
        health = await store.probe(timeout_s=3)
        assert [endpoint.error is None for endpoint in health.endpoints] == [False, True]
        assert health.reachable
        async with asyncio.timeout(PATIENCE_S):
            await store.aclose()
    finally:
        consul_cluster.resume(frozen)


async def test_without_a_quorum_nothing_is_pretended(opened: Open, consul_cluster: ConsulCluster) -> None:
    store = opened(consul_cluster.url("p"))
    lease = await store.grant(10, timeout_s=PATIENCE_S)
    await commit(store, Put("key", b"0", lease.id))
    left = await in_thread(consul_cluster.leader_index)
    for index in range(3):
        if index != left:
            await in_thread(consul_cluster.kill, index)
    with pytest.raises(StoreUnavailable):
        await store.get("key", timeout_s=1)
    with pytest.raises((StoreUnavailable, OutcomeUnknown)):
        await store.transact([], [Put("key", b"1")], timeout_s=1)
    await in_thread(consul_cluster.start_all)
    await patiently_put(store, "key", b"2")


async def test_probe_looks_at_every_agent(opened: Open, consul_cluster: ConsulCluster) -> None:
    store = opened(consul_cluster.url("p", checks="serfHealth", lock_delay_s=5))
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            health = await store.probe(timeout_s=PATIENCE_S)
            # They may elect another while one after the other is asked.
            if sorted(str(endpoint.is_store_leader) for endpoint in health.endpoints) == ["False", "False", "True"]:
                break
    assert [endpoint.endpoint for endpoint in health.endpoints] == consul_cluster.endpoints
    assert [endpoint.error for endpoint in health.endpoints] == [None] * 3
    for endpoint in health.endpoints:
        assert endpoint.version is not None and endpoint.version.startswith("1.")
        assert endpoint.round_trip_s is not None and 0 < endpoint.round_trip_s < PATIENCE_S
    text = " ".join(health.warnings)
    assert "serfHealth" in text and "5 s more" in text
    assert "one server" not in text
