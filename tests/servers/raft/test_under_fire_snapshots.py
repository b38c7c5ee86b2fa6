"""Logs are compacted while clients work, and members that were away are sent the state in pieces."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from leasekit import urls
from leasekit.backends.raft import open_store
from leasekit.store import Put
from support.raft_cluster import RaftCluster
from support.raft_load import Load
from support.team import SLACK_S, wait_until

_VALUE = random.Random(1).randbytes(256 * 1024)
_VALUES = 40
"""10 MiB: a snapshot of some forty pieces."""


@pytest.fixture
def cluster() -> Iterator[RaftCluster]:
    with RaftCluster(3) as cluster:
        yield cluster


def test_a_member_that_was_away_is_sent_the_state(cluster: RaftCluster) -> None:
    with Load(cluster.url("fire")) as load:
        away = _let_the_log_be_compacted_without(cluster, load)
        before = cluster.certain_status(cluster.leader_index()).raft.applied
        cluster.start(away, wait=False)
        _wait_applied(cluster, away, before)
        # It is needed now.
        other = next(index for index in range(3) if index not in (away, cluster.leader_index()))
        cluster.kill(other)
        load.goes_on()
        cluster.start(other)


def test_the_leader_is_killed_while_it_sends_the_state(cluster: RaftCluster) -> None:
    with Load(cluster.url("fire")) as load:
        away = _let_the_log_be_compacted_without(cluster, load)
        before = cluster.certain_status(cluster.leader_index()).raft.applied
        cluster.start(away, wait=False)
        for delay_s in (0.3, 0.1):
            time.sleep(delay_s)
            leader = cluster.leader_index()
            cluster.kill(leader)
            cluster.start(leader, wait=False)
        _wait_applied(cluster, away, before)
        load.goes_on()


def test_the_member_that_is_sent_the_state_is_killed_again_and_again(cluster: RaftCluster) -> None:
    with Load(cluster.url("fire")) as load:
        away = _let_the_log_be_compacted_without(cluster, load)
        before = cluster.certain_status(cluster.leader_index()).raft.applied
        for up_s in (0.6, 0.9, 1.2):
            cluster.start(away, wait=False)
            time.sleep(up_s)
            cluster.kill(away)
        cluster.start(away, wait=False)
        _wait_applied(cluster, away, before)
        load.goes_on()


def test_members_are_killed_while_they_compact_their_logs(cluster: RaftCluster) -> None:
    rng = random.Random(4)
    _write(cluster)
    with Load(cluster.url("fire")) as load:
        for _ in range(5):
            index = rng.randrange(3)
            cluster.wait_ready()
            cluster.begin_snapshot(index)
            time.sleep(rng.uniform(0, 0.1))
            cluster.kill(index)
            cluster.start(index)
        load.goes_on()


def _let_the_log_be_compacted_without(cluster: RaftCluster, load: Load) -> int:
    """A member is down; the others' logs begin later than its own ends, also in their memories. Which one."""
    away = (cluster.leader_index() + 1) % 3
    cluster.kill(away)
    _write(cluster)
    load.goes_on()
    for index in range(3):
        if index != away:
            cluster.snapshot(index)
            cluster.kill(index)
            cluster.start(index, wait=False)
    load.goes_on()
    for index in range(3):
        assert index == away or cluster.certain_status(index).raft.first_index > 1
    return away


def _write(cluster: RaftCluster) -> None:
    async def write() -> None:
        store = open_store(urls.parse(cluster.url("bulk")))
        try:
            for number in range(_VALUES):
                await store.transact((), (Put(f"{number}", _VALUE),), timeout_s=SLACK_S)
        finally:
            await store.aclose()

    asyncio.run(write())


def _applied(cluster: RaftCluster, index: int) -> int:
    status = cluster.status(index)
    return -1 if status is None else status.raft.applied


def _wait_applied(cluster: RaftCluster, index: int, at_least: int) -> None:
    wait_until(
        lambda: _applied(cluster, index) >= at_least,
        SLACK_S,
        f"member {index} has applied {at_least}",
        lambda: cluster.output(index),
    )
