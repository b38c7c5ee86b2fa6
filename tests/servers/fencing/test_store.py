"""Writes to the election's own store: only the leader's pass, on every kind of store."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import leasekit
from leasekit import aio
from leasekit.errors import ConfigError, FencingRejected, LeadershipLost, LossReason
from leasekit.fencing import AsyncStoreFence, StoreFence
from support.servers import ConsulCluster, EtcdCluster, RaftCluster

PATIENCE_S = 60.0
TTL_S = 20.0


@pytest.fixture(params=["sqlite", "etcd", "consul", "raft"])
def url(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> str:
    """The URL of each kind of store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'leases.db'}"
    server: EtcdCluster | ConsulCluster | RaftCluster = request.getfixturevalue(request.param)
    return server.url(prefix)


@pytest.fixture
def store(url: str) -> Iterator[leasekit.ConnectedStore]:
    with leasekit.connect(url) as store:
        yield store


@pytest.fixture
def election(store: leasekit.ConnectedStore) -> leasekit.Election:
    return leasekit.Election("reports", store=store, ttl_s=TTL_S)


@pytest.fixture
def fence(election: leasekit.Election) -> StoreFence:
    return StoreFence(election, timeout_s=PATIENCE_S)


def test_the_leader_writes(election: leasekit.Election, fence: StoreFence) -> None:
    with election.campaign(timeout_s=PATIENCE_S) as leadership:
        fence.put("cursor", b"1", leadership.token)
        fence.write({"cursor": b"2", "a/b": b"\x00\xff", "none": None}, leadership.token)
        assert (fence.get("cursor"), fence.get("a/b"), fence.get("none")) == (b"2", b"\x00\xff", None)
        fence.delete("cursor", leadership.token)
        assert (fence.get("cursor"), fence.highest()) == (None, leadership.token)
    assert fence.get("a/b") == b"\x00\xff"


def test_a_leader_that_was_replaced_is_refused(
    store: leasekit.ConnectedStore, election: leasekit.Election, fence: StoreFence
) -> None:
    with election.campaign(timeout_s=PATIENCE_S) as first:
        fence.put("cursor", b"first", first.token)
    with leasekit.Election("reports", store=store, ttl_s=TTL_S).campaign(timeout_s=PATIENCE_S) as second:
        for stale in (fence, StoreFence(election, timeout_s=PATIENCE_S)):
            with pytest.raises(FencingRejected) as refused:
                stale.put("cursor", b"late", first.token)
            assert (refused.value.token, refused.value.highest) == (first.token, second.token)
            assert refused.value.resource == "reports"
            with pytest.raises(FencingRejected), stale.admit(first.token):
                pytest.fail("admitted")
        assert fence.get("cursor") == b"first"
        with fence.admit(second.token):
            fence.put("cursor", b"second", second.token)
    assert fence.get("cursor") == b"second"


def test_who_has_resigned_is_refused_also_if_nobody_leads(election: leasekit.Election, fence: StoreFence) -> None:
    with election.campaign(timeout_s=PATIENCE_S) as leadership:
        fence.put("cursor", b"1", leadership.token)
    for _ in range(2):
        with pytest.raises(LeadershipLost) as lost:
            fence.put("cursor", b"2", leadership.token)
        assert (lost.value.reason, lost.value.token) == (LossReason.SUPERSEDED, leadership.token)
    assert (fence.get("cursor"), fence.highest()) == (b"1", None)


def test_a_token_from_the_future_is_refused(election: leasekit.Election, fence: StoreFence) -> None:
    with election.campaign(timeout_s=PATIENCE_S) as leadership, pytest.raises(LeadershipLost):
        fence.put("cursor", b"1", leadership.token + 1)
    assert fence.get("cursor") is None


def test_elections_write_apart(store: leasekit.ConnectedStore, election: leasekit.Election, fence: StoreFence) -> None:
    other = leasekit.Election("invoices", store=store, ttl_s=TTL_S)
    with election.campaign(timeout_s=PATIENCE_S) as leadership, other.campaign(timeout_s=PATIENCE_S) as others:
        StoreFence(other, timeout_s=PATIENCE_S).put("cursor", b"theirs", others.token)
        fence.put("cursor", b"mine", leadership.token)
        assert (fence.get("cursor"), StoreFence(other, timeout_s=PATIENCE_S).get("cursor")) == (b"mine", b"theirs")
        with pytest.raises((FencingRejected, LeadershipLost)):
            fence.put("cursor", b"not mine", others.token)


async def test_asyncio_has_the_same(url: str) -> None:
    async with aio.connect(url) as store:
        election = aio.Election("reports", store=store, ttl_s=TTL_S)
        fence = AsyncStoreFence(election, timeout_s=PATIENCE_S)
        async with election.campaign(timeout_s=PATIENCE_S) as first:
            await fence.put("cursor", b"1", first.token)
            await fence.write({"cursor": b"2", "other": b"x"}, first.token)
            await fence.delete("other", first.token)
            assert (await fence.get("cursor"), await fence.get("other")) == (b"2", None)
            assert await fence.highest() == first.token
        async with election.campaign(timeout_s=PATIENCE_S) as second:
            with pytest.raises(FencingRejected):
                await fence.put("cursor", b"late", first.token)
            with pytest.raises(FencingRejected):
                async with fence.admit(first.token):
                    pytest.fail("admitted")
            async with fence.admit(second.token):
                pass
        assert await fence.get("cursor") == b"2"
        assert fence.resource == "reports"


async def test_of_writers_on_both_sides_of_a_handover_the_later_leader_is_the_last(url: str) -> None:
    async with aio.connect(url) as store:
        election = aio.Election("reports", store=store, ttl_s=TTL_S)
        tokens: list[int] = []

        async def write_on(token: int) -> None:
            fence = AsyncStoreFence(election, timeout_s=PATIENCE_S)
            with contextlib.suppress(FencingRejected, LeadershipLost):
                while True:
                    await fence.put("by", str(token).encode(), token)

        writers = []
        for _ in range(4):
            async with election.campaign(timeout_s=PATIENCE_S) as leadership:
                tokens.append(leadership.token)
                writers.append(asyncio.create_task(write_on(leadership.token)))
                await AsyncStoreFence(election, timeout_s=PATIENCE_S).put(
                    "by", str(leadership.token).encode(), leadership.token
                )
        await asyncio.gather(*writers)
        assert await AsyncStoreFence(election, timeout_s=PATIENCE_S).get("by") == str(tokens[-1]).encode()


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "a b", "é", "x" * 201])
def test_a_key_that_not_every_store_can_keep_is_refused(tmp_path: Path, key: str) -> None:
    with leasekit.connect(f"sqlite:///{tmp_path / 'leases.db'}") as store:
        fence = StoreFence(leasekit.Election("reports", store=store))
        with pytest.raises(ConfigError, match="key"):
            fence.put(key, b"", 1)


def test_values_stand_under_the_election(tmp_path: Path) -> None:
    file = tmp_path / "leases.db"
    with leasekit.connect(f"sqlite:///{file}?prefix=prod") as store:
        election = leasekit.Election("reports", store=store)
        with election.campaign() as leadership:
            StoreFence(election, timeout_s=PATIENCE_S).put("cursor", b"4711", leadership.token)
    with closing(sqlite3.connect(file)) as connection:
        dump = "\n".join(connection.iterdump())
    assert "reports/data/cursor" in dump
