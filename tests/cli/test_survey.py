"""What a look at a whole prefix shows, from entries alone."""

from __future__ import annotations

import json

import pytest

from leasekit.cli import survey
from leasekit.core import records
from leasekit.core.records import CandidateRecord, HoldRecord, LeaderRecord
from leasekit.store import Entry


def entry(key: str, value: bytes, revision: int = 1, lease_id: str | None = "L") -> Entry:
    return Entry(key, value, revision, revision, lease_id)


def candidate(election: str, id: str, revision: int, priority: int = 0) -> Entry:
    record = CandidateRecord(id=id, host="h", pid=1, priority=priority, ttl_s=15)
    return entry(f"{election}/candidates/{id}", records.dump_candidate(record), revision)


def leader(election: str, id: str, revision: int) -> Entry:
    record = LeaderRecord(id=id, host="h", pid=1, ttl_s=15, since="2026-11-22T00:00:00.000Z", base=100)
    return entry(f"{election}/leader", records.dump_leader(record), revision)


def test_elections_are_told_apart_and_in_order_of_their_names() -> None:
    views = survey.elections([leader("b", "x", 7), candidate("b", "x", 6), candidate("a", "y", 8)])
    assert [(view.election, view.state, view.waiting) for view in views] == [("a", "vacant", 1), ("b", "led", 0)]
    assert views[1].leader is not None
    assert views[1].leader.token == 107


def test_the_queue_is_in_the_order_in_which_it_will_be_served() -> None:
    (view,) = survey.elections(
        [candidate("a", "late", 9), candidate("a", "early", 3), candidate("a", "urgent", 12, priority=1)]
    )
    assert [candidate.id for candidate in view.candidates] == ["urgent", "early", "late"]


def test_what_belongs_to_no_election_is_passed_over() -> None:
    assert survey.elections([entry("base", b"7", lease_id=None)]) == []


def test_a_hold_is_neither_a_leader_nor_a_vacancy() -> None:
    (view,) = survey.elections([entry("a/leader", records.dump_hold(HoldRecord("L", 15)), lease_id=None)])
    assert (view.state, view.leader) == ("held", None)


def _within_s(*entries: Entry) -> float | None:
    (view,) = survey.elections(entries)
    return view.filled_within_s(lambda ttl_s: 2 * ttl_s + 0.5)


def test_a_place_that_nobody_waits_for_stays_empty() -> None:
    assert _within_s(leader("a", "x", 2), candidate("a", "x", 1)) is None
    assert _within_s(entry("a/history", b"[]")) is None


def test_a_dead_leader_is_replaced_when_the_store_ends_its_lease() -> None:
    assert _within_s(leader("a", "x", 2), candidate("a", "x", 1), candidate("a", "y", 3)) == 30.5


def test_in_a_vacancy_the_dead_at_the_head_of_the_queue_must_be_gone_first() -> None:
    assert _within_s(candidate("a", "perhaps dead", 1), candidate("a", "y", 3)) == 30.5


def test_a_hold_lasts_until_nobody_can_trust_the_old_lease() -> None:
    hold = entry("a/leader", records.dump_hold(HoldRecord("L", 10)), lease_id=None)
    assert _within_s(hold) is None
    assert _within_s(hold, candidate("a", "y", 3)) == pytest.approx(10.15)


@pytest.mark.parametrize("value", [b"not json", b"{}", json.dumps({"schema": 2}).encode()])
def test_records_that_cannot_be_read_spoil_their_own_election_alone(value: bytes) -> None:
    broken, fine = survey.elections([entry("a/leader", value), leader("b", "x", 7)])
    assert (broken.state, fine.state) == ("unreadable", "led")
    assert broken.problem


def test_an_age_is_for_people_and_never_negative() -> None:
    assert survey.age_s("1970-01-01T00:01:00.000Z", 90.0) == 30.0
    assert survey.age_s("1970-01-01T00:01:00.000Z", 30.0) == 0.0
    assert survey.age_s("yesterday", 30.0) is None
