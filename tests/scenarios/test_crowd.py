"""Many candidates and many handovers: never two valid at one moment, tokens strictly rise, first come first served."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import pytest

from support.evidence import Reign
from support.site import Site
from support.team import SLACK_S, Place, Team

CANDIDATES = 50
HANDOVERS = 200
BATCH = 5
# Of each hundred handovers; the rest are resignations.
OTHER_WAYS = {10: "kill", 30: "transfer", 50: "pause", 70: "transfer", 90: "kill"}


@pytest.mark.timeout(300)
def test_fifty_candidates_and_two_hundred_handovers(crowded_site: Site) -> None:
    site = crowded_site
    ways = cycle(OTHER_WAYS.get(number, "resign") for number in range(100))
    with site.team() as team:
        for number in range(0, CANDIDATES, BATCH):
            _start(team, site, [f"c{n:02}" for n in range(number, number + BATCH)], number)
        for number, way in enumerate(islice(ways, HANDOVERS)):
            reign, places = _leading(team, site)
            successor = _force(team, site, reign, way, places)
            expected = places[-1] if way == "transfer" else places[0]
            if successor.id != expected.id:
                _assert_left_the_queue(team, site, expected, f"{successor.id} was elected in handover {number} ({way})")
            _replace(team, site, reign.id, way, number)
        # On a machine busy enough, a leader may have lost its lease besides.
        by_itself = sum(reign.over is not None and reign.over["reason"] == "deadline" for reign in team.reigns)
        assert HANDOVERS + 1 <= len(team.reigns) <= HANDOVERS + 1 + by_itself


def _start(team: Team, site: Site, ids: Sequence[str], before: int) -> None:
    """A few more. Not all at once, since tests beside this one need the machine as well."""
    for id in ids:
        team.start(id)
    here = before + len(ids)
    team.wait_for(lambda: len(team.queue(site.store)) == here - 1, 60, f"{here} campaign", poll_s=0.1)


def _leading(team: Team, site: Site) -> tuple[Reign, list[Place]]:
    """Who leads and knows it, and who queues."""

    def found() -> tuple[Reign, list[Place]] | None:
        leader, places = team.look(site.store)
        reign = max(team.reigns, key=lambda reign: reign.token, default=None)
        if reign is None or reign.id != leader or reign.since_s is None or reign.over is not None:
            return None
        return reign, places

    return team.wait_for(found, SLACK_S, "somebody leads", poll_s=0.05)


def _force(team: Team, site: Site, reign: Reign, way: str, places: Sequence[Place]) -> Reign:
    """Take the leadership from its holder; returns the next."""
    leader = team.candidates[reign.id]
    match way:
        case "resign":
            leader.tell("resign")
        case "transfer":
            leader.tell(f"transfer {places[-1].id}")
        case "pause":
            leader.pause()
        case "kill":
            leader.kill()
    return team.wait_valid(above=reign.token, timeout_s=site.gone_within_s + SLACK_S)


def _replace(team: Team, site: Site, id: str, way: str, number: int) -> None:
    """Let there be as many candidates as before. On Consul a newcomer may overtake between two leaders, so not then."""
    if way == "kill":
        team.enlist(site.store, f"d{number:03}")
    elif way == "pause":
        team.candidates[id].resume()
        team.wait_for(lambda: id in team.queue(site.store), SLACK_S, f"{id} queues again", poll_s=0.05)


def _assert_left_the_queue(team: Team, site: Site, expected: Place, what: str) -> None:
    """On a machine busy enough, one may have lost its lease and with it its place. Whoever kept it was overtaken."""
    assert expected not in team.look(site.store)[1], f"{what}, before {expected.id}, which still waits"
