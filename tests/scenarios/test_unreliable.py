"""Candidates whose requests fail at random, in every way that a network knows, while their leaders are told to resign.

What holds under all of it is judged at the end: never two valid at one moment, tokens strictly rise.
"""

from __future__ import annotations

from support.site import Site
from support.team import SLACK_S

CANDIDATES = 6
HANDOVERS = 25
RATE = "0.15"


def test_handovers_while_requests_are_refused_lost_and_late(site: Site) -> None:
    with site.team(ttl_s=2.0) as team:
        for number in range(CANDIDATES):
            team.start(f"c{number}", "--faults", RATE)
        token = 0
        for _ in range(HANDOVERS):
            # What is left behind in doubt may hold the place until it is settled, at the latest by a revoke.
            patience_s = 3 * site.capabilities.expires_within_s(team.ttl_s) + SLACK_S
            reign = team.wait_valid(above=token, timeout_s=patience_s)
            token = reign.token
            team.candidates[reign.id].tell("resign")
        # With the faults at an end, nobody's leftovers keep the others out.
        for candidate in team.candidates.values():
            candidate.kill()
        team.start("last")
        team.wait_valid(above=token, id="last", timeout_s=site.capabilities.expires_within_s(team.ttl_s) + SLACK_S)
