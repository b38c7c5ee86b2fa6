"""Hosts whose packets vanish without a word: nothing is reset, nothing is refused, clients are cut off as well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.netns import Network
from support.raft_hosts import HostedCluster
from support.raft_load import Load


@pytest.fixture
def cluster() -> Iterator[HostedCluster]:
    with Network() as network, HostedCluster(network) as cluster:
        yield cluster


def test_the_leader_s_host_is_cut_off_again_and_again(cluster: HostedCluster) -> None:
    with Load(cluster.url("fire")) as load:
        for _ in range(2):
            leader = cluster.leader_index()
            cluster.hosts[leader].cut()
            load.goes_on(more=50)
            cluster.hosts[leader].heal()
            load.goes_on(more=20)


def test_all_hosts_are_cut_off_for_a_moment(cluster: HostedCluster) -> None:
    with Load(cluster.url("fire")) as load:
        for host in cluster.hosts:
            host.cut()
        load.stands_still()
        for host in cluster.hosts:
            host.heal()
        load.goes_on()


@pytest.mark.parametrize("direction", ["to the others", "from the others"])
def test_packets_of_the_leader_vanish_in_one_direction(cluster: HostedCluster, direction: str) -> None:
    with Load(cluster.url("fire")) as load:
        leader = cluster.leader_index()
        others = [index for index in range(3) if index != leader]
        pairs = [(leader, other) if direction == "to the others" else (other, leader) for other in others]
        for sender, receiver in pairs:
            cluster.lose_packets(sender, receiver)
        load.goes_on(more=50)
        cluster.another_leads(leader)
        for sender, receiver in pairs:
            cluster.deliver_packets(sender, receiver)
        load.goes_on(more=20)
