"""The way to the store is cut, one-way or slow for some candidates and not for others.

Each reaches the server by a link of its own. That no two were ever valid at one moment is judged at the end of each test.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.evidence import Reign
from support.netns import Network
from support.proxy import Proxy
from support.site import Site
from support.team import SLACK_S, Team


class Links:
    """A link for each candidate."""

    def __init__(self, site: Site, stack: ExitStack, host: str = "127.0.0.1") -> None:
        self._site = site
        self._stack = stack
        self._host = host
        self._proxies: dict[str, Proxy] = {}

    def __getitem__(self, id: str) -> Proxy:
        if id not in self._proxies:
            self._proxies[id] = self._stack.enter_context(Proxy(self._site.endpoint, host=self._host))
        return self._proxies[id]

    def url(self, id: str) -> str:
        return self._site.url_by(self[id].address)


@pytest.fixture
def links(network_site: Site) -> Iterator[Links]:
    """Links over loopback."""
    with ExitStack() as stack:
        yield Links(network_site, stack)


def test_a_leader_that_is_cut_off_stops_before_another_begins_every_time(network_site: Site, links: Links) -> None:
    site = network_site
    with site.team() as team:
        for id in ("first", "second"):
            team.enlist(site.store, id, url=links.url(id))
        reign = team.wait_valid()
        for _ in range(3):
            links[reign.id].cut()
            successor = team.wait_valid(above=reign.token, timeout_s=site.gone_within_s + SLACK_S)
            assert successor.id != reign.id
            # That it believed so before the other one led is judged at the end; this tells it of it in its own time.
            assert team.wait_over(reign)["reason"] == "deadline"
            links[reign.id].heal()
            team.wait_queue(site.store, reign.id)
            reign = successor


def test_a_host_whose_packets_vanish_stops_before_another_begins(network_site: Site) -> None:
    site = network_site
    with Network() as network, ExitStack() as stack, site.team() as team:
        links = Links(site, stack, network.address)
        hosts = {id: network.host() for id in ("first", "second")}
        for id, host in hosts.items():
            team.enlist(site.store, id, url=links.url(id), wrapper=host.namespace.command([]))
        reign = team.wait_valid()
        hosts[reign.id].cut()
        successor = team.wait_valid(above=reign.token, timeout_s=site.gone_within_s + SLACK_S)
        assert team.wait_over(reign)["reason"] == "deadline"
        hosts[reign.id].heal()
        team.wait_queue(site.store, reign.id)
        assert successor.over is None


def test_a_waiting_candidate_that_is_cut_off_does_not_hold_up_those_behind_it(network_site: Site, links: Links) -> None:
    site = network_site
    with site.team() as team:
        for id in ("first", "second", "third"):
            team.enlist(site.store, id, url=links.url(id))
        reign = team.wait_valid(id="first")
        links["second"].cut()
        team.wait_queue(site.store, "third", timeout_s=site.gone_within_s + SLACK_S)
        team.candidates["first"].tell("resign")
        team.wait_valid(above=reign.token, id="third")
        team.wait_queue(site.store, "first")
        links["second"].heal()
        team.wait_queue(site.store, "first", "second")


def test_a_leader_that_hears_no_answers_stops_and_does_not_hold_the_place_for_ever(
    network_site: Site, links: Links
) -> None:
    # Its renewals go on to arrive, so the store would keep its lease alive: it must give it up without an answer.
    site = network_site
    with site.team() as team:
        for id in ("first", "second"):
            team.enlist(site.store, id, url=links.url(id))
        reign = team.wait_valid(id="first")
        links["first"].drop_replies()
        assert team.wait_over(reign)["reason"] == "deadline"
        team.wait_valid(above=reign.token, id="second", timeout_s=site.gone_within_s + 3 * site.ttl_s + SLACK_S)
        links["first"].heal()
        team.wait_queue(site.store, "first")


def test_a_link_slower_than_usual_costs_nothing(network_site: Site, links: Links) -> None:
    site = network_site
    with site.team(ttl_s=6.0) as team:
        for id in ("first", "second"):
            links[id].delay_s = 0.05
            team.enlist(site.store, id, url=links.url(id))
        reign = team.wait_valid(id="first")
        time.sleep(1.5 * team.ttl_s)
        assert [team.reigns, reign.over] == [[reign], None]


def test_answers_that_come_too_late_do_not_count(network_site: Site, links: Links) -> None:
    site = network_site
    with site.team() as team:
        for id in ("first", "second"):
            team.enlist(site.store, id, url=links.url(id))
        reign = team.wait_valid(id="first")
        # Each renewal arrives and is answered, but later than an attempt may take.
        links["first"].delay_s = site.ttl_s / 2
        _assert_stopped_by_its_deadline(team, reign)
        links["first"].delay_s = 0.0
        # Whoever leads then, somebody does, and the other one queues.
        team.wait_valid(above=reign.token, timeout_s=site.gone_within_s + 3 * site.ttl_s + SLACK_S)

        def both_are_there() -> bool:
            leader, places = team.look(site.store)
            return [leader, *(place.id for place in places)] in (["first", "second"], ["second", "first"])

        team.wait_for(both_are_there, SLACK_S, "one leads and the other one queues", poll_s=0.05)


def _assert_stopped_by_its_deadline(team: Team, reign: Reign) -> None:
    over = team.wait_over(reign)
    assert over["reason"] == "deadline"
    # It had been told of no renewal for a whole ttl, less the margin that covers drifting clocks.
    assert over["remaining_s"] == 0
