"""What etcd refuses, and what that leaves open."""

from __future__ import annotations

from pathlib import Path

import pytest

from leasekit.errors import ConfigError, LeaseLost, OutcomeUnknown
from leasekit.store import Absent, Delete, Get, Op, Put
from support.servers import EtcdCluster

from .conftest import PATIENCE_S, Open


class SmallCluster(EtcdCluster):
    """etcd with room for a few megabytes."""

    def _command(self, index: int) -> list[str | Path]:
        return [*super()._command(index), "--quota-backend-bytes=4000000"]


async def test_a_full_database_leaves_writes_unknown_and_lets_elections_end(prefix: str, opened: Open) -> None:
    with SmallCluster() as cluster:
        store = opened(cluster.url(prefix))
        lease = await store.grant(300, timeout_s=PATIENCE_S)
        said = ""
        for n in range(20):
            try:
                await store.transact([], [Put(f"big{n}", b"x" * 1_000_000, lease.id)], timeout_s=PATIENCE_S)
            except OutcomeUnknown as error:
                said = str(error)
                break
        assert "database space exceeded" in said
        assert any("is full" in warning for warning in (await store.probe(timeout_s=PATIENCE_S)).warnings)
        assert await store.renew(lease.id, timeout_s=PATIENCE_S) == lease.ttl_s
        assert await store.transact([], [Delete("big0"), Get("big1")], timeout_s=PATIENCE_S)


@pytest.mark.parametrize("size", [1_700_000, 3_000_000])
async def test_a_value_too_large_is_a_mistake(etcd: EtcdCluster, prefix: str, opened: Open, size: int) -> None:
    store = opened(etcd.url(prefix))
    with pytest.raises(ConfigError, match="large"):
        await store.transact([], [Put("key", b"x" * size)], timeout_s=PATIENCE_S)
    assert await store.get("key", timeout_s=PATIENCE_S) is None


async def test_as_many_operations_as_etcd_takes_go_through(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(etcd.url(prefix))
    ops: list[Op] = [Put(f"key{n}", b"1") for n in range(128)]
    assert await store.transact([Absent(f"key{n}") for n in range(128)], ops, timeout_s=PATIENCE_S)


async def test_more_than_four_megabytes_can_be_read_at_once(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(etcd.url(prefix))
    for n in range(5):
        await store.transact([], [Put(f"key{n}", b"x" * 1_000_000)], timeout_s=PATIENCE_S)
    assert len((await store.scan("", timeout_s=PATIENCE_S)).entries) == 5


async def test_a_ttl_is_granted_no_shorter_than_the_servers_own_minimum(prefix: str, opened: Open) -> None:
    with EtcdCluster(election_timeout_ms=4000) as cluster:
        store = opened(cluster.url(prefix))
        lease = await store.grant(1, timeout_s=PATIENCE_S)
        assert lease.ttl_s == 6
        assert await store.renew(lease.id, timeout_s=PATIENCE_S) == 6


@pytest.mark.parametrize("lease_id", ["00000000deadbeef", "no lease at all"])
async def test_a_lease_that_never_was_is_lost(etcd: EtcdCluster, prefix: str, opened: Open, lease_id: str) -> None:
    store = opened(etcd.url(prefix))
    with pytest.raises(LeaseLost) as caught:
        await store.transact([], [Put("key", b"1", lease_id)], timeout_s=PATIENCE_S)
    assert caught.value.lease_id == lease_id
    with pytest.raises(LeaseLost):
        await store.renew(lease_id, timeout_s=PATIENCE_S)
    await store.revoke(lease_id, timeout_s=PATIENCE_S)


async def test_a_lease_is_called_as_etcdctl_calls_it(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    lease = await opened(etcd.url(prefix)).grant(30, timeout_s=PATIENCE_S)
    assert lease.id in etcd.etcdctl("lease", "list").split()
    etcd.etcdctl("lease", "revoke", lease.id)


async def test_keys_are_where_etcdctl_finds_them(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    await opened(etcd.url(prefix)).transact([], [Put("reports/leader", b"here")], timeout_s=PATIENCE_S)
    assert etcd.etcdctl("get", "--print-value-only", f"{prefix}/reports/leader").strip() == "here"
