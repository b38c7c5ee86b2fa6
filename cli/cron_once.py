"""`leasekit cron --once`: claims the slot that a crontab or a timer fired it for, and runs the command if it is its own.

On all machines but one that finds the slot claimed, which is what they are there for: it says nothing, for cron sends
mail about output.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from leasekit import engine, retry
from leasekit.cli import exit_codes
from leasekit.cli.session import Session, note
from leasekit.cli.signals import Interrupted, Signals
from leasekit.cli.slot_run import Report, SlotRun, Terms
from leasekit.clock import SYSTEM_CLOCK
from leasekit.election import RELEASE_TIMEOUT_S
from leasekit.errors import ConfigError, SlotTooEarly
from leasekit.schedule.claims import Claimed
from leasekit.schedule.job import FIRED_EARLY_S, Job
from leasekit.schedule.records import Line, Outcome, SlotsRecord
from leasekit.schedule.times import format_slot

EARLY_MAX_S = 300.0
"""How long the slot is waited for at most, where this machine's clock is ahead of the store's."""


def run_once(store: Session, job: Job, terms: Terms) -> int:
    """Run the command for the latest slot by this machine's clock, if it is this process's to run. The exit code."""
    slot = _fired_for(job)
    with Signals() as signals:
        try:
            with signals.interrupting():
                claimed = engine.get().run(claim(store, job, slot, terms), discard=_release)
        except Interrupted as interrupted:
            code = exit_codes.SIGNALLED + interrupted.signal_number
            return _not_run(job, slot, terms, "interrupted", None, code)
        except SlotTooEarly as early:
            detail = f"this machine's clock is {early.early_s:.0f} s ahead of the store's, and more"
            note(f"slot {format_slot(slot)} is not run: {detail}")
            return _not_run(job, slot, terms, "early", detail, exit_codes.NOT_ACQUIRED)
        if claimed is None:
            return _settled_already(store, job, slot, terms)
        run = SlotRun(job, claimed, terms, signals)
        run.begin()
        while not run.step():
            for number in signals.take():
                run.pass_on(number)
            signals.wait(run.filenos(), run.sleep_s() or store.timeout_s)
    return run.exit_code


def _fired_for(job: Job) -> datetime:
    assert job.schedule is not None
    now = datetime.fromtimestamp(SYSTEM_CLOCK.wall_s(), UTC)
    slot = job.schedule.latest_at(now + timedelta(seconds=FIRED_EARLY_S))
    if slot is None:
        raise ConfigError("SCHEDULE", "has had no slot yet")
    return slot


async def claim(store: Session, job: Job, slot: datetime, terms: Terms) -> Claimed | None:
    """Ask for as long as `--timeout` while the store does not answer, and wait for a slot that is yet to come."""
    give_up_at = SYSTEM_CLOCK.now().plus(store.timeout_s)
    attempt = 0
    while True:
        try:
            return await job.claim(slot)
        except SlotTooEarly as early:
            if early.early_s > EARLY_MAX_S:
                raise
            if terms.verbose:
                note(f"{early}: waiting")
            await asyncio.sleep(early.early_s)
            give_up_at = SYSTEM_CLOCK.now().plus(store.timeout_s)
        except retry.UNANSWERED:
            if SYSTEM_CLOCK.now().reached(give_up_at):
                raise
            attempt += 1
            await asyncio.sleep(retry.pause_s(attempt, job.connection.random))


def _release(claimed: Claimed | None) -> None:
    """Claimed in the moment in which a signal came."""
    if claimed is not None:
        engine.get().submit(claimed.election.release(claimed.tenure, RELEASE_TIMEOUT_S))


def _settled_already(store: Session, job: Job, slot: datetime, terms: Terms) -> int:
    """Nothing is to be run here: say so where somebody has to know."""
    outcome, detail = _fate(store.run(job.record()), slot)
    text = f"slot {format_slot(slot)} is not run here: {outcome}" + (f" ({detail})" if detail else "")
    if outcome in (Outcome.SKIPPED, Outcome.MISSED):
        note(text)
        return _not_run(job, slot, terms, outcome, detail, exit_codes.NOT_ACQUIRED)
    if terms.verbose:
        note(text)
    return _not_run(job, slot, terms, "elsewhere", detail, exit_codes.OK)


def _fate(record: SlotsRecord | None, slot: datetime) -> tuple[str, str | None]:
    """What became of a slot that is not to be run, and more about it."""
    if record is None:
        return Outcome.MISSED, _late(slot)
    line = next((line for line in reversed(record.lines) if line.slot == slot), None)
    if line is None:
        # Slots that were not run share a line, which bears the last one's name.
        later = next((line for line in record.lines if line.slot > slot), None)
        line = later if later is not None and later.count > 1 else None
    match line:
        case None:
            return "passed over", "the job has come further"
        case Line(outcome=Outcome.MISSED):
            return Outcome.MISSED, line.detail or _late(slot)
        case Line(outcome=Outcome.SKIPPED):
            return Outcome.SKIPPED, line.detail or "an earlier run still went on"
        case _:
            return line.outcome, f"{line.id} on {line.host}"


def _late(slot: datetime) -> str:
    return f"too late, by {SYSTEM_CLOCK.wall_s() - slot.timestamp():.0f} s"


def _not_run(job: Job, slot: datetime, terms: Terms, outcome: str, detail: str | None, exit_code: int) -> int:
    report = Report(job.name, format_slot(slot), job.id, outcome=outcome, detail=detail, exit_code=exit_code)
    report.append_to(terms.report)
    return exit_code
