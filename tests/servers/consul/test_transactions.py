"""Transactions in Consul's own ways: what the conformance suite cannot know of."""

from __future__ import annotations

import base64
import json
import time

import pytest

from leasekit.backends.consul.store import ConsulStore
from leasekit.errors import ConfigError
from leasekit.store import Absent, At, Delete, Get, Op, Put
from support.servers import ConsulCluster

from .conftest import PATIENCE_S, commit


async def test_an_identical_put_has_a_new_revision_shared_by_all_puts(store: ConsulStore) -> None:
    first = await commit(store, Put("a", b"same"), Put("b", b"1"))
    second = await commit(store, Put("a", b"same"), Put("b", b"2"), Get("", prefix=True))
    assert second.revision > first.revision
    assert [entry.revision for entry in second.reads[0]] == [second.revision] * 2


async def test_a_resignation_tells_the_revision_of_its_deletions(store: ConsulStore) -> None:
    lease = await store.grant(60, timeout_s=PATIENCE_S)
    for _ in range(5):
        led = await commit(store, Put("leader", b"1", lease.id), Put("candidates/me", b"1", lease.id))
        told = await commit(store, Delete("leader"), Delete("candidates/me"), compares=(At("leader", led.revision),))
        assert told.revision > led.revision
        # Consul's index of what is not there is that of all its keys, and a session of an earlier test may end at any time.
        seen = (await store.scan("", timeout_s=PATIENCE_S)).revision
        assert seen >= told.revision
        if seen == told.revision:
            break
    assert seen == told.revision
    nothing_since = await store.transact([], [Get("", prefix=True)], timeout_s=PATIENCE_S)
    assert nothing_since is not None and nothing_since.reads == ((),)
    await store.revoke(lease.id, timeout_s=PATIENCE_S)


async def test_a_revision_of_reads_leaves_no_gap_for_a_watch(store: ConsulStore) -> None:
    await commit(store, Put("other/key", b"1"))
    read = await commit(store, Get("mine/key"), Get("mine/", prefix=True))
    put = await commit(store, Put("mine/key", b"1"))
    assert put.revision > read.revision
    watch = store.watch("mine/key", after=read.revision)
    assert (await anext(watch)).revision == put.revision
    await watch.aclose()


async def test_a_key_that_anything_else_wrote_is_read_as_it_is(
    store: ConsulStore, consul: ConsulCluster, prefix: str
) -> None:
    consul.http("PUT", f"/v1/kv/{prefix}/plain?flags=42", {"by": "hand"})
    consul.http("PUT", f"/v1/kv/{prefix}/")
    entry = await store.get("plain", timeout_s=PATIENCE_S)
    assert entry is not None
    assert (json.loads(entry.value), entry.lease_id) == ({"by": "hand"}, None)
    assert [entry.key for entry in (await store.scan("", timeout_s=PATIENCE_S)).entries] == ["", "plain"]


async def test_what_is_written_shows_in_consul_as_designed(
    store: ConsulStore, consul: ConsulCluster, prefix: str
) -> None:
    lease = await store.grant(10, timeout_s=PATIENCE_S)
    put = await commit(store, Put("e/leader", b"record", lease.id), compares=(Absent("e/leader"),))
    [pair] = json.loads(consul.http("GET", f"/v1/kv/{prefix}/e/leader")[1])
    assert (base64.b64decode(pair["Value"]), pair["Session"]) == (b"record", lease.id)
    assert pair["ModifyIndex"] == put.revision
    await store.revoke(lease.id, timeout_s=PATIENCE_S)


async def test_nothing_but_the_keys_put_is_left_in_consul(
    store: ConsulStore, consul: ConsulCluster, prefix: str
) -> None:
    await commit(store, Put("a", b"1"))
    await commit(store, Delete("a"))
    await commit(store, Get("a"))
    assert consul.http("GET", f"/v1/kv/{prefix}?keys")[0] == 404


async def test_the_limit_of_operations_is_refused_before_it_is_sent(store: ConsulStore) -> None:
    ops: list[Op] = [Put(f"k{n}", b"") for n in range(33)]
    with pytest.raises(ConfigError, match="64"):
        await store.transact([], ops, timeout_s=PATIENCE_S)
    assert await store.transact([], ops[:32], timeout_s=PATIENCE_S) is not None


async def test_a_value_too_large_for_consul_is_a_matter_of_configuration(store: ConsulStore) -> None:
    for size in (400 * 1024, 600 * 1024):
        with pytest.raises(ConfigError) as refused:
            await store.transact([], [Put("k", b"x" * size)], timeout_s=PATIENCE_S)
        assert refused.value.field == "value"
    assert await store.transact([], [Put("k", b"x" * 300 * 1024)], timeout_s=PATIENCE_S) is not None


async def test_the_servers_date_is_the_stores_time(store: ConsulStore) -> None:
    before_s = time.time()
    said = await store.server_time(timeout_s=PATIENCE_S)
    assert said is not None and said.resolution_s == 1
    assert before_s - 1 <= said.unix_s <= time.time() + 1
