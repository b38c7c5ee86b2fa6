"""What a worker does next, from one look. Slots here come every ten minutes, and are named by their minute."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leasekit.errors import ConfigError
from leasekit.schedule.plan import (
    Cancel,
    Policy,
    Refuse,
    Start,
    View,
    Wait,
    Write,
    begin,
    claim_step,
    claimed,
    next_step,
)
from leasekit.schedule.records import Line, Outcome, SlotsRecord
from leasekit.schedule.times import parse

SCHEDULE = parse("*/10 * * * *")
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


def at(minute: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minute)


def run(minute: float, token: int, attempt: int = 1) -> Line:
    return Line(at(minute), Outcome.CLAIMED, attempt, token, "nightly", "w1", "host", 1)


def record(mark: float, *lines: Line) -> SlotsRecord:
    return SlotsRecord(at(mark), SCHEDULE.text, SCHEDULE.tz, lines)


def step(known: SlotsRecord | None, now: float, *, in_office: tuple[int, ...] = (), **policy: Any) -> Any:
    return next_step("nightly", SCHEDULE, Policy(**policy), View(known, in_office, at(now)))


def outcomes(written: SlotsRecord) -> list[tuple[float, str, int]]:
    return [((line.slot - MIDNIGHT).total_seconds() / 60, line.outcome.value, line.count) for line in written.lines]


def test_a_new_job_begins_now_and_makes_up_for_nothing() -> None:
    written = begin(SCHEDULE, View(None, (), at(15)))
    assert written == Write(record(10))
    assert step(record(10), 15) == Wait(at(20))


def test_a_new_schedule_begins_now_too_and_an_unchanged_one_does_not() -> None:
    old = SlotsRecord(at(-600), "@daily", "UTC")
    assert begin(SCHEDULE, View(old, (), at(15))) == Write(record(10))
    assert begin(SCHEDULE, View(record(-600), (), at(15))) is None


def test_a_changed_schedule_never_lowers_the_mark() -> None:
    ahead = SlotsRecord(at(60), "@daily", "UTC")
    assert begin(SCHEDULE, View(ahead, (), at(15))) == Write(record(60))


def test_a_slot_that_has_come_is_started() -> None:
    assert step(record(10), 20) == Start(at(20), 1, record(10))


def test_before_its_time_nothing_is_started() -> None:
    assert step(record(10), 19.99) == Wait(at(20))


def test_of_several_slots_the_latest_is_run_and_the_others_are_missed() -> None:
    due = step(record(10), 45)
    assert isinstance(due, Start) and due.slot == at(40)
    assert due.record is not None and outcomes(due.record) == [(30, "missed", 2)]


def test_with_all_they_are_run_in_their_order() -> None:
    assert step(record(10), 45, missed="all") == Start(at(20), 1, record(10))


def test_what_is_too_late_is_missed_whatever_the_policy() -> None:
    due = step(record(10), 45, missed="all", max_late_s=600)
    assert isinstance(due, Start) and due.slot == at(40)
    assert due.record is not None and outcomes(due.record) == [(30, "missed", 2)]


def test_with_nothing_left_to_run_the_missed_are_written_down() -> None:
    due = step(record(10), 45, max_late_s=60)
    assert isinstance(due, Write)
    assert outcomes(due.record) == [(40, "missed", 3)]
    assert due.record.mark == at(40)


@pytest.mark.parametrize(("late_min", "runs"), [(0.02, True), (1, False)])
def test_with_skip_a_slot_is_run_in_time_or_not_at_all(late_min: float, runs: bool) -> None:
    assert isinstance(step(record(10), 20 + late_min, missed="skip"), Start if runs else Write)


def test_missed_slots_that_follow_each_other_share_a_line() -> None:
    known = record(10).with_lines(Line(at(20), Outcome.MISSED)).with_lines(Line(at(40), Outcome.MISSED, count=2))
    assert outcomes(known) == [(40, "missed", 3)]


# A run of an earlier slot goes on.


def test_with_skip_slots_that_come_meanwhile_are_skipped() -> None:
    due = step(record(10, run(10, 7)), 20, in_office=(7,))
    assert isinstance(due, Write)
    assert outcomes(due.record) == [(10, "claimed", 1), (20, "skipped", 1)]


def test_with_skip_several_that_come_meanwhile_are_all_skipped() -> None:
    due = step(record(10, run(10, 7)), 45, in_office=(7,))
    assert isinstance(due, Write)
    assert outcomes(due.record) == [(10, "claimed", 1), (40, "skipped", 3)]


def test_slots_that_are_made_up_for_one_by_one_do_not_overlap() -> None:
    late = replace(run(10, 7), claimed="2026-11-23T00:44:00.000Z")
    waits = step(record(10, late), 45, in_office=(7,), missed="all")
    assert isinstance(waits, Wait)
    done = record(10, late).ended(7, Outcome.DONE, None, None)
    assert step(done, 46, missed="all").slot == at(20)


def test_with_skip_what_came_before_a_late_run_does_not_save_what_comes_during_it() -> None:
    again = replace(run(10, 9, attempt=2), claimed="2026-11-23T00:35:00.000Z")
    assert step(record(10, again), 36, in_office=(9,)) == Wait(at(40))
    due = step(record(10, again), 50, in_office=(9,))
    assert isinstance(due, Write)
    assert outcomes(due.record) == [(10, "claimed", 1), (30, "missed", 2), (50, "skipped", 2)]


def test_with_queue_one_they_wait() -> None:
    assert isinstance(step(record(10, run(10, 7)), 20, in_office=(7,), overlap="queue_one"), Wait)


def test_with_cancel_other_it_is_asked_to_end() -> None:
    assert step(record(10, run(10, 7)), 20, in_office=(7,), overlap="cancel_other") == Cancel(7)


def test_with_allow_another_run_is_started_beside_it() -> None:
    due = step(record(10, run(10, 7)), 20, in_office=(7,), overlap="allow")
    assert isinstance(due, Start) and due.slot == at(20)


def test_while_nothing_is_due_it_is_left_alone() -> None:
    assert step(record(10, run(10, 7)), 15, in_office=(7,)) == Wait(at(20))


# A run has died.


def test_at_most_once_a_dead_run_is_lost() -> None:
    due = step(record(10, run(10, 7)), 15)
    assert isinstance(due, Write) and outcomes(due.record) == [(10, "lost", 1)]


def test_at_least_once_a_dead_run_is_run_again() -> None:
    due = step(record(10, run(10, 7)), 15, guarantee="at_least_once")
    assert isinstance(due, Start) and (due.slot, due.attempt) == (at(10), 2)
    again = claimed(due, Line(at(0), Outcome.CLAIMED, token=9), SCHEDULE)
    assert [(line.outcome.value, line.attempt, line.token) for line in again.lines] == [
        ("lost", 1, 7),
        ("claimed", 2, 9),
    ]
    assert again.mark == at(10)


def test_at_least_once_a_run_that_died_too_long_ago_is_lost() -> None:
    due = step(record(10, run(10, 7)), 75, guarantee="at_least_once")
    assert isinstance(due, Write) and outcomes(due.record) == [(10, "lost", 1)]


def test_a_token_that_left_office_is_dead_although_another_leads() -> None:
    due = step(record(10, run(10, 7)), 15, in_office=(8,), guarantee="at_least_once")
    assert isinstance(due, Start) and due.attempt == 2


def test_an_end_that_comes_after_the_run_was_written_off_changes_nothing() -> None:
    lost = record(10, run(10, 7)).ended(7, Outcome.LOST, None, None)
    assert lost.ended(7, Outcome.DONE, None, "now") is lost


# Who was fired for one slot.


def claim(known: SlotsRecord | None, slot: float, now: float, *, in_office: tuple[int, ...] = (), **policy: Any) -> Any:
    return claim_step(SCHEDULE, Policy(**policy), View(known, in_office, at(now)), at(slot))


def test_the_slot_that_one_was_fired_for_is_run_at_first_deployment_too() -> None:
    assert claim(None, 20, 20) == Start(at(20), 1, None)


def test_who_is_fired_by_another_schedule_than_before_goes_by_that() -> None:
    started = claim(SlotsRecord(at(10), "@daily", "Europe/Paris"), 20, 20)
    assert started == Start(at(20), 1, record(10))
    without = claim_step(None, Policy(), View(record(10), (), at(20)), at(20))
    assert without == Start(at(20), 1, record(10))


def test_it_is_refused_once_it_is_claimed_done_or_passed_over() -> None:
    assert claim(record(20, run(20, 7)), 20, 20, in_office=(7,)) == Refuse("it is claimed already")
    done = record(20, run(20, 7)).ended(7, Outcome.DONE, None, None)
    assert claim(done, 20, 20) == Refuse("it is done already")
    assert claim(record(30), 20, 30) == Refuse("it is passed over already")


def test_it_is_missed_when_it_is_too_late() -> None:
    late = claim(record(10), 20, 20 + 61)
    assert isinstance(late, Write) and outcomes(late.record) == [(20, "missed", 1)]
    assert claim(late.record, 20, 20 + 61) == Refuse("it is missed already")


def test_a_dead_run_of_it_is_run_again_where_that_is_guaranteed() -> None:
    assert claim(record(20, run(20, 7)), 20, 25, guarantee="at_least_once").attempt == 2
    assert isinstance(claim(record(20, run(20, 7)), 20, 25), Write)


@pytest.mark.parametrize(
    ("overlap", "kind"), [("skip", Write), ("queue_one", Wait), ("cancel_other", Cancel), ("allow", Start)]
)
def test_an_earlier_run_that_goes_on_counts_as_for_workers(overlap: Any, kind: type) -> None:
    assert isinstance(claim(record(10, run(10, 7)), 20, 20, in_office=(7,), overlap=overlap), kind)


# Jitter.


def test_jitter_puts_a_start_off_and_never_past_its_bound() -> None:
    waits = step(record(10), 20, jitter_s=300)
    assert isinstance(waits, Wait) and waits.until is not None
    assert at(20) < waits.until < at(25)
    assert step(record(10), 25, jitter_s=300) == Start(at(20), 1, record(10))


@pytest.mark.parametrize(
    ("field", "value"),
    [("overlap", "never"), ("missed", "none"), ("guarantee", "exactly_once"), ("max_late_s", -1), ("max_skew_s", True),
     ("jitter_s", float("inf")), ("jitter_s", 4000)],
)  # fmt: skip
def test_a_policy_that_will_not_do_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        Policy(**{field: value})
    assert refused.value.field == field
