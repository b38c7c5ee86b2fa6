"""Leases as Consul's sessions."""

from __future__ import annotations

import asyncio

import pytest

from leasekit.errors import ConfigError, LeaseLost, StoreUnavailable
from leasekit.store import Absent, At, Changed, Put
from support.servers import ConsulCluster

from .conftest import PATIENCE_S, Open, commit, session

NOBODY = "11111111-2222-3333-4444-555555555555"


async def test_a_session_depends_on_no_check_and_leaves_no_delay(opened: Open, consul: ConsulCluster) -> None:
    store = opened(consul.url("p"))
    lease = await store.grant(1.5, timeout_s=PATIENCE_S)
    assert lease.ttl_s == 1.5
    said = session(consul, lease.id)
    assert said is not None
    assert (said["NodeChecks"], said["ServiceChecks"], said["LockDelay"]) == ([], [], 0)
    assert (said["Behavior"], said["TTL"]) == ("delete", "1500ms")
    await store.revoke(lease.id, timeout_s=PATIENCE_S)
    assert session(consul, lease.id) is None


async def test_lock_delay_and_checks_are_taken_from_the_url(opened: Open, consul: ConsulCluster) -> None:
    store = opened(consul.url("p", lock_delay_s=3, checks="serfHealth"))
    lease = await store.grant(10, timeout_s=PATIENCE_S)
    said = session(consul, lease.id)
    assert said is not None
    assert (said["NodeChecks"], said["LockDelay"]) == (["serfHealth"], 3_000_000_000)
    await store.revoke(lease.id, timeout_s=PATIENCE_S)
    store = opened(consul.url("p", checks="no-such-check"))
    with pytest.raises(ConfigError) as refused:
        await store.grant(10, timeout_s=PATIENCE_S)
    assert refused.value.field == "checks"


