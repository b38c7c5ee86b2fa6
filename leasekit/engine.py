"""The one background thread, with one asyncio loop, in which a process does all of leasekit's I/O.

It starts on first use. Renewals never wait for user code, and user code never runs here. The synchronous face blocks
on the futures that `submit` gives, `leasekit.aio` awaits them: there is one implementation behind both.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from leasekit import greenlets

T = TypeVar("T")


class Engine:
    """A thread that runs an asyncio loop (a new one, unless one is given) until `stop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        greenlets.check()
        self.loop = loop or asyncio.new_event_loop()
        self._unheard: set[Future[Any]] = set()
        self._finishing: set[Future[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="leasekit-engine", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the loop. To cancel it, `abandon` what this returns; its result may still come first."""
        outcome: Future[T] = Future()
        self._submit(work, outcome)
        return outcome

    def finish(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work`, which ends in bounded time, even if nobody waits for it any more. The process's end does."""
        outcome: Future[T] = Future()
        self._finishing.add(outcome)
        outcome.add_done_callback(self._finishing.discard)
        self._submit(work, outcome)
        return outcome

    @property
    def finishing(self) -> list[Future[Any]]:
        """What `finish` was given and is not done yet."""
        return list(self._finishing)

    def _submit(self, work: Coroutine[Any, Any, T], outcome: Future[T]) -> None:
        def start() -> None:
            if not outcome.set_running_or_notify_cancel():
                work.close()
                return
            # A running concurrent future cannot be cancelled, so cancellation goes by way of the task.
            task = _tasks[outcome] = self.loop.create_task(run())
            task.add_done_callback(never_began)

        async def run() -> None:
            # Told from within, since a task's callbacks come a turn of the loop later. That none is left matters too:
            # it would hold a leadership that the caller drops, and have it resigned too late for what is asked next.
            _tasks[outcome].remove_done_callback(never_began)
            try:
                result = await work
            except BaseException as error:  # noqa: BLE001 (whoever waits is told, whatever it is)
                if over():
                    outcome.set_exception(error)
            else:
                if over():
                    outcome.set_result(result)

        def over() -> bool:
            """Nothing runs any more. Whether anybody is to hear how it ended."""
            _tasks.pop(outcome, None)
            return outcome not in self._unheard

        def never_began(_task: asyncio.Task[None]) -> None:
            work.close()
            if over():
                outcome.set_exception(asyncio.CancelledError())

        self.loop.call_soon_threadsafe(start)

    def run(self, work: Coroutine[Any, Any, T], *, discard: Callable[[T], object] | None = None) -> T:
        """Run `work` and wait for it. An interrupt (Ctrl-C) abandons it and goes on its way."""
        outcome: Future[T] | None = None
        try:
            # Inside, so that no interrupt falls between them.
            outcome = Future()
            self._submit(work, outcome)
            return outcome.result()
        except BaseException:
            if outcome is None:
                work.close()
                raise
            self.abandon(outcome, discard)
            # Interrupted before it was handed over, nobody else closes it. The loop comes to this after the cancelling.
            self.call(lambda sent: work.close() if sent.cancelled() else None, outcome)
            raise

    def abandon(self, outcome: Future[T], discard: Callable[[T], object] | None = None) -> None:
        """Cancel what `submit` started. A result that comes all the same, or has come, is handed to `discard`."""

        def cancel() -> None:
            if not outcome.cancel() and (task := _tasks.get(outcome)) is not None:
                task.cancel()

        def finish(outcome: Future[T]) -> None:
            if discard is not None and not outcome.cancelled() and outcome.exception() is None:
                discard(outcome.result())

        self.call(cancel)
        outcome.add_done_callback(finish)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call `function` on the loop, soon; return at once. From any thread. After the end, nothing is called."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(function, *args)

    def hush(self) -> None:
        """The process ends: threads that wait for something now (daemons all) are not to wake up just to fail."""
        self._unheard.update(_tasks.keys() - self._finishing)

    def stop(self) -> None:
        """End the thread. What still runs on it is cancelled."""

        async def cancel_all() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=1.0) if others else None
            await self.loop.shutdown_asyncgens()
            self.loop.stop()

        asyncio.run_coroutine_threadsafe(cancel_all(), self.loop)
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive():
            self.loop.close()


_tasks: dict[Future[Any], asyncio.Task[Any]] = {}
_engine: Engine | None = None
_lock = threading.Lock()
_at_exit: list[Callable[[], None]] = []
_inherited: list[object] = []


def get() -> Engine:
    """The engine of this process; started if need be."""
    global _engine
    if _engine is None:
        with _lock:
            if _engine is None:
                _engine = Engine()
    return _engine


def running() -> bool:
    """Whether this process has an engine, and it was not stopped yet."""
    return _engine is not None and not _engine.loop.is_closed()


def awaited() -> bool:
    """Whether something that was submitted is not done yet."""
    return bool(_tasks)


def before_exit(function: Callable[[], None], *, first: bool = False) -> None:
    """Have `function` called when the process ends normally, before the engine stops.

    `first`: before the others, since it still has something to tell them.
    """
    _at_exit.insert(0 if first else len(_at_exit), function)


def _exit() -> None:
    if _engine is not None:
        _engine.hush()
    try:
        for function in _at_exit:
            function()
    finally:
        if _engine is not None:
            _engine.stop()


def _forget() -> None:
    """In a forked child the engine's thread does not exist, and its locks may be held for ever.

    Nothing of it is collected: that would run the `finally` blocks of its tasks, and close what the parent is using.
    """
    global _engine, _lock, _tasks
    if _engine is not None:
        _inherited.append((_engine, _tasks, asyncio.all_tasks(_engine.loop)))
    _engine = None
    _lock = threading.Lock()
    _tasks = {}


atexit.register(_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
