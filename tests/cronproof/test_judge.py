"""The judge finds what is wrong: each mistake, put into evidence that is right, is a violation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from cronproof.evidence import Attempt, Evidence
from cronproof.judge import Case, Judged, row, table, violations
from leasekit.schedule.records import Line, Outcome

BEGAN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
COUNT = 5
SKEW_S = 2.0


def slot(number: int) -> datetime:
    return BEGAN + timedelta(seconds=number)


def attempted(evidence: Evidence, number: int, *, attempt: int = 1, outcome: Outcome = Outcome.DONE) -> Attempt:
    """One more attempt, after all others."""
    token = 10 * (len(evidence.attempts) + 1)
    at_s = slot(number).timestamp() + 0.1 * attempt
    made = evidence.attempt("job", slot(number), attempt, token)
    made.worker, made.begins, made.since_s, made.until_s = "w1", 1, at_s, at_s + 0.05
    made.ended = outcome is Outcome.DONE
    made.line = Line(slot(number), outcome, attempt=attempt, token=token)
    evidence.asked_s["job", slot(number), token] = at_s - 0.01
    return made


def right() -> Evidence:
    """Five slots, the third of them lost once and run again."""
    evidence = Evidence()
    for number in range(1, COUNT + 1):
        if number == 3:
            attempted(evidence, number, outcome=Outcome.LOST)
            attempted(evidence, number, attempt=2)
        else:
            attempted(evidence, number)
    return evidence


def case(evidence: Evidence, *, at_least_once: bool = True) -> Case:
    judged = Judged("job", "every 1s", at_least_once, BEGAN, slot(COUNT))
    return Case(judged, evidence, SKEW_S, lambda boot_s: boot_s)


def of_slot(evidence: Evidence, number: int) -> Attempt:
    return [attempt for attempt in evidence.attempts.values() if attempt.slot == slot(number)][-1]


def claimed_twice(evidence: Evidence) -> None:
    attempted(evidence, 5)


def begun_twice(evidence: Evidence) -> None:
    of_slot(evidence, 2).begins = 2


def claimed_early(evidence: Evidence) -> None:
    early = of_slot(evidence, 2)
    evidence.asked_s["job", early.slot, early.token] -= SKEW_S + 0.2


def claimed_by_nobody(evidence: Evidence) -> None:
    evidence.asked_s.popitem()


def left_out(evidence: Evidence) -> None:
    evidence.attempts = {key: attempt for key, attempt in evidence.attempts.items() if attempt.slot != slot(4)}


def missed(evidence: Evidence) -> None:
    left_out(evidence)
    evidence.see("job", [Line(slot(4), Outcome.MISSED)])


def done_twice(evidence: Evidence) -> None:
    attempted(evidence, 5, attempt=2)


def never_done(evidence: Evidence) -> None:
    last = of_slot(evidence, 5)
    last.line = Line(last.slot, Outcome.LOST, attempt=1, token=last.token)


def done_without_an_end(evidence: Evidence) -> None:
    of_slot(evidence, 5).ended = False


def failed(evidence: Evidence) -> None:
    attempted(evidence, 5, attempt=2, outcome=Outcome.FAILED)


def out_of_order(evidence: Evidence) -> None:
    evidence.attempts = {key: attempt for key, attempt in evidence.attempts.items() if attempt.slot != slot(1)}
    attempted(evidence, 1)


def an_attempt_too_many(evidence: Evidence) -> None:
    attempted(evidence, 5, attempt=3, outcome=Outcome.LOST)


def at_one_time(evidence: Evidence) -> None:
    of_slot(evidence, 4).until_s = (of_slot(evidence, 5).since_s or 0.0) + 0.01


@pytest.mark.parametrize(
    "mistake",
    [
        claimed_twice, begun_twice, claimed_early, claimed_by_nobody, left_out, missed, done_twice, never_done,
        done_without_an_end, failed, out_of_order, an_attempt_too_many, at_one_time,
    ],
)  # fmt: skip
def test_each_mistake_is_found(mistake: Callable[[Evidence], None]) -> None:
    evidence = right()
    assert list(violations(case(evidence))) == []
    mistake(evidence)
    assert list(violations(case(evidence))) != []


def test_a_second_attempt_is_a_mistake_where_at_most_one_was_promised() -> None:
    assert any("attempted 2 times" in found for found in violations(case(right(), at_least_once=False)))


def test_a_lost_run_is_none_where_at_most_one_was_promised() -> None:
    evidence = right()
    del evidence.attempts["job", slot(3), 2, of_slot(evidence, 3).token]
    assert list(violations(case(evidence, at_least_once=False))) == []


def test_the_table_counts_outcomes_and_delays() -> None:
    counted = row(case(right()))
    assert (counted.slots, counted.done, counted.attempts, counted.lost, counted.reruns) == (5, 5, 6, 1, 1)
    assert (round(counted.earliest_s, 2), round(counted.latest_s, 2)) == (0.09, 0.19)
    assert "| job | 5     | 5    | 6        | 1    | 1         | +0.09 s" in table([counted])
