"""The data that handles share, and the watches on it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from leasekit.backends.memory.state import MemoryState, matches
from leasekit.clock import Clock
from leasekit.store import Changed, Resync

# Timers do not count suspend, so a waiting watch looks at the clock at least this often while leases live.
_LOOK_S = 1.0

_T = TypeVar("_T")

Watches = weakref.WeakKeyDictionary["MemoryWatch", None]
"""In the order in which they came: what is simulated is to go the same way each time."""


class SharedData:
    """A state that handles in several loops, each in its own thread, may use."""

    def __init__(self) -> None:
        self.state = MemoryState()
        self.lock = threading.Lock()
        # A change is to wake few of many watches, so those of single keys are found by them.
        self._of_key: dict[str, Watches] = {}
        self._of_prefix: Watches = Watches()

    def use(self, action: Callable[[MemoryState], _T]) -> _T:
        """Do `action` alone, then wake the watches that its changes concern."""
        with self.lock:
            before = self.state.revision
            try:
                return action(self.state)
            finally:
                if self.state.revision != before:
                    self._wake(before)

    def add(self, watch: MemoryWatch) -> None:
        """Wake it from now on. Call this under the lock, as `discard`."""
        (self._of_prefix if watch.prefix else self._of_key.setdefault(watch.key, Watches()))[watch] = None

    def discard(self, watch: MemoryWatch) -> None:
        """Wake it no more."""
        self._of_prefix.pop(watch, None)
        if (same := self._of_key.get(watch.key)) is not None:
            same.pop(watch, None)
            if not same:
                del self._of_key[watch.key]

    def _wake(self, after: int) -> None:
        changes = self.state.changes("", prefix=True, after=after)
        if isinstance(changes, Resync):
            concerned = [*self._of_prefix, *(watch for same in self._of_key.values() for watch in same)]
        else:
            concerned = [watch for watch in self._of_prefix if any(watch.concerns(change) for change in changes)]
            keys = dict.fromkeys(change.key for change in changes)
            concerned += [watch for key in keys for watch in self._of_key.get(key, ())]
        for watch in concerned:
            watch.wake()


class MemoryWatch(AsyncIterator[Changed | Resync]):
    """Tells the changes of a key, or of the keys under a prefix, from the log that the state keeps."""

    def __init__(self, data: SharedData, clock: Clock, root: str, key: str, *, prefix: bool, after: int) -> None:
        self._data = data
        self._clock = clock
        self._root = root
        self.key = root + key
        """The whole key, or what it begins with."""
        self.prefix = prefix
        self._after = after
        self._pending: deque[Changed | Resync] = deque()
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __aiter__(self) -> MemoryWatch:
        return self

    async def __anext__(self) -> Changed | Resync:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            with self._data.lock:
                self._data.add(self)
        while not self._closed:
            if not self._pending:
                self._woken.clear()
                wait_s = self._data.use(self._look)
            if self._pending:
                return self._pending.popleft()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the watch; whoever waits for its next change gets StopAsyncIteration."""
        self._closed = True
        self._pending.clear()
        self._woken.set()
        with self._data.lock:
            self._data.discard(self)

    def concerns(self, change: Changed) -> bool:
        """Whether this watch is to tell `change`."""
        return matches(change, self.key, prefix=self.prefix)

    def wake(self) -> None:
        """Look again; callable from any thread."""
        # The loop may have been closed without closing the watch.
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._woken.set)

    def _look(self, state: MemoryState) -> float | None:
        """Take what is new; returns how long to wait before looking again, None for until woken."""
        now_s = self._clock.now().boot_s
        state.expire(now_s)
        found = state.changes(self.key, prefix=self.prefix, after=self._after)
        self._after = state.revision
        if isinstance(found, Resync):
            self._pending.append(found)
        else:
            self._pending.extend(self._seen(change) for change in found)
        next_s = state.next_expiry_s()
        return None if next_s is None else min(next_s - now_s, _LOOK_S)

    def _seen(self, change: Changed) -> Changed:
        key = change.key.removeprefix(self._root)
        return Changed(key, change.entry and replace(change.entry, key=key), change.revision)
