"""Stopping the work when its leadership ends: what each `stop` policy of `@singleton` does.

Work is stopped, and awaited, before the leadership is released; renewals go on meanwhile (DESIGN section 5, rule 6).
What an operator wished for, a transfer perhaps, is done on the way out of the leadership's `with`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from leasekit.core.records import RequestRecord
from leasekit.errors import LeadershipLost, LossReason
from leasekit.leadership import LeadershipBase
from leasekit.tenure import Tenure

if TYPE_CHECKING:
    from leasekit import aio, sync

R = TypeVar("R")

EXIT_CODE_LOST = 79
LONGEST_SLEEP_S = 0.1
"""Between two looks at the clock: no sleep counts suspend."""
TELLING_S = 1.0
_log = logging.getLogger("leasekit")


class LeadershipInterrupt(BaseException):
    """Raised inside a function that runs with `stop="interrupt"`, when it must end. Do not swallow it."""


def default_grace_s(ttl_s: float) -> float:
    """How long before the deadline stopping begins unless told otherwise, in seconds."""
    return min(5.0, ttl_s / 3)


class StopSignal:
    """Says when the work must begin to stop, and why: the leadership is over, an operator asked, or time runs short."""

    def __init__(self, tenure: Tenure, grace_s: float) -> None:
        self._tenure = tenure
        self._grace_s = grace_s
        self._requested: RequestRecord | None = None
        self._news = threading.Event()
        self._listeners: list[Callable[[], object]] = []
        tenure.on_request = self._request
        tenure.on_end(lambda _reason: self._ring())

    @property
    def reason(self) -> LossReason | None:
        """Why the work must stop now; None while it may go on."""
        if (loss := self._tenure.loss) is not None:
            return loss
        if self._requested is not None:
            return LossReason.RESIGNED if self._requested.to is None else LossReason.TRANSFERRED
        return LossReason.DEADLINE if self._tenure.remaining_s <= self._grace_s else None

    def next_look_s(self) -> float:
        """How long to wait before `reason` is worth asking again, unless `ring` tells first."""
        return min(LONGEST_SLEEP_S, max(0.001, self._tenure.remaining_s - self._grace_s))

    def wait(self, timeout_s: float) -> None:
        """Wait for news, from a thread."""
        self._news.wait(timeout_s)

    def on_news(self, listener: Callable[[], object]) -> None:
        """Have `listener` called, from any thread, when there may be a reason."""
        self._listeners.append(listener)
        if self._news.is_set():
            listener()

    def _request(self, request: RequestRecord) -> None:
        self._requested = request
        self._ring()

    def _ring(self) -> None:
        self._news.set()
        for listener in self._listeners:
            listener()


def lost(leadership: LeadershipBase, reason: LossReason) -> LeadershipLost:
    """The error for a job whose leadership ended before it did."""
    return LeadershipLost(reason, election=leadership.election, token=leadership.token)


# Asynchronous work.


async def run_async(
    leadership: aio.Leadership, policy: str, grace_s: float, work: Callable[[], Coroutine[Any, Any, R]]
) -> R:
    """Run `work()` to its end, or stop it as the policy says; LeadershipLost if the leadership ended first."""
    if policy == "cancel":
        return await _cancelling(leadership, grace_s, work)
    with _exit_guard(leadership, grace_s) if policy == "exit" else contextlib.nullcontext():
        result = await work()
    leadership.check()
    return result


async def _cancelling(leadership: aio.Leadership, grace_s: float, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
    stop = StopSignal(leadership.tenure, grace_s)
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    stop.on_news(lambda: None if loop.is_closed() else loop.call_soon_threadsafe(news.set))
    task = asyncio.ensure_future(work())
    reason = None
    try:
        while not task.done() and (reason := stop.reason) is None:
            waiting = asyncio.ensure_future(news.wait())
            await asyncio.wait([task, waiting], timeout=stop.next_look_s(), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
    finally:
        # Also when this call itself is cancelled: the work is awaited before the leadership is released.
        await _cancel(task)
    if reason is None:
        reason = leadership.reason
    if reason is None or (task.done() and not task.cancelled() and task.exception() is not None):
        return task.result()
    raise lost(leadership, reason)


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Cancel `task` and wait until it has ended. Being cancelled meanwhile cancels it once more, and waits on."""
    interrupted = False
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            interrupted = True
    if interrupted:
        raise asyncio.CancelledError


# Synchronous work.


