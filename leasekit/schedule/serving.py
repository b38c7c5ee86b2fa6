"""`serve`: the workers of several jobs together, from the blocking and from the asynchronous face."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from leasekit.clock import SYSTEM_CLOCK
from leasekit.errors import ConfigError
from leasekit.schedule.tasks import TaskWorker

STOP_POLL_S = 0.1
"""How often a `threading.Event` given by the user is asked: there is no waiting for one of two."""

LONGEST_WAIT_S = 1.0
"""A signal that comes in the moment before a wait begins does not end it: Python looks for signals before and after."""


class Crew(Protocol):
    """What serves jobs in threads of its own."""

    begun: threading.Event
    """Set by its own thread, before that looks whether it is to end, and claims anything."""
    over: threading.Event
    error: BaseException | None

    def start(self, news: Callable[[], object]) -> None: ...
    def end(self) -> None: ...
    def halt(self) -> None: ...


def check_drain(drain_s: float | None) -> None:
    """Refuse what is no span of time."""
    if drain_s is not None and not drain_s >= 0:
        raise ConfigError("drain_s", f"is {drain_s}; it cannot be negative")


def serve_in_threads(crews: Sequence[Crew], stop: threading.Event | None, drain_s: float | None) -> None:
    """Serve until `stop` is set or a crew fails; ends when all runs have, and raises what failed first.

    An exception here (Ctrl-C) stops the runs and waits for them; a second one leaves at once.
    """
    news = threading.Event()
    try:
        for crew in crews:
            crew.start(news.set)
        while not news.wait(LONGEST_WAIT_S if stop is None else STOP_POLL_S):
            if stop is not None and stop.is_set():
                break
        for crew in crews:
            crew.end()
        if not _all_over(crews, drain_s):
            for crew in crews:
                crew.halt()
            _all_over(crews, None)
    except BaseException:
        for crew in crews:
            crew.halt()
        # An interrupt can come amid a start. A thread that has not begun by now finds that it is to end, and claims nothing.
        _all_over([crew for crew in crews if crew.begun.is_set()], None)
        raise
    for crew in crews:
        if crew.error is not None:
            raise crew.error


def _all_over(crews: Sequence[Crew], timeout_s: float | None) -> bool:
    give_up_at = None if timeout_s is None else SYSTEM_CLOCK.now().plus(timeout_s)
    for crew in crews:
        while not crew.over.is_set():
            left_s = LONGEST_WAIT_S if give_up_at is None else SYSTEM_CLOCK.now().until(give_up_at)
            if left_s <= 0:
                return False
            crew.over.wait(min(left_s, LONGEST_WAIT_S))
    return True


async def serve_on_loop(workers: Sequence[TaskWorker], stop: asyncio.Event | None, drain_s: float | None) -> None:
    """The same on the running loop. Cancelled, it stops the runs and waits for them; cancelled again, it cancels them."""
    serving = [asyncio.create_task(worker.serve()) for worker in workers]
    stopping = asyncio.create_task(stop.wait()) if stop is not None else None
    try:
        first = [*serving] if stopping is None else [*serving, stopping]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            worker.end()
        _, pending = await asyncio.wait(serving, timeout=drain_s)
        if pending:
            for worker in workers:
                worker.halt()
            await asyncio.wait(pending)
    except asyncio.CancelledError:
        for worker in workers:
            worker.halt()
        await _to_the_end(serving)
        raise
    finally:
        if stopping is not None:
            stopping.cancel()
    for task in serving:
        task.result()


async def _to_the_end(serving: Sequence[asyncio.Task[None]]) -> None:
    while not all(task.done() for task in serving):
        try:
            await asyncio.wait(serving)
        except asyncio.CancelledError:
            for task in serving:
                task.cancel()
    for task in serving:
        # Looked at, so that it is not reported as never retrieved.
        with contextlib.suppress(BaseException):
            task.result()


class LoopCrew:
    """Asynchronous jobs in a thread with a loop of its own, for who serves them from blocking code."""

    def __init__(self, make: Callable[[], Sequence[TaskWorker]]) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()
        self.error: BaseException | None = None
        self._make = make
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: Sequence[TaskWorker] = ()
        self._orders: list[Callable[[TaskWorker], object]] = []

    def start(self, news: Callable[[], object]) -> None:
        """Begin; `news()` is called when it is over."""
        threading.Thread(target=self._run, args=(news,), name="leasekit-cron-loop", daemon=True).start()

    def end(self) -> None:
        self._order(TaskWorker.end)

    def halt(self) -> None:
        self._order(TaskWorker.halt)

    def _order(self, order: Callable[[TaskWorker], object]) -> None:
        with self._lock:
            self._orders.append(order)
            if self._loop is not None:
                # The loop may be about to close: then everything has ended already.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._obey)

    def _obey(self) -> None:
        with self._lock:
            orders, self._orders = self._orders, []
        for order in orders:
            for worker in self._workers:
                order(worker)

    def _run(self, news: Callable[[], object]) -> None:
        self.begun.set()
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 (raised again out of `serve`)
            self.error = error
        self.over.set()
        news()

    async def _serve(self) -> None:
        self._workers = self._make()
        with self._lock:
            self._loop = asyncio.get_running_loop()
        self._obey()
        await serve_on_loop(self._workers, None, None)
