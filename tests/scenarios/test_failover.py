"""How a leadership passes on when its holder resigns, ends, dies or is paused."""

from __future__ import annotations

import time

from support.site import Site
from support.team import SLACK_S, now_s

LONG_TTL_S = 20.0
# Short enough to be waited for, and long enough for a candidate that a busy machine holds up for a while.
HARDY_TTL_S = 3.0


def test_a_resignation_hands_over_at_once(site: Site) -> None:
    with site.team(ttl_s=LONG_TTL_S) as team:
        first = team.start("first")
        reign = team.wait_valid(id="first")
        team.enlist(site.store, "second")
        told_s = now_s()
        first.tell("resign")
        successor = team.wait_valid(above=reign.token, id="second")
        # Well before any lease could have ended: nobody waited for one.
        assert successor.since_s is not None and successor.since_s - told_s < LONG_TTL_S / 2
        assert team.wait_over(reign)["reason"] == "resigned"


def test_a_process_that_ends_hands_over_at_once(site: Site) -> None:
    with site.team(ttl_s=LONG_TTL_S) as team:
        first = team.start("first")
        reign = team.wait_valid(id="first")
        team.enlist(site.store, "second")
        told_s = now_s()
        first.dismiss()
        successor = team.wait_valid(above=reign.token, id="second")
        assert successor.since_s is not None and successor.since_s - told_s < LONG_TTL_S / 2
        assert first.process.wait(SLACK_S) == 0
        assert team.queue(site.store) == []


def test_a_transfer_elects_the_one_that_was_named_and_nobody_else(site: Site) -> None:
    with site.team(ttl_s=LONG_TTL_S) as team:
        first = team.start("first")
        reign = team.wait_valid(id="first")
        for id in ("second", "third"):
            team.enlist(site.store, id)
        first.tell("transfer third")
        chosen = team.wait_valid(above=reign.token)
        assert chosen.id == "third"
        assert team.wait_over(reign)["reason"] == "transferred"
        # The old leader campaigns again, behind the one that had waited.
        team.wait_queue(site.store, "second", "first")


def test_killing_the_leader_elects_the_next_once_its_lease_has_ended(site: Site) -> None:
    gone_within_s = site.gone_after_s(HARDY_TTL_S)
    with site.team(ttl_s=HARDY_TTL_S) as team:
        first = team.start("first")
        reign = team.wait_valid(id="first")
        team.enlist(site.store, "second")
        killed_s = now_s()
        first.kill()
        successor = team.wait_valid(above=reign.token, id="second", timeout_s=gone_within_s + SLACK_S)
        assert successor.since_s is not None
        waited_s = successor.since_s - killed_s
        # Not before: a renewal is due a third of the ttl after the last one, and may be late on a busy machine.
        assert waited_s > HARDY_TTL_S / 6
        # What follows the end of the lease takes a moment.
        assert waited_s < gone_within_s + 10.0


def test_a_paused_leader_knows_at_the_first_question_after_waking_that_it_is_over(site: Site) -> None:
    with site.team(ttl_s=HARDY_TTL_S) as team:
        first = team.start("first", "--tight")
        reign = team.wait_valid(id="first")
        team.enlist(site.store, "second")
        first.pause()
        paused_s = now_s()
        gone_within_s = site.gone_after_s(HARDY_TTL_S)
        successor = team.wait_valid(above=reign.token, id="second", timeout_s=gone_within_s + SLACK_S)
        time.sleep(max(0.0, paused_s + 2 * HARDY_TTL_S - now_s()))
        resumed_s = now_s()
        first.resume()
        over = team.wait_over(reign)
        # `previous_s`: when the question before was asked. No question lies between; in that one it may have been paused.
        assert over["previous_s"] < resumed_s <= over["answered_s"]
        assert over["remaining_s"] == 0
        assert over["reason"] == "deadline"
        assert successor.token > reign.token
        # It takes its place in the queue again, and leads again when its turn comes.
        team.wait_queue(site.store, "first")
        team.candidates["second"].tell("resign")
        again = team.wait_valid(above=successor.token, id="first")
        assert again.token > successor.token


def test_a_short_pause_costs_nothing(site: Site) -> None:
    with site.team(ttl_s=2 * HARDY_TTL_S) as team:
        first = team.start("first")
        reign = team.wait_valid(id="first")
        team.enlist(site.store, "second")
        for _ in range(3):
            first.pause()
            time.sleep(team.ttl_s / 10)
            first.resume()
            time.sleep(team.ttl_s / 3)
        assert reign.over is None
        assert team.reigns == [reign]


def test_each_of_several_crashes_is_followed_by_the_next_in_the_queue(site: Site) -> None:
    ids = ["first", "second", "third", "fourth"]
    timeout_s = site.gone_after_s(HARDY_TTL_S) + SLACK_S
    with site.team(ttl_s=HARDY_TTL_S) as team:
        token = 0
        for id in ids:
            team.enlist(site.store, id)
        for id in ids[:-1]:
            reign = team.wait_valid(above=token, timeout_s=timeout_s)
            assert reign.id == id
            token = reign.token
            team.candidates[id].kill()
        assert team.wait_valid(above=token, timeout_s=timeout_s).id == ids[-1]
