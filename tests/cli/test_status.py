"""`leasekit status`: what the times in its rows count from."""

from __future__ import annotations

import pytest

from leasekit.cli import status
from leasekit.cli.survey import ElectionView
from leasekit.clock import Instant
from leasekit.election import Candidate, Leader
from leasekit.store import Capabilities

LIMITS = Capabilities(
    ttl_min_s=1, ttl_max_s=60, expiry_late_s=0.5, durable=True, server_time=False, compares_empty=True
)
LEADER = Leader(id="x", token=7, host="h", pid=1, since="1970-01-01T00:00:00.000Z", ttl_s=10)
WAITING = (Candidate("y", 0, "h", 2, 10),)
LED = ElectionView("a", LEADER, WAITING)
VACANT = ElectionView("a", None, WAITING)
HELD = ElectionView("a", None, WAITING, hold_ttl_s=10)


def at(seconds: float) -> Instant:
    return Instant(1000 + seconds, 2000 + seconds)


def next_leader(view: ElectionView, output: str = "table", empty_s: float | None = None) -> object:
    return status.row(view, output, LIMITS, 30.0, empty_s).get("next_leader")


def test_while_somebody_leads_nothing_counts_down_since_renewals_are_not_seen() -> None:
    assert next_leader(LED) == "10.5s if it dies"
    assert status.row(LED, "table", LIMITS, 30.0, None)["held_for"] == "30s"


def test_an_empty_place_counts_down() -> None:
    assert [next_leader(VACANT, empty_s=s) for s in (0.0, 3.0, 10.4)] == ["within 10.5s", "within 7.5s", "within 0.1s"]
    assert next_leader(VACANT, empty_s=10.6) == "overdue"


def test_a_program_gets_bare_seconds() -> None:
    assert (next_leader(LED, "tsv"), next_leader(VACANT, "tsv", 3.0), next_leader(VACANT, "tsv", 11.0)) == (
        10.5,
        7.5,
        0,
    )


def test_nothing_is_said_of_a_place_that_nobody_waits_for() -> None:
    assert next_leader(ElectionView("a", LEADER, ())) is None
    assert next_leader(ElectionView("a", None, ()), empty_s=1.0) is None


@pytest.mark.parametrize("first", [VACANT, HELD])
def test_a_vacancy_is_counted_from_when_it_was_first_seen(first: ElectionView) -> None:
    vacancies = status.Vacancies()
    vacancies.update([first], at(0))
    vacancies.update([first], at(2))
    assert vacancies.seen_for_s("a", at(5)) == 5


def test_a_count_ends_with_its_reason() -> None:
    vacancies = status.Vacancies()
    vacancies.update([HELD], at(0))
    vacancies.update([VACANT], at(2))
    assert vacancies.seen_for_s("a", at(5)) == 3
    vacancies.update([LED], at(6))
    assert vacancies.seen_for_s("a", at(6)) is None
    vacancies.update([VACANT], at(7))
    assert vacancies.seen_for_s("a", at(8)) == 1
