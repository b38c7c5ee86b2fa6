"""leasekit's thread on time that a test moves by hand, for tests of programs on leasekit.

A `VirtualLoop` runs by itself; here the program under test has threads and loops of its own. So time stands still until
the test moves it, and goes by at its own pace only while the program waits for leasekit: for a campaign, say, or a release.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from typing import ParamSpec, TypeVar

from leasekit import engine
from leasekit.clock import SYSTEM_CLOCK, Instant
from leasekit.testing.clock import ManualClock
from leasekit.testing.virtual_loop import VirtualTimeExceeded

P = ParamSpec("P")
R = TypeVar("R")

SETTLE_LIMIT_S = 30.0
"""Of real time. leasekit's thread waits for nothing outside when its store is in memory."""
SHORTEST_STEP_S = 1e-9
LONGEST_STEP_S = 1.0
REAL_STEP_S = 0.005
RUN_LIMIT_S = 600.0


class SteppedClock(ManualClock):
    """A clock that stands still until `advance`, and leasekit's timers with it; see above."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._loop = _SteppedLoop(self)
        self.engine = engine.Engine(self._loop)
        """To be the process's engine; `stop` it at the end."""

    def advance(self, duration_s: float) -> None:
        """Let this many seconds pass, and all that leasekit does in them happen. Returns when it is at rest.

        Call it from the test, in whatever thread; in an async test await what you expect to happen afterwards.
        """
        if duration_s < 0:
            raise ValueError(f"time does not go back ({duration_s} s); step_wall() moves the wall clock alone")
        left_s = duration_s
        while True:
            next_s = self._loop.settle()
            if left_s <= 0:
                return
            step_s = left_s if next_s is None else min(left_s, max(next_s, SHORTEST_STEP_S))
            self.pass_by(step_s)
            left_s -= step_s

    def now(self) -> Instant:
        with self._lock:
            return super().now()

    def pass_by(self, duration_s: float) -> None:
        """Move the clock alone: nothing that is due has happened yet."""
        with self._lock:
            super().advance(duration_s)

    def settle(self) -> None:
        """Let all happen that is due now."""
        self._loop.settle()

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` in a thread while time passes by itself, and return what it returns: for calls that wait.

        Ten minutes pass in about 4 s at most.

        Raises:
            VirtualTimeExceeded: it is not done after ten minutes of this clock.
        """
        outcome: Future[R] = Future()

        def call() -> None:
            try:
                outcome.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 (raised again in the calling thread)
                outcome.set_exception(error)

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(call,), name="leasekit-test", daemon=True).start()
        began = self.now()
        while not wait([outcome], REAL_STEP_S).done:
            self._step(began, function)
        return outcome.result()

    async def wait_for(self, awaitable: Awaitable[R]) -> R:
        """Await it while time passes by itself: what `run` is for async tests."""
        task = asyncio.ensure_future(awaitable)
        began = self.now()
        while not (await asyncio.wait([task], timeout=REAL_STEP_S))[0]:
            self._step(began, awaitable)
        return task.result()

    def _step(self, began: Instant, what: object) -> None:
        """To the next timer, but not far, since the program has a life of its own."""
        if self.now().boot_s - began.boot_s > RUN_LIMIT_S:
            raise VirtualTimeExceeded(f"{what!r} is not done after {RUN_LIMIT_S:g} s")
        next_s = self._loop.settle()
        self.advance(LONGEST_STEP_S if next_s is None else min(next_s, LONGEST_STEP_S))


class _SteppedLoop(asyncio.SelectorEventLoop):
    """Its time is the clock's: where another loop waits for a timer, this one waits until the clock was moved."""

    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock
        self._resting = _RestingSelector(clock)
        super().__init__(self._resting)

    def time(self) -> float:
        return self._clock.now().raw_s

    def settle(self) -> float | None:
        """Wait, in another thread, until nothing is left to do now; the seconds until the next timer, None without one."""
        rest: Future[float | None] = Future()
        self.call_soon_threadsafe(self._resting.tell, rest)
        return rest.result(SETTLE_LIMIT_S)


class _RestingSelector(selectors.SelectSelector):
    """Where nothing is ready, says so, and waits: without end, or for the timer if somebody waits for leasekit."""

    def __init__(self, clock: SteppedClock) -> None:
        super().__init__()
        self._clock = clock
        self._told: list[Future[float | None]] = []

    def tell(self, rest: Future[float | None]) -> None:
        """Let `rest` know, once nothing is ready, how long a loop with timers would wait. On the loop's thread."""
        self._told.append(rest)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        told, self._told = self._told, []
        for rest in told:
            rest.set_result(timeout)
        if not engine.awaited():
            return super().select(None)
        began = SYSTEM_CLOCK.now()
        ready = super().select(timeout)
        self._clock.pass_by(SYSTEM_CLOCK.now().boot_s - began.boot_s)
        return ready
