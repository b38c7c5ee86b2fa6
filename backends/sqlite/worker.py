"""The one thread in which all of SQLite's work is done, so that the loop never waits for a disk."""

from __future__ import annotations

import asyncio
import enum
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from leasekit.backends.sqlite.database import Database
from leasekit.backends.sqlite.feed import Feed, SqliteWatch
from leasekit.errors import OutcomeUnknown, StoreUnavailable

# How often a waiting thread looks whether another process has written. A look costs about 0.1 ms of a core, wake-up included.
_POLL_S = 0.03
_CLOSE_WITHIN_S = 1.0

_T = TypeVar("_T")

Begin = Callable[[], None]
"""To be called before the first change, within the transaction; raises `TakenBack` when it is too late."""


class TakenBack(Exception):
    """Whoever asked does not wait any more, so it is not to be done."""


class _Job(Generic[_T]):
    """One call to be made in the thread, unless it is taken back before it begins to change anything."""

    def __init__(self, call: Callable[[Begin], _T]) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[_T] = self.loop.create_future()
        self._call = call
        self._decided = threading.Lock()

    def take_back(self) -> bool:
        """Whether it had not begun yet. If so, it never will."""
        return self._decided.acquire(blocking=False)

    def perform(self) -> None:
        if self._decided.locked():
            return
        try:
            result = self._call(self._begin)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is to hear of it
            self._tell(self._fail, error)
        else:
            self._tell(self._succeed, result)

    def _begin(self) -> None:
        if not self._decided.acquire(blocking=False):
            raise TakenBack

    def _tell(self, tell: Callable[[Any], None], outcome: object) -> None:
        # The loop may be closed, with nobody left to listen.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(tell, outcome)

    def _succeed(self, result: _T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def _fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Signal(enum.Enum):
    URGENT = enum.auto()
    STOP = enum.auto()


class Worker:
    """Runs calls one after the other in its thread, and the feed of changes between them."""

    def __init__(self, database: Database, root: str) -> None:
        self._database = database
        self._feed = Feed(database, root)
        # What comes out: a call, that there is one among the urgent, or that the thread is to end.
        self._queue: SimpleQueue[_Job[Any] | _Signal] = SimpleQueue()
        self._urgent: deque[_Job[Any]] = deque()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._closed = False

    async def run(self, call: Callable[[Begin], _T], timeout_s: float, *, urgent: bool = False) -> _T:
        """The result of `call`, made in the thread. It calls what it is given before it changes anything.

        `urgent`: before all calls that wait for their turn and are not. For renewals: they have little time, and what
        they keep alive is in use.

        Raises:
            StoreUnavailable: there is no thread any more, or the time ran out and nothing was or will be changed.
            OutcomeUnknown: the time ran out after the call had begun to change something.
        """
        self.ensure_usable()
        job = _Job(call)
        self._submit(job, urgent=urgent)
        try:
            async with asyncio.timeout(timeout_s):
                return await job.future
        except TimeoutError:
            if job.take_back():
                raise StoreUnavailable(f"{self._database.path}: could not begin in time: the disk is slow") from None
            raise OutcomeUnknown(f"{self._database.path}: the disk did not answer in time") from None
        finally:
            job.take_back()

    def attach(self, watch: SqliteWatch) -> None:
        """Tell `watch` its changes, from its revision on."""
        self.ensure_usable()
        self._submit(_Job(lambda _: self._feed.attach(watch)))

    def detach(self, watch: SqliteWatch) -> None:
        """Tell `watch` nothing more."""
        if self._thread is not None and not self._closed and self._pid == os.getpid():
            self._submit(_Job(lambda _: self._feed.detach(watch)))

    def stop(self) -> None:
        """Let the thread end when it has done what was asked of it so far."""
        self._queue.put(_Signal.STOP)

    async def aclose(self) -> None:
        """End the thread and close the file; does not wait for a disk that hangs."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        if self._thread is not None:
            closed = _Job(lambda _: self._database.close())
            self._queue.put(closed)
            self.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await closed.future

    def ensure_usable(self) -> None:
        """Raise StoreUnavailable after closing, and in a fork."""
        if self._closed:
            raise StoreUnavailable(f"{self._database.path}: this store was closed")
        if self._pid != os.getpid():
            raise StoreUnavailable(f"{self._database.path}: opened before a fork: connect anew in the child")

    def _submit(self, job: _Job[Any], *, urgent: bool = False) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="leasekit-sqlite", daemon=True)
            self._thread.start()
        if urgent:
            self._urgent.append(job)
        self._queue.put(_Signal.URGENT if urgent else job)

    def _main(self) -> None:
        while True:
            with suppress(Empty):
                job = self._queue.get(timeout=_POLL_S if self._feed.watched else None)
                if job is _Signal.STOP:
                    return
                while self._urgent:
                    self._perform(self._urgent.popleft())
                if isinstance(job, _Job):
                    self._perform(job)
                # Its reference would keep a result, or a watch that nobody listens to, until the next job.
                del job
            if self._feed.watched:
                with self._database.lock:
                    self._feed.poll()

    def _perform(self, job: _Job[Any]) -> None:
        with self._database.lock:
            job.perform()
