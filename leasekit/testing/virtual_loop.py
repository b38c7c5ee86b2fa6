"""An asyncio loop on virtual time: where it would wait, it moves a `ManualClock` forward instead.

Code that sleeps, retries and times out runs at once, and the same way each time. Only what lives in the loop takes
part: sockets, subprocesses and threads go by real time, so a wait for one of them looks like a deadlock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from leasekit.testing.clock import ManualClock

_T = TypeVar("_T")


class DeadlockError(RuntimeError):
    """Nothing is ready and nothing is scheduled: the named tasks would wait for ever."""


class VirtualTimeExceeded(RuntimeError):
    """More virtual time passed than the test allowed."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs on `clock`, whose raw clock is the loop's time. Raises `DeadlockError` where a real loop would hang."""

    def __init__(self, clock: ManualClock, *, limit_s: float | None = None) -> None:
        """`limit_s`: how much virtual time may pass before `VirtualTimeExceeded`; None for no limit."""
        self._clock = clock
        super().__init__(_JumpingSelector(self, clock, limit_s))

    def time(self) -> float:
        return self._clock.now().raw_s


class _JumpingSelector(selectors.SelectSelector):
    """Reports what is ready now; where nothing is, jumps to the next timer."""

    def __init__(self, loop: VirtualLoop, clock: ManualClock, limit_s: float | None) -> None:
        super().__init__()
        self._loop = loop
        self._clock = clock
        self._limit_s = limit_s
        self._passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise DeadlockError(f"nothing is ready or scheduled; waiting: {_describe_tasks(self._loop)}")
        self._passed_s += timeout
        if self._limit_s is not None and self._passed_s > self._limit_s:
            # Raised once, so that cancelled tasks can still take their time to end.
            limit_s, self._limit_s = self._limit_s, None
            raise VirtualTimeExceeded(f"not done after {limit_s:g} s; waiting: {_describe_tasks(self._loop)}")
        self._clock.advance(timeout)
        return ready


def run_virtual(
    main: Coroutine[Any, Any, _T], clock: ManualClock | None = None, *, limit_s: float | None = 86_400.0
) -> _T:
    """Run `main` to its end on virtual time, as `asyncio.run` would; returns what it returns.

    Raises:
        DeadlockError: `main` waits for something that nothing will ever do.
        VirtualTimeExceeded: `main` is not done after `limit_s` virtual seconds.
    """
    clock = clock or ManualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, limit_s=limit_s)) as runner:
        return runner.run(main)


def _describe_tasks(loop: asyncio.AbstractEventLoop) -> str:
    pending = [task for task in asyncio.all_tasks(loop) if not task.done()]
    return "; ".join(sorted(_describe(task) for task in pending)) or "no task"


def _describe(task: asyncio.Task[Any]) -> str:
    coroutine = getattr(task.get_coro(), "__qualname__", "?")
    stack = task.get_stack(limit=1)
    where = f" at {stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else ""
    return f"{task.get_name()} ({coroutine}){where}"
