"""`leasekit cron` as a worker: claims slots and runs the command for each, until it is told to end."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING

from leasekit import engine
from leasekit.cli import exit_codes
from leasekit.cli.session import CLOSE_TIMEOUT_S
from leasekit.cli.signals import Signals
from leasekit.cli.slot_run import ENDING, SlotRun, Terms
from leasekit.election import RELEASE_TIMEOUT_S
from leasekit.integrations.systemd import Notifier
from leasekit.schedule.claims import Claimed
from leasekit.schedule.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE_S = 5.0
"""How long to sleep at most: everything that matters wakes this process."""


def serve(job: Job, terms: Terms, *, side_by_side: bool) -> int:
    """Serve until a signal says that it is to end; the exit code. `side_by_side`: several runs at the same time.

    Raises what the store or its records say that cannot be worked with, once all runs have been stopped.
    """
    _read_nothing()
    with Signals() as signals, Notifier() as service, _registered(job):
        service.ready(f"serves {job.name!r}")
        return _Worker(job, terms, signals, side_by_side=side_by_side).serve()


class _Worker:
    def __init__(self, job: Job, terms: Terms, signals: Signals, *, side_by_side: bool) -> None:
        self._job = job
        self._terms = terms
        self._signals = signals
        self._side_by_side = side_by_side
        self._claiming: Future[Claimed] | None = None
        self._runs: list[SlotRun] = []
        self._told: int | None = None
        self._error: BaseException | None = None

    def serve(self) -> int:
        try:
            while not (self._ending and not self._runs):
                self._look()
        finally:
            self._claim_no_more()
        if self._error is not None:
            raise self._error
        assert self._told is not None
        return exit_codes.OK if self._told == signal.SIGTERM else exit_codes.SIGNALLED + self._told

    @property
    def _ending(self) -> bool:
        return self._told is not None or self._error is not None

    def _look(self) -> None:
        for number in self._signals.take():
            self._hear(number)
        if not self._ending:
            self._claim()
        self._runs = [run for run in self._runs if not run.step()]
        if self._ending and not self._runs:
            return
        sleeps_s = [sleep_s for run in self._runs if (sleep_s := run.sleep_s()) is not None]
        filenos = [fileno for run in self._runs for fileno in run.filenos()]
        self._signals.wait(filenos, min(sleeps_s, default=IDLE_S))

    def _hear(self, number: int) -> None:
        if number not in ENDING:
            for run in self._runs:
                run.pass_on(number)
            return
        if self._told is None:
            self._told = number
            self._end(number)

    def _end(self, number: int) -> None:
        self._claim_no_more()
        for run in self._runs:
            run.stop(number)

    def _claim(self) -> None:
        """Have one claim under way, and begin the run that it gave."""
        if self._claiming is None:
            self._claiming = engine.get().submit(self._job.next_run())
            self._claiming.add_done_callback(lambda _: self._signals.wake())
        # A run whose leadership was lost may still be ending here while its slot is claimed anew.
        if not self._claiming.done() or (self._runs and not self._side_by_side):
            return
        claiming, self._claiming = self._claiming, None
        try:
            claimed = claiming.result()
        except Exception as error:  # noqa: BLE001 (raised again when all runs have ended)
            self._error = error
            self._end(signal.SIGTERM)
            return
        self._runs.append(SlotRun(self._job, claimed, self._terms, self._signals))
        self._runs[-1].begin()

    def _claim_no_more(self) -> None:
        """What is claimed in this very moment is let go of: its run has not begun, and counts as lost."""
        if self._claiming is None:
            return
        claiming, self._claiming = self._claiming, None
        released: list[Future[None]] = []

        def release(claimed: Claimed) -> None:
            released.append(engine.get().submit(claimed.election.release(claimed.tenure, RELEASE_TIMEOUT_S)))

        engine.get().abandon(claiming, release)
        wait([claiming], CLOSE_TIMEOUT_S)
        wait(released, CLOSE_TIMEOUT_S)


@contextmanager
def _registered(job: Job) -> Iterator[None]:
    """Shown among the job's workers."""
    keeping = engine.get().submit(job.keep_registered())
    try:
        yield
    finally:
        engine.get().abandon(keeping)
        wait([keeping], CLOSE_TIMEOUT_S)


def _read_nothing() -> None:
    """Nobody is there to type for a command that starts at three in the morning, and Ctrl-C is for leasekit."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
