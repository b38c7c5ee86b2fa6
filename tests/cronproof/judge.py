"""What must be true of the evidence, whatever happened. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from cronproof.evidence import Attempt, Evidence
from leasekit.schedule.records import Outcome
from leasekit.schedule.times import format_slot, parse


@dataclass(frozen=True, slots=True)
class Judged:
    """One job's slots that count: those after `after`, up to `until`."""

    job: str
    schedule: str
    at_least_once: bool
    after: datetime
    until: datetime

    @property
    def slots(self) -> list[datetime]:
        return parse(self.schedule).between(self.after, self.until, 100_000)


@dataclass(frozen=True, slots=True)
class Case:
    """One job's part of the evidence. `skew_s`: how early a slot may be claimed; `wall_s`: the true time at a boot time."""

    judged: Judged
    evidence: Evidence
    skew_s: float
    wall_s: Callable[[float], float]

    @property
    def attempts(self) -> list[Attempt]:
        """In the order of their tokens, which is that of their claims."""
        mine = [a for a in self.evidence.attempts.values() if a.job == self.judged.job]
        return sorted((a for a in mine if a.slot <= self.judged.until), key=lambda a: a.token)

    @property
    def by_slot(self) -> dict[datetime, list[Attempt]]:
        found = defaultdict(list)
        for attempt in self.attempts:
            found[attempt.slot].append(attempt)
        return dict(found)

    def asked_wall_s(self, attempt: Attempt) -> float | None:
        """The true time when this claim was sent at the earliest."""
        asked_s = self.evidence.asked_s.get((attempt.job, attempt.slot, attempt.token))
        return None if asked_s is None else self.wall_s(asked_s)


def violations(case: Case) -> Iterator[str]:
    """Everything that is not as promised."""
    for check in (_claimed_once, _not_early, _none_lost, _as_often_as_guaranteed, _tokens_rise, _one_at_a_time):
        for found in check(case):
            yield f"{case.judged.job}: {found}"


def _claimed_once(case: Case) -> Iterator[str]:
    for slot, attempts in case.by_slot.items():
        numbers = [attempt.attempt for attempt in attempts]
        if len(set(numbers)) != len(numbers):
            yield f"{format_slot(slot)} was claimed twice for one attempt: {attempts}"
        for attempt in attempts:
            if attempt.begins > 1:
                yield f"{format_slot(slot)}, attempt {attempt.attempt}, was begun {attempt.begins} times"


def _not_early(case: Case) -> Iterator[str]:
    for attempt in case.attempts:
        asked_s = case.asked_wall_s(attempt)
        if asked_s is None:
            yield f"{format_slot(attempt.slot)}, token {attempt.token}: nobody says to have claimed it"
        elif asked_s < attempt.slot.timestamp() - case.skew_s:
            early_s = attempt.slot.timestamp() - asked_s
            yield f"{format_slot(attempt.slot)} was claimed {early_s:.2f} s early, by {attempt.worker}"


def _none_lost(case: Case) -> Iterator[str]:
    claimed, not_run = case.by_slot, case.evidence.not_run[case.judged.job]
    for slot in case.judged.slots:
        if slot not in claimed and slot not in not_run:
            yield f"{format_slot(slot)} was never claimed"
    for slot, line in not_run.items():
        if case.judged.after < slot <= case.judged.until:
            yield f"{format_slot(slot)} was {line.outcome.value}, and no slot was to be left out"


def _as_often_as_guaranteed(case: Case) -> Iterator[str]:
    for slot, attempts in case.by_slot.items():
        outcomes = [attempt.line.outcome for attempt in attempts if attempt.line is not None]
        if outcomes.count(Outcome.DONE) > 1:
            yield f"{format_slot(slot)} was done {outcomes.count(Outcome.DONE)} times"
        if not case.judged.at_least_once and len(attempts) > 1:
            yield f"{format_slot(slot)} was attempted {len(attempts)} times"
        if case.judged.at_least_once and Outcome.DONE not in outcomes:
            yield f"{format_slot(slot)} was never done: {[outcome.value for outcome in outcomes]}"
        for attempt in attempts:
            if attempt.line is not None and attempt.line.outcome is Outcome.DONE and not attempt.ended:
                yield f"{format_slot(slot)}, attempt {attempt.attempt}, is done and never ended"
        for outcome in set(outcomes) - {Outcome.DONE, Outcome.LOST}:
            yield f"{format_slot(slot)} ended {outcome.value}"


def _tokens_rise(case: Case) -> Iterator[str]:
    for earlier, later in pairwise(case.attempts):
        if earlier.token == later.token:
            yield f"token {later.token} was given twice: {earlier}, {later}"
        if later.attempt == 1 and later.slot < earlier.slot and earlier.attempt == 1:
            yield f"{format_slot(later.slot)} was claimed after {format_slot(earlier.slot)}"
    for slot, attempts in case.by_slot.items():
        if [attempt.attempt for attempt in attempts] != list(range(1, len(attempts) + 1)):
            yield f"the attempts at {format_slot(slot)} are {[(a.attempt, a.token) for a in attempts]}"


def _one_at_a_time(case: Case) -> Iterator[str]:
    # Both ends err on the short side, so two that touch were believed in at one moment.
    believed = sorted((a for a in case.attempts if a.until_s is not None), key=lambda a: a.since_s or 0.0)
    for earlier, later in pairwise(believed):
        assert earlier.until_s is not None and later.since_s is not None
        if later.since_s < earlier.until_s:
            yield f"tokens {earlier.token} and {later.token} were at work at one time"


# The table.


@dataclass(frozen=True, slots=True)
class Row:
    """One job in numbers."""

    job: str
    slots: int
    done: int
    lost: int
    attempts: int
    reruns: int
    earliest_s: float
    """How late the earliest claim was; negative: how early."""
    median_s: float
    latest_s: float


def row(case: Case) -> Row:
    """What became of one job's slots."""
    by_slot = case.by_slot
    late_s = sorted(
        asked_s - a.slot.timestamp() for a in case.attempts if (asked_s := case.asked_wall_s(a)) is not None
    )
    outcomes = [[a.line.outcome for a in attempts if a.line is not None] for attempts in by_slot.values()]
    return Row(
        job=case.judged.job,
        slots=len(case.judged.slots),
        done=sum(Outcome.DONE in each for each in outcomes),
        lost=sum(each.count(Outcome.LOST) for each in outcomes),
        attempts=len(case.attempts),
        reruns=sum(attempt.attempt > 1 for attempt in case.attempts),
        earliest_s=late_s[0] if late_s else 0.0,
        median_s=late_s[len(late_s) // 2] if late_s else 0.0,
        latest_s=late_s[-1] if late_s else 0.0,
    )


def table(rows: Iterable[Row]) -> str:
    """For people, and for the docs (Markdown)."""
    heads = "job", "slots", "done", "attempts", "lost", "run again", "earliest claim", "median", "latest"
    lines: list[tuple[str, ...]] = [heads]
    for r in rows:
        delays = (f"{delay_s:+.2f} s" for delay_s in (r.earliest_s, r.median_s, r.latest_s))
        lines.append((r.job, *(str(n) for n in (r.slots, r.done, r.attempts, r.lost, r.reruns)), *delays))
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    text = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    text.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in text)


def utc(wall_s: float) -> datetime:
    return datetime.fromtimestamp(wall_s, UTC)
