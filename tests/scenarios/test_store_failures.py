"""The store itself fails, in part or as a whole. That no two were ever valid at once is judged at the end of each test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import leasekit
from support.etcd import EtcdCluster
from support.site import Site
from support.team import SLACK_S, now_s


def test_the_loss_of_the_stores_leader_leaves_ours_in_office(cluster_site: Site) -> None:
    site = cluster_site
    with site.team() as team:
        for id in ("first", "second"):
            team.enlist(site.store, id)
        reign = team.wait_valid(id="first")
        site.servers.kill(site.servers.leader_index())
        time.sleep(1.5 * site.ttl_s)
        assert [team.reigns, reign.over] == [[reign], None]
        # And the two servers left can elect the next one.
        team.candidates["first"].tell("resign")
        team.wait_valid(above=reign.token, id="second")


def test_a_frozen_leader_of_the_store_leaves_ours_in_office(cluster_site: Site) -> None:
    site = cluster_site
    with site.team() as team:
        for id in ("first", "second"):
            team.enlist(site.store, id)
        reign = team.wait_valid(id="first")
        frozen = site.servers.leader_index()
        # It holds its connections and answers nothing, so the candidates must go elsewhere by themselves.
        site.servers.pause(frozen)
        time.sleep(1.5 * site.ttl_s)
        assert [team.reigns, reign.over] == [[reign], None]
        site.servers.resume(frozen)
        team.candidates["first"].tell("resign")
        team.wait_valid(above=reign.token, id="second")


def test_servers_replaced_one_after_the_other_are_not_noticed(cluster_site: Site) -> None:
    site = cluster_site
    with site.team() as team:
        for id in ("first", "second"):
            team.enlist(site.store, id)
        reign = team.wait_valid(id="first")
        for index in range(site.servers.size):
            site.servers.kill(index)
            site.servers.start(index)
            time.sleep(site.ttl_s / 3)
        assert [team.reigns, reign.over] == [[reign], None]


def test_with_all_servers_down_the_leader_stops_and_once_they_are_back_one_is_elected(cluster_site: Site) -> None:
    site = cluster_site
    with site.team(ttl_s=4.0) as team:
        for id in ("first", "second"):
            team.enlist(site.store, id)
        reign = team.wait_valid(id="first")
        site.servers.stop_all()
        assert team.wait_over(reign)["reason"] == "deadline"
        time.sleep(team.ttl_s)
        assert team.reigns == [reign]
        site.servers.start_all()
        # Some stores give the leases that they find at their start the whole ttl anew.
        gone_s = site.capabilities.expires_within_s(team.ttl_s)
        later = team.wait_valid(above=reign.token, timeout_s=2 * gone_s + SLACK_S)
        other = "second" if later.id == "first" else "first"
        team.wait_queue(site.store, other, timeout_s=2 * gone_s + SLACK_S)


@pytest.fixture
def divided(prefix: str, tmp_path: Path) -> Iterator[Site]:
    """Three etcd servers whose links to each other can be cut, while clients reach them all."""
    with EtcdCluster(size=3, peer_links=True) as cluster, leasekit.connect(cluster.url(prefix)) as store:
        yield Site(cluster.url(prefix), 4.0, store, tmp_path, prefix, cluster)


def test_a_deposed_etcd_leader_that_still_answers_keeps_no_leader_in_office(divided: Site) -> None:
    # It answers keepalives from memory for a while after its peers have elected another: no such answer may count.
    site = divided
    cluster = site.servers
    assert isinstance(cluster, EtcdCluster)
    with site.team() as team:
        alone = cluster.leader_index()
        others = [endpoint for index, endpoint in enumerate(cluster.endpoints) if index != alone]
        team.enlist(site.store, "first", url=site.url_by(cluster.endpoints[alone]))
        team.enlist(site.store, "second", url=site.url_by(*others))
        reign = team.wait_valid(id="first")
        cluster.isolate(alone)
        isolated_s = now_s()
        successor = team.wait_valid(above=reign.token, id="second", timeout_s=2 * site.gone_within_s + SLACK_S)
        assert team.wait_over(reign)["reason"] == "deadline"
        # No renewal that was sent since has counted, whatever was answered.
        assert reign.until_s < isolated_s + site.ttl_s
        cluster.reunite()
        team.wait_queue(site.store, "first", timeout_s=2 * SLACK_S)
        assert successor.over is None
