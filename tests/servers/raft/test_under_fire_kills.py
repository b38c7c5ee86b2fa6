"""Members are killed and paused while clients work. What the clients are told is judged at the end of each test."""

from __future__ import annotations

import random
import time

import pytest

from support.raft_cluster import RaftCluster
from support.raft_contenders import TTL_S
from support.raft_load import Load

_ROUNDS = {3: 5, 5: 3}


@pytest.mark.parametrize("size", [3, 5])
def test_leaders_are_killed_again_and_again(size: int) -> None:
    with RaftCluster(size) as cluster, Load(cluster.url("fire")) as load:
        for _ in range(_ROUNDS[size]):
            leader = cluster.leader_index()
            cluster.kill(leader)
            load.goes_on()
            cluster.start(leader)


def test_any_member_is_killed_at_any_moment() -> None:
    rng = random.Random(1)
    with RaftCluster(3) as cluster, Load(cluster.url("fire")) as load:
        for _ in range(6):
            victim = rng.randrange(3)
            cluster.kill(victim)
            time.sleep(rng.uniform(0, 0.5))
            # Perhaps not before its loss was noticed, perhaps in the middle of an election.
            cluster.start(victim, wait=False)
            time.sleep(rng.uniform(0, 0.5))
        load.goes_on()


@pytest.mark.parametrize("size", [3, 5])
def test_with_a_minority_down_it_goes_on_and_with_a_majority_down_nothing_is_acknowledged(size: int) -> None:
    with RaftCluster(size) as cluster, Load(cluster.url("fire")) as load:
        down = [cluster.leader_index()]
        cluster.kill(down[0])
        while len(down) < size // 2:
            down.append(next(index for index in range(size) if index not in down))
            cluster.kill(down[-1])
        load.goes_on(more=100)
        one_more = next(index for index in range(size) if index not in down)
        cluster.kill(one_more)
        load.stands_still()
        cluster.start_all()
        load.goes_on()


def test_all_members_are_killed_at_once_and_keep_everything() -> None:
    with RaftCluster(3) as cluster, Load(cluster.url("fire")) as load:
        for _ in range(2):
            load.goes_on(more=50)
            cluster.stop_all()
            cluster.start_all()
        load.goes_on()


def test_a_leader_is_paused_for_longer_than_an_election() -> None:
    with RaftCluster(3) as cluster, Load(cluster.url("fire")) as load:
        for _ in range(3):
            leader = cluster.leader_index()
            cluster.pause(leader)
            load.goes_on(more=50)
            cluster.resume(leader)
            # It still believes that it leads, and clients that never noticed ask it.
            load.goes_on(more=20)


def test_members_are_paused_in_turn_faster_than_leaders_can_be_sure() -> None:
    rng = random.Random(2)
    with RaftCluster(5) as cluster, Load(cluster.url("fire")) as load:
        for _ in range(12):
            victims = rng.sample(range(5), 2)
            for victim in victims:
                cluster.pause(victim)
            time.sleep(rng.uniform(0.05, 0.6))
            for victim in victims:
                cluster.resume(victim)
        load.goes_on()


def test_all_members_are_paused_for_longer_than_leases_last() -> None:
    # When they wake, every lease is over by their clocks, and nobody could have renewed it.
    with RaftCluster(3) as cluster, Load(cluster.url("fire")) as load:
        for _ in range(2):
            for index in range(3):
                cluster.pause(index)
            time.sleep(1.5 * TTL_S)
            for index in range(3):
                cluster.resume(index)
            load.goes_on()
