"""A worker for one synchronous job: a thread that claims its slots, and a thread for each run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leasekit.errors import LossReason
from leasekit.retry import UNANSWERED
from leasekit.schedule.ending import Ending
from leasekit.schedule.records import Outcome
from leasekit.schedule.verdict import NEVER_BEGAN, ask_to_stop, is_forked, tell, verdict
from leasekit.stopping import lost, run_sync

if TYPE_CHECKING:
    from leasekit.schedule.slots import Run, Slots

_log = logging.getLogger("leasekit")


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done for a slot, and how it is stopped."""

    function: Callable[..., Any]
    policy: str
    grace_s: float


class ThreadWorker:
    """Serves one job until `end`. Its threads are daemons: a job that cannot be stopped does not keep the process."""

    def __init__(self, slots: Slots, work: Work) -> None:
        self.error: BaseException | None = None
        """Why it ended without being told to."""
        self.begun = threading.Event()
        """Set by the claiming thread before it claims anything."""
        self.over = threading.Event()
        """Set once nothing is claimed or run here any more."""
        self._slots = slots
        self._work = work
        self._ending = Ending()
        self._halted = False
        self._lock = threading.Lock()
        self._runs: dict[Run, threading.Event] = {}
        self._news: Callable[[], object] = lambda: None

    def start(self, news: Callable[[], object]) -> None:
        """Begin; `news()` is called when it is over."""
        self._news = news
        threading.Thread(target=self._serve, name=f"leasekit-cron-{self._slots.name}", daemon=True).start()

    def end(self) -> None:
        """Claim nothing more; `over` comes when the runs have ended."""
        self._ending.set()

    def halt(self) -> None:
        """`end`, and stop the runs in the way of their stop policy."""
        with self._lock:
            self._halted = True
            running = list(self._runs)
        self._ending.set()
        for run in running:
            ask_to_stop(run.leadership)

    # The claiming thread.

    def _serve(self) -> None:
        self.begun.set()
        try:
            with self._slots.serving():
                while (run := self._slots.next_run(self._ending)) is not None:
                    self._begin(run)
        except BaseException as error:  # noqa: BLE001 (raised again out of `serve`)
            self._fail(error)
        for ended in list(self._runs.values()):
            ended.wait()
        self.over.set()
        self._news()

    def _begin(self, run: Run) -> None:
        with self._lock:
            self._runs[run] = threading.Event()
        try:
            threading.Thread(target=self._do, args=(run,), name=f"leasekit-run-{run.name}", daemon=True).start()
        except RuntimeError:  # no more threads are to be had: this process can serve nobody
            with self._lock:
                del self._runs[run]
            run.finish(Outcome.LOST, NEVER_BEGAN)
            raise

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error
        self._ending.set()

    # The thread of a run.

    def _do(self, run: Run) -> None:
        error: BaseException | None = None
        try:
            with run:
                try:
                    self._work_under(run)
                except BaseException as raised:  # noqa: BLE001 (it is the outcome)
                    error = raised
                if is_forked(run.leadership):
                    return
                outcome, detail = verdict(run.leadership, error)
                tell(run, outcome, detail, error)
                run.finish(outcome, detail)
        except UNANSWERED as unanswered:
            _log.warning("job %r: the end of a run could not be told to the store: %s", run.name, unanswered)
        except BaseException as failure:  # noqa: BLE001 (raised again out of `serve`)
            self._fail(failure)
        finally:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                self._fail(error)
            with self._lock:
                ended = self._runs.pop(run)
            ended.set()

    def _work_under(self, run: Run) -> None:
        if self._halted:
            # `halt` came between the claim and the leadership's `with`: there was nobody to ask yet.
            raise lost(run.leadership, LossReason.RESIGNED)
        function, args = self._work.function, tuple[Any, ...]()
        if self._work.policy == "process":
            from leasekit.schedule.inherited import in_child

            function, args = in_child, (function.__module__, function.__qualname__, run.name, run.slot, run.attempt)
        run_sync(run.leadership, self._work.policy, self._work.grace_s, function, args, {})
