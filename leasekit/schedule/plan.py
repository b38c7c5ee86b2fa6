"""What a worker has to do next, from one look at a job's record and at who leads. Pure.

`next_step` is asked again after every step that it names was done, or was found to come too late: whoever else was
quicker has changed the record, and every change compares the record that was looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, get_args

from leasekit.core.lease import check_timing
from leasekit.errors import ConfigError
from leasekit.schedule.records import Line, Outcome, SlotsRecord
from leasekit.schedule.times import Schedule, delay_s

Overlap = Literal["skip", "queue_one", "cancel_other", "allow"]
Missed = Literal["latest", "skip", "all"]
Guarantee = Literal["at_most_once", "at_least_once"]

DUE_MAX = 10_000
"""How many slots are looked at in one step; of more, the earliest are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a job is to be run. Raises ConfigError, naming the field.

    Args:
        overlap: what becomes of slots that come due while a run of an earlier one goes on: `skip` them; `queue_one`,
            have them wait for its end; `cancel_other`, ask it to resign, then run; `allow`, run beside it.
        missed: which of several slots are run that nobody was there for: the `latest`, `all` in their order, or with
            `skip` none: a slot is then run in time or not at all.
        guarantee: what is done about a run that was lost: nothing (`at_most_once`), or another attempt, under a higher
            token (`at_least_once`).
        max_late_s: how late a run may begin, in seconds.
        max_skew_s: how far ahead of the store's time a slot may be claimed, in seconds.
        jitter_s: each slot begins up to this much later, in seconds, at the same moment on all machines.
        ttl_s: time to live of a run's lease, in seconds.
        allow_unchecked_clock: go by this machine's clock alone where the store has none.
    """

    overlap: Overlap = "skip"
    missed: Missed = "latest"
    guarantee: Guarantee = "at_most_once"
    max_late_s: float = 3600.0
    max_skew_s: float = 2.0
    jitter_s: float = 0.0
    ttl_s: float = 15.0
    allow_unchecked_clock: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("overlap", Overlap), ("missed", Missed), ("guarantee", Guarantee)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(name, f"is {getattr(self, name)!r}; it must be one of {', '.join(get_args(choices))}")
        for name in ("max_late_s", "max_skew_s", "jitter_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ConfigError(name, f"is {value!r}; it must be a number of seconds, 0 or more")
        if self.jitter_s > self.max_late_s:
            raise ConfigError("jitter_s", f"is {self.jitter_s:g}, more than max_late_s, {self.max_late_s:g}")
        check_timing(ttl_s=self.ttl_s)

    @property
    def on_time_s(self) -> float:
        """How late a slot still counts as run in time, in seconds; for `missed="skip"`."""
        return max(2.0, self.max_skew_s)


@dataclass(frozen=True, slots=True)
class View:
    """One look: the record, the tokens of all leaderships in office that a run may be, and the time."""

    record: SlotsRecord | None
    in_office: Collection[int]
    now: datetime

    @property
    def live(self) -> tuple[Line, ...]:
        """The runs that go on."""
        return () if self.record is None else tuple(x for x in self.record.unfinished if x.token in self.in_office)

    @property
    def dead(self) -> tuple[Line, ...]:
        """The runs that ended without a word: what they were has left office, and never comes back."""
        return () if self.record is None else tuple(x for x in self.record.unfinished if x.token not in self.in_office)


@dataclass(frozen=True, slots=True)
class Write:
    """Put this record in the place of the one that was looked at; nothing is to be run."""

    record: SlotsRecord


@dataclass(frozen=True, slots=True)
class Start:
    """Win a leadership, then claim the slot: `record` is what it is before the run's own line is added."""

    slot: datetime
    attempt: int
    record: SlotsRecord | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the run of this token to end, then wait."""

    token: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done before `until` (None: whatever the time), or before a run ends."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """The slot that was asked for is not to be run here."""

    reason: str


Step = Write | Start | Cancel | Wait


def begin(schedule: Schedule, view: View) -> Write | None:
    """What a worker does first: a job that is new, or has a new schedule, begins now and makes up for nothing."""
    record = view.record
    if record is not None and (record.schedule, record.tz) == (schedule.text, schedule.tz):
        return None
    mark = schedule.latest_at(view.now) or view.now
    if record is None:
        return Write(SlotsRecord(mark, schedule.text, schedule.tz))
    return Write(replace(record, mark=max(mark, record.mark), schedule=schedule.text, tz=schedule.tz))


def next_step(job: str, schedule: Schedule, policy: Policy, view: View) -> Step:
    """What is to be done now by a worker that runs nothing itself, or may run several."""
    record = view.record
    if record is None:  # deleted by somebody
        return begin(schedule, view) or Wait(None)
    if view.dead:
        return _after_a_loss(policy, view, record)
    due = _due(job, schedule, policy, record.mark, view.now)
    known = record.with_lines(*_missed(due.late))
    if not due.ready:
        return Write(known) if due.late else Wait(due.next_at)
    if view.live and policy.overlap != "allow":
        return _overlapping(policy, view, known, due)
    if policy.missed == "all":
        return Start(due.ready[0], 1, known)
    return Start(due.ready[-1], 1, record.with_lines(*_missed([*due.late, *due.ready[:-1]])))


def _overlapping(policy: Policy, view: View, known: SlotsRecord, due: _Due) -> Step:
    """Slots have come, and a run of an earlier one goes on."""
    run = view.live[0]
    before = [slot for slot in due.ready if slot <= _began(run)]
    meanwhile = due.ready[len(before) :]
    match policy.overlap:
        # With `all` those before are made up for first, one after the other, and the mark passes none of them.
        case "skip" if meanwhile and not (before and policy.missed == "all"):
            skipped = Line(meanwhile[-1], Outcome.SKIPPED, count=len(meanwhile))
            return Write(known.with_lines(*_missed(before), skipped))
        case "cancel_other":
            return Cancel(_token(run))
        case _:
            return Wait(due.next_at)


def claim_step(schedule: Schedule | None, policy: Policy, view: View, slot: datetime) -> Step | Refuse:
    """What is to be done now by who was fired for this very slot, by `schedule` if that is known."""
    record = view.record
    if record is not None and slot <= record.mark:
        return _claimed_before(policy, view, record, slot)
    if (view.now - slot).total_seconds() > policy.max_late_s:
        late_s = (view.now - slot).total_seconds()
        missed = Line(slot, Outcome.MISSED)
        return Write(record.with_lines(missed)) if record is not None else Refuse(f"it is {late_s:.0f} s late")
    if view.dead:
        return _after_a_loss(replace(policy, guarantee="at_most_once"), view, _known(record))
    if view.live and policy.overlap != "allow":
        if policy.overlap == "skip":
            return Write(_known(record).with_lines(Line(slot, Outcome.SKIPPED)))
        return Cancel(_token(view.live[0])) if policy.overlap == "cancel_other" else Wait(None)
    if record is not None and schedule is not None:
        # It may be new; this slot is none to be made up for, so there is nothing else to begin with.
        record = replace(record, schedule=schedule.text, tz=schedule.tz)
    return Start(slot, 1, record)


def claimed(start: Start, run: Line, schedule: Schedule | None) -> SlotsRecord:
    """The record with this run's line: what is put when the slot is claimed."""
    text, tz = (schedule.text, schedule.tz) if schedule is not None else (None, "UTC")
    record = start.record or SlotsRecord(start.slot, text, tz)
    return record.with_lines(replace(run, slot=start.slot, attempt=start.attempt, outcome=Outcome.CLAIMED))


