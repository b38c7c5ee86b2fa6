"""A worker for one asynchronous job: a task that claims its slots, and a task for each run, all on one loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from leasekit.errors import LossReason
from leasekit.retry import UNANSWERED
from leasekit.schedule.verdict import Exiting, ask_to_stop, is_forked, tell, verdict
from leasekit.stopping import lost, run_async

if TYPE_CHECKING:
    from leasekit.schedule.aio import Run, Slots
    from leasekit.schedule.threads import Work

_log = logging.getLogger("leasekit")


class TaskWorker:
    """Serves one job until `end`. To be used on the loop that it is served on."""

    def __init__(self, slots: Slots, work: Work) -> None:
        self._slots = slots
        self._work = work
        self._ending = asyncio.Event()
        self._halted = False
        self._error: BaseException | None = None
        self._runs: dict[asyncio.Task[None], Run] = {}

    async def serve(self) -> None:
        """Claim and run until `end`, then until the runs have ended. Raises what ended it without being told to.

        Cancelled, it cancels the runs, and waits for them.
        """
        try:
            async with self._slots.serving():
                while (run := await self._slots.next_run(self._ending)) is not None:
                    task = asyncio.create_task(self._do(run), name=f"leasekit-run-{run.name}")
                    self._runs[task] = run
                    task.add_done_callback(self._runs.pop)
        except asyncio.CancelledError:
            await self._cancel_runs()
            raise
        except Exception as error:  # noqa: BLE001 (raised again once the runs have ended)
            self._fail(error)
        try:
            while self._runs:
                await asyncio.wait(self._runs)
        except asyncio.CancelledError:
            await self._cancel_runs()
            raise
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Claim nothing more."""
        self._ending.set()

    def halt(self) -> None:
        """`end`, and stop the runs in the way of their stop policy."""
        self._halted = True
        self._ending.set()
        for run in list(self._runs.values()):
            ask_to_stop(run.leadership)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._ending.set()

    async def _cancel_runs(self) -> None:
        self._halted = True
        while self._runs:
            for task in list(self._runs):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(self._runs)

    # The task of a run.

    async def _do(self, run: Run) -> None:
        error: BaseException | None = None
        try:
            async with run:
                try:
                    await self._work_under(run)
                except asyncio.CancelledError as cancelled:
                    # The outcome is written all the same: whoever cancelled waits for this task.
                    error = cancelled
                except Exception as raised:  # noqa: BLE001 (it is the outcome)
                    error = raised
                if is_forked(run.leadership):
                    return
                if self._halted and isinstance(error, asyncio.CancelledError):
                    error = lost(run.leadership, run.leadership.reason or LossReason.RESIGNED)
                outcome, detail = verdict(run.leadership, error)
                tell(run, outcome, detail, error)
                await run.finish(outcome, detail)
        except UNANSWERED as unanswered:
            _log.warning("job %r: the end of a run could not be told to the store: %s", run.name, unanswered)
        except Exception as failure:  # noqa: BLE001 (raised again out of `serve`)
            self._fail(failure)
        if isinstance(error, Exiting):
            self._fail(error.wanted)

    async def _work_under(self, run: Run) -> None:
        if self._halted:
            raise lost(run.leadership, run.leadership.reason or LossReason.RESIGNED)
        await run_async(run.leadership, self._work.policy, self._work.grace_s, self._call)

    async def _call(self) -> Any:
        try:
            return await self._work.function()
        except (SystemExit, KeyboardInterrupt) as wanted:
            raise Exiting(wanted) from wanted
