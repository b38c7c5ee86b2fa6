"""Changes for the watches of one handle: noticed by the worker's thread, told in the watch's loop."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from leasekit.backends.sqlite.database import Database
from leasekit.backends.sqlite.failures import Busy
from leasekit.backends.sqlite.tables import Tables
from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Changed, Resync

Event = Changed | Resync


class SqliteWatch(AsyncIterator[Event]):
    """Tells the changes of a key, or of the keys under a prefix. Lives in the loop, save for `matches` and `tell`."""

    def __init__(
        self,
        root: str,
        key: str,
        *,
        prefix: bool,
        after: int,
        attach: Callable[[SqliteWatch], None],
        detach: Callable[[SqliteWatch], None],
    ) -> None:
        self.after = after
        self.full_key = root + key
        self._root = root
        self._prefix = prefix
        self._attach = attach
        self._detach = detach
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: deque[Event] = deque()
        self._failure: Exception | None = None
        self._woken = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> SqliteWatch:
        return self

    async def __anext__(self) -> Event:
        if self._loop is None and not self._closed:
            self._loop = asyncio.get_running_loop()
            self._attach(self)
        while not self._closed:
            if self._pending:
                return self._pending.popleft()
            if self._failure is not None:
                raise self._failure
            self._woken.clear()
            await self._woken.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the watch; whoever waits for its next change gets StopAsyncIteration."""
        if not self._closed:
            self._closed = True
            self._woken.set()
            if self._loop is not None:
                self._detach(self)

    def matches(self, change: Changed) -> bool:
        """Whether the change is one of this watch's. Keys are full ones."""
        return change.key.startswith(self.full_key) if self._prefix else change.key == self.full_key

    def tell(self, news: Sequence[Event] | Exception) -> None:
        """Hand over events, or what ends the watch. Called in the worker's thread."""
        # The loop may have been closed without closing the watch.
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._take, news)

    def _take(self, news: Sequence[Event] | Exception) -> None:
        if isinstance(news, Exception):
            self._failure = news
        else:
            self._pending.extend(self._seen(event) for event in news)
        self._woken.set()

    def _seen(self, event: Event) -> Event:
        if isinstance(event, Resync):
            return event
        key = event.key.removeprefix(self._root)
        return Changed(key, event.entry and replace(event.entry, key=key), event.revision)


class _News(NamedTuple):
    """What one look at the file showed."""

    told: list[tuple[SqliteWatch, Sequence[Event]]]
    revision: int
    file_id: bytes
    next_end_s: float | None


class Feed:
    """Looks for changes on behalf of all watches at once. Lives in the worker's thread."""

    def __init__(self, database: Database, root: str) -> None:
        self._database = database
        self._root = root
        self._watches: weakref.WeakSet[SqliteWatch] = weakref.WeakSet()
        self._new: weakref.WeakSet[SqliteWatch] = weakref.WeakSet()
        self._revision = 0
        self._file_id = b""
        self._next_end_s: float | None = None
        self._behind = False

    @property
    def watched(self) -> bool:
        """Whether anybody listens."""
        return bool(self._watches or self._new)

    def attach(self, watch: SqliteWatch) -> None:
        """Begin to tell `watch`, at the next poll."""
        self._new.add(watch)
        self._behind = True

    def detach(self, watch: SqliteWatch) -> None:
        """Tell `watch` nothing more."""
        self._new.discard(watch)
        self._watches.discard(watch)

    def poll(self) -> None:
        """Look, if there may be anything to see, and tell. What fails now is tried again at the next poll."""
        try:
            if self._database.changed() or self._behind or self._is_end_due():
                self._behind = True
                self._tell(self._database.read(self._look))
                self._behind = False
        except (Busy, StoreUnavailable, OutcomeUnknown):
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever listens is to hear of it
            for watch in [*self._watches, *self._new]:
                watch.tell(error)
                self.detach(watch)

    def _is_end_due(self) -> bool:
        return self._next_end_s is not None and self._database.now_s() >= self._next_end_s

    def _look(self, tables: Tables) -> _News:
        """What there is to tell. Nothing is noted yet: what was read is void if the transaction fails."""
        told: list[tuple[SqliteWatch, Sequence[Event]]] = []
        changes = tables.changes(self._revision, self._root)
        if self._file_id != tables.file_id:
            changes = Resync(tables.revision)
        for watch in list(self._watches):
            if isinstance(changes, Resync):
                told.append((watch, [changes]))
            elif mine := [change for change in changes if watch.matches(change)]:
                told.append((watch, mine))
        for watch in list(self._new):
            history = tables.changes(watch.after, watch.full_key)
            told.append((watch, [history] if isinstance(history, Resync) else [*filter(watch.matches, history)]))
        return _News(told, tables.revision, tables.file_id, tables.next_end_s())

    def _tell(self, news: _News) -> None:
        self._revision, self._file_id, self._next_end_s = news.revision, news.file_id, news.next_end_s
        for watch, events in news.told:
            self._new.discard(watch)
            self._watches.add(watch)
            if events:
                watch.tell(events)