async def test_a_claim_within_a_lock_delay_is_refused_as_unavailable(
    opened: Open, consul: ConsulCluster, prefix: str
) -> None:
    store = opened(consul.url(prefix, lock_delay_s=4))
    first, second = [await store.grant(10, timeout_s=PATIENCE_S) for _ in range(2)]
    await commit(store, Put("leader", b"1", first.id))
    await store.revoke(first.id, timeout_s=PATIENCE_S)
    with pytest.raises(StoreUnavailable, match="lock delay"):
        await store.transact([Absent("leader")], [Put("leader", b"2", second.id)], timeout_s=PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await commit(store, Put("leader", b"2", second.id), compares=(Absent("leader"),))
                break
            except StoreUnavailable:
                await asyncio.sleep(0.1)
    await store.revoke(second.id, timeout_s=PATIENCE_S)


async def test_a_ttl_below_the_servers_minimum_names_the_option(opened: Open) -> None:
    with ConsulCluster(session_ttl_min="10s") as cluster:
        store = opened(cluster.url("p"))
        with pytest.raises(ConfigError, match="session_ttl_min") as refused:
            await store.grant(5, timeout_s=PATIENCE_S)
        assert refused.value.field == "ttl_s"
        health = await store.probe(timeout_s=PATIENCE_S)
        assert any("below 10 s" in warning for warning in health.warnings)
        await store.aclose()


async def test_a_limit_on_connections_that_few_processes_reach_is_warned_of(
    opened: Open, consul: ConsulCluster
) -> None:
    details = (await opened(consul.url("p")).probe(timeout_s=PATIENCE_S)).details
    assert details[f"{consul.endpoints[0]} connections"].startswith("At most 200 from one host")
    with ConsulCluster(max_connections_per_client=50) as cluster:
        health = await opened(cluster.url("p")).probe(timeout_s=PATIENCE_S)
    assert any("takes 50 connections" in warning for warning in health.warnings)


@pytest.mark.parametrize("ttl_s", [0, 0.5, 86_401, float("nan"), float("inf")])
async def test_a_ttl_out_of_range_is_refused(opened: Open, consul: ConsulCluster, ttl_s: float) -> None:
    with pytest.raises(ConfigError) as refused:
        await opened(consul.url("p")).grant(ttl_s, timeout_s=PATIENCE_S)
    assert refused.value.field == "ttl_s"


async def test_a_session_destroyed_from_outside_is_noticed_at_the_next_renewal(
    opened: Open, consul: ConsulCluster, prefix: str
) -> None:
    store = opened(consul.url(prefix))
    lease = await store.grant(10, timeout_s=PATIENCE_S)
    await commit(store, Put("leader", b"1", lease.id))
    assert await store.renew(lease.id, timeout_s=PATIENCE_S) == 10
    consul.http("PUT", f"/v1/session/destroy/{lease.id}")
    with pytest.raises(LeaseLost):
        await store.renew(lease.id, timeout_s=PATIENCE_S)
    assert await store.get("leader", timeout_s=PATIENCE_S) is None
    with pytest.raises(LeaseLost) as lost:
        await store.transact([], [Put("leader", b"1", lease.id)], timeout_s=PATIENCE_S)
    assert lost.value.lease_id == lease.id
    await store.revoke(lease.id, timeout_s=PATIENCE_S)


@pytest.mark.parametrize("lease_id", [NOBODY, "not-a-session", "../../kv/x", ""])
async def test_an_id_that_is_no_session_is_a_lost_lease(opened: Open, consul: ConsulCluster, lease_id: str) -> None:
    store = opened(consul.url("p"))
    with pytest.raises(LeaseLost):
        await store.renew(lease_id, timeout_s=PATIENCE_S)
    with pytest.raises(LeaseLost):
        await store.transact([], [Put("leader", b"1", lease_id)], timeout_s=PATIENCE_S)
    await store.revoke(lease_id, timeout_s=PATIENCE_S)


async def test_a_transfer_to_a_dead_session_applies_nothing(opened: Open, consul: ConsulCluster, prefix: str) -> None:
    store = opened(consul.url(prefix))
    mine = await store.grant(10, timeout_s=PATIENCE_S)
    led = await commit(store, Put("leader", b"me", mine.id))
    with pytest.raises(LeaseLost) as lost:
        await store.transact([At("leader", led.revision)], [Put("leader", b"you", NOBODY)], timeout_s=PATIENCE_S)
    assert lost.value.lease_id == NOBODY
    still = await store.get("leader", timeout_s=PATIENCE_S)
    assert still is not None
    assert (still.value, still.lease_id, still.revision) == (b"me", mine.id, led.revision)
    await store.revoke(mine.id, timeout_s=PATIENCE_S)


async def test_a_transferred_key_lives_and_dies_with_its_new_session(
    opened: Open, consul: ConsulCluster, prefix: str
) -> None:
    store = opened(consul.url(prefix))
    old, new = [await store.grant(10, timeout_s=PATIENCE_S) for _ in range(2)]
    led = await commit(store, Put("leader", b"same", old.id))
    moved = await commit(store, Put("leader", b"same", new.id), compares=(At("leader", led.revision),))
    assert moved.revision > led.revision
    await store.revoke(old.id, timeout_s=PATIENCE_S)
    kept = await store.get("leader", timeout_s=PATIENCE_S)
    assert kept is not None and (kept.lease_id, kept.revision) == (new.id, moved.revision)
    await store.revoke(new.id, timeout_s=PATIENCE_S)
    assert await store.get("leader", timeout_s=PATIENCE_S) is None


async def test_expiry_comes_at_twice_the_ttl(opened: Open, consul: ConsulCluster, prefix: str) -> None:
    store = opened(consul.url(prefix))
    loop = asyncio.get_running_loop()
    for _ in range(5):
        lease = await store.grant(2, timeout_s=PATIENCE_S)
        put = await commit(store, Put("leader", b"1", lease.id))
        asked_s = loop.time()
        await store.renew(lease.id, timeout_s=PATIENCE_S)
        renewed_s = loop.time()
        watch = store.watch("leader", after=put.revision)
        async with asyncio.timeout(PATIENCE_S):
            gone = await anext(watch)
        told_s = loop.time()
        assert isinstance(gone, Changed) and (gone.key, gone.entry) == ("leader", None)
        await watch.aclose()
        assert told_s - asked_s >= 2 * 2, "early"
        # A busy machine may be late once, not each time.
        if told_s - renewed_s <= store.capabilities.expires_within_s(2) + 0.2:
            return
    pytest.fail("late each time")