def _after_a_loss(policy: Policy, view: View, record: SlotsRecord) -> Step:
    """Runs have died: they are written off, one of them perhaps by being run again."""
    for line in view.dead:
        late_s = (view.now - line.slot).total_seconds()
        if policy.guarantee == "at_most_once" or late_s > policy.max_late_s or _run_again(record, line):
            return Write(_written_off(record, line))
    line = view.dead[0]
    if view.live and policy.overlap != "allow":
        return Wait(None)
    return Start(line.slot, line.attempt + 1, _written_off(record, line))


def _claimed_before(policy: Policy, view: View, record: SlotsRecord, slot: datetime) -> Step | Refuse:
    attempts = [line for line in record.lines if line.slot == slot]
    late_s = (view.now - slot).total_seconds()
    if not attempts or attempts[-1] not in view.dead:
        outcome = attempts[-1].outcome.value if attempts else "passed over"
        return Refuse(f"it is {outcome} already")
    if policy.guarantee == "at_most_once" or late_s > policy.max_late_s:
        return Write(_written_off(record, attempts[-1]))
    if view.live and policy.overlap != "allow":
        return Wait(None)
    return Start(slot, attempts[-1].attempt + 1, _written_off(record, attempts[-1]))


def _written_off(record: SlotsRecord, line: Line) -> SlotsRecord:
    return record.ended(_token(line), Outcome.LOST, None, None)


def _run_again(record: SlotsRecord, line: Line) -> bool:
    """Whether a later attempt at the same slot stands there already."""
    return any(other.slot == line.slot and other.attempt > line.attempt for other in record.lines)


def _token(line: Line) -> int:
    assert line.token is not None, "a run has a token"
    return line.token


def _known(record: SlotsRecord | None) -> SlotsRecord:
    assert record is not None, "runs stand in a record"
    return record


def _began(run: Line) -> datetime:
    """When it was claimed: what came due before that did not come while it went on."""
    return datetime.fromisoformat(run.claimed) if run.claimed else run.slot


def _missed(slots: list[datetime]) -> list[Line]:
    return [Line(slots[-1], Outcome.MISSED, count=len(slots))] if slots else []


@dataclass(slots=True)
class _Due:
    """What lies between the mark and now, in order: first the late, then the ready."""

    late: list[datetime] = field(default_factory=list)
    """Nobody is to run them any more."""
    ready: list[datetime] = field(default_factory=list)
    next_at: datetime | None = None


def _due(job: str, schedule: Schedule, policy: Policy, mark: datetime, now: datetime) -> _Due:
    in_time_s = policy.on_time_s + policy.jitter_s if policy.missed == "skip" else policy.max_late_s
    due = _Due()
    for slot in schedule.between(mark, now, DUE_MAX):
        begins = slot + timedelta(seconds=delay_s(job, slot, policy.jitter_s))
        if begins > now:  # those after it wait as well: the mark cannot pass it
            due.next_at = begins
            break
        (due.ready if (now - slot).total_seconds() <= in_time_s else due.late).append(slot)
    if due.next_at is None and (following := schedule.next_after(max(now, mark))) is not None:
        due.next_at = following + timedelta(seconds=delay_s(job, following, policy.jitter_s))
    return due