def run_sync(
    leadership: sync.Leadership,
    policy: str,
    grace_s: float,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run the function to its end, or stop it as the policy says; LeadershipLost if the leadership ended first."""
    if policy == "process":
        from leasekit.spawned import run_in_process

        return run_in_process(leadership, grace_s, function, args, kwargs)
    if policy == "interrupt":
        return _Interruptible(leadership, grace_s, lambda: function(*args, **kwargs)).run()
    with _exit_guard(leadership, grace_s) if policy == "exit" else contextlib.nullcontext():
        result = function(*args, **kwargs)
    leadership.check()
    return result


class _Interruptible:
    """A function in a thread of its own, in which an exception can be raised from outside.

    The lock keeps the exception inside the user's code: it is raised only while `_inside`, and the thread leaves
    `_inside` only under the lock, taking back an exception that was sent but has not arrived.
    """

    def __init__(self, leadership: sync.Leadership, grace_s: float, function: Callable[[], Any]) -> None:
        self._leadership = leadership
        self._stop = StopSignal(leadership.tenure, grace_s)
        self._function = function
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        """Set once the thread has begun."""
        self._inside = False
        self._over = False
        self._result: Any = None
        self._error: BaseException | None = None
        # Not the thread's own `join`: one that Ctrl-C interrupts takes the thread for ended (Python 3.11, 3.12).
        self._ended = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="leasekit-job", daemon=True)

    def run(self) -> Any:
        reason = None
        try:
            # Inside, since Ctrl-C may come when the work has begun and `start` has not returned yet.
            self._thread.start()
            while not self._ended.is_set() and (reason := self._stop.reason) is None:
                self._ended.wait(self._stop.next_look_s())
        finally:
            # Also on Ctrl-C here: the work ends before the leadership is released.
            if self._interrupt():
                self._ended.wait()
        reason = reason or self._leadership.reason
        if self._error is not None and not isinstance(self._error, LeadershipInterrupt):
            raise self._error
        if reason is not None:
            raise lost(self._leadership, reason)
        return self._result

    def _work(self) -> None:
        with self._lock:
            if self._over:
                return
            self._thread_id, self._inside = threading.get_ident(), True
        try:
            try:
                self._result = self._function()
            finally:
                with self._lock:
                    self._inside = False
                    _raise_in(self._thread_id, None)
        except BaseException as error:  # noqa: BLE001 (raised again in the calling thread)
            self._error = error
        finally:
            self._ended.set()

    def _interrupt(self) -> bool:
        """End the work; returns whether it has begun. If it has not, it never will."""
        with self._lock:
            self._over = True
            if self._thread_id is not None and self._inside:
                _raise_in(self._thread_id, LeadershipInterrupt)
            return self._thread_id is not None


def _raise_in(thread_id: int, error: type[BaseException] | None) -> None:
    """Have `error` raised in that thread before its next bytecode; None takes back one that has not arrived."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), error and ctypes.py_object(error))


@contextlib.contextmanager
def _exit_guard(leadership: LeadershipBase, grace_s: float) -> Any:
    """While the body runs, end this process by the deadline: TERM when time runs short, exit 79 when it is out."""
    stop = StopSignal(leadership.tenure, grace_s)
    done = threading.Event()

    def guard() -> None:
        while (reason := stop.reason) is None:
            if done.wait(stop.next_look_s()):
                return
        tenure = leadership.tenure
        _say_that_it_ends(tenure, reason, grace_s)
        os.kill(os.getpid(), signal.SIGTERM)
        # Lost at once (superseded, revoked), there is no deadline to wait for, but the grace is still given.
        give_up_at = tenure.clock.now().plus(min(grace_s, tenure.remaining_s) if tenure.loss is None else grace_s)
        while not tenure.clock.now().reached(give_up_at):
            if done.wait(min(LONGEST_SLEEP_S, max(0.001, tenure.clock.now().until(give_up_at)))):
                return
        os._exit(EXIT_CODE_LOST)

    thread = threading.Thread(target=guard, name="leasekit-exit-guard", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        # The leadership is let go of next, which a guard that still looks would take for a loss.
        thread.join()


def _say_that_it_ends(tenure: Tenure, reason: LossReason, grace_s: float) -> None:
    """In a thread of its own, and not waited for at length: a log that blocks does not keep this process alive."""
    what = "leadership of %r, token %d, is over or must not be relied on much longer (%s): this process ends"
    telling = threading.Thread(
        target=_log.warning, args=(what, tenure.election, tenure.token, reason.value), daemon=True
    )
    with contextlib.suppress(RuntimeError):  # no more threads are to be had
        telling.start()
        telling.join(min(TELLING_S, grace_s / 5))
