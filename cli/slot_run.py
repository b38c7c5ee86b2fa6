"""One run of a slot by `leasekit cron`: its command under the watchdog, then its outcome written down."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path

from leasekit import engine
from leasekit.cli import exit_codes, render
from leasekit.cli.session import note
from leasekit.cli.signals import Signals
from leasekit.cli.supervised import Supervised, why_not_started
from leasekit.clock import SYSTEM_CLOCK
from leasekit.core.records import utc
from leasekit.errors import LeasekitError
from leasekit.schedule.claims import Claimed
from leasekit.schedule.job import Job
from leasekit.schedule.records import Outcome
from leasekit.schedule.times import format_slot
from leasekit.watchdog.guard import Died, End, Guard
from leasekit.watchdog.messages import Ended, NotStarted
from leasekit.watchdog.supervision import Cause

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that tell a program to end."""
NOT_TOLD = "the store could not be told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How commands are run."""

    command: Sequence[str]
    environment: Mapping[str, str]
    ttl_s: float
    grace_s: float
    adopt: bool
    """Whether leasekit runs this one command alone: see `Guard`."""
    verbose: bool
    report: Path | None


@dataclass(slots=True)
class Report:
    """A line of `--report`. `started` and `ended` (UTC) are the command's; None where there was no run.

    outcome: as in the slot's line (done, failed, lost, skipped, missed), or elsewhere (the run was another's), or
    interrupted (a signal before there was a run). What the store could not be told counts there as lost; `detail` says so.
    """

    job: str
    slot: str
    id: str
    attempt: int | None = None
    token: int | None = None
    started: str | None = None
    ended: str | None = None
    outcome: str = "elsewhere"
    detail: str | None = None
    exit_code: int | None = None

    def append_to(self, file: Path | None) -> None:
        """Add the line, whole, to the end of the file."""
        if file is None:
            return
        try:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(render.document(**asdict(self)) + "\n")
        except OSError as error:
            note(f"the report could not be written to {file}: {error.strerror}")


class SlotRun:
    """Call `begin` once, and `step` until it answers that all is over: as for `Supervised`."""

    def __init__(self, job: Job, claimed: Claimed, terms: Terms, signals: Signals) -> None:
        self._job = job
        self._claimed = claimed
        self._terms = terms
        self._wake = signals.wake
        self._told: int | None = None
        self._finishing: Future[bool] | None = None
        slot = format_slot(claimed.slot)
        environment = {
            **terms.environment,
            "LEASEKIT_ELECTION": claimed.election.name,
            "LEASEKIT_ID": claimed.tenure.id,
            "LEASEKIT_SLOT": slot,
            "LEASEKIT_ATTEMPT": str(claimed.attempt),
        }
        guard = Guard(terms.command, environment, ttl_s=terms.ttl_s, grace_s=terms.grace_s, adopt=terms.adopt)
        self._supervised = Supervised(guard, claimed.tenure, signals.wake)
        self.report = Report(job.name, slot, claimed.tenure.id, attempt=claimed.attempt, token=claimed.tenure.token)
        self.what = f"slot {slot}" + (f", attempt {claimed.attempt}" if claimed.attempt > 1 else "")
        self.exit_code = exit_codes.OK

    def begin(self) -> None:
        """Have the command started."""
        self.report.started = utc(SYSTEM_CLOCK.wall_s())
        self._supervised.begin()
        self._say(f"{self.what} begins with token {self._claimed.tenure.token}")

    def pass_on(self, number: int) -> None:
        """Hand a signal to the command."""
        if number in ENDING:
            self._told = number
        if self._finishing is None:
            self._supervised.pass_on(number)

    def stop(self, number: int) -> None:
        """End the command since leasekit was told to by this signal: TERM now, KILL after the grace."""
        self._told = number
        if self._finishing is None:
            self._supervised.stop()

    def step(self) -> bool:
        """Whether all is over: nothing of the command lives, and its outcome is written down if that can be."""
        if self._finishing is None:
            end = self._supervised.step()
            if end is None:
                return False
            self._finish(end)
        assert self._finishing is not None
        if not self._finishing.done():
            return False
        self._supervised.guard.close()
        if isinstance(error := self._finishing.exception(), LeasekitError):
            note(f"the end of {self.what} could not be told to the store: {error}")
        elif error is not None:
            raise error
        if error is not None or not self._finishing.result():
            self.report.detail = self.report.detail or NOT_TOLD
        self.report.append_to(self._terms.report)
        return True

    def filenos(self) -> list[int]:
        """For poll()."""
        return [self._supervised.fileno()] if self._finishing is None else []

    def sleep_s(self) -> float | None:
        """How long `step` may be put off, in seconds; None: until `wake`."""
        return self._supervised.sleep_s() if self._finishing is None else None

    def _finish(self, end: End) -> None:
        self.report.ended = utc(SYSTEM_CLOCK.wall_s())
        outcome, detail = self._conclude(end)
        self.report.outcome, self.report.detail, self.report.exit_code = outcome.value, detail, self.exit_code
        if outcome is Outcome.DONE:
            self._say(f"{self.what} is done")
        else:
            note(f"{self.what} {'failed' if outcome is Outcome.FAILED else 'is lost'}: {detail}")
        self._finishing = engine.get().submit(self._job.finish(self._claimed, outcome, detail))
        self._finishing.add_done_callback(lambda _: self._wake())

    def _conclude(self, end: End) -> tuple[Outcome, str | None]:
        """What became of the run, and why; sets the exit code."""
        match end:
            case Ended(returncode, Cause.EXITED):
                self.exit_code = exit_codes.of_child(returncode)
                if returncode == 0:
                    return Outcome.DONE, None
                if self._told is not None:
                    return Outcome.LOST, _told(self._told)
                return Outcome.FAILED, f"exit {returncode}" if returncode > 0 else f"killed by {_name(-returncode)}"
            case NotStarted(error_number) if error_number:
                self.exit_code = exit_codes.of_failed_start(error_number)
                program = self._terms.command[0]
                return Outcome.FAILED, f"{program!r} {why_not_started(program, error_number)}"
        self.exit_code = exit_codes.LOST
        if isinstance(end, Died):
            return Outcome.LOST, "the watchdog died, so the command was killed"
        # Whether the leadership was lost is settled before it is given up.
        lost = self._claimed.tenure.loss
        if self._told is not None and lost is None and not self._supervised.requests:
            return Outcome.LOST, _told(self._told)
        return Outcome.LOST, self._supervised.reason(lost)

    def _say(self, text: str) -> None:
        if self._terms.verbose:
            note(text)


def _told(number: int) -> str:
    return f"told to end by {_name(number)}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
