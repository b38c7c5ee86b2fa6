"""Observing an election: the state now, then the latest state at each change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from leasekit.changes import changes
from leasekit.election import ElectionCore, Leader, leader_of
from leasekit.errors import ProtocolError
from leasekit.store import Entry


class ObservationClosed(Exception):
    """Nobody observes here any more."""


class Observation:
    """One observer. Lives on the engine's loop; a slow consumer sees the latest state, not every one."""

    def __init__(self, election: ElectionCore) -> None:
        self._election = election
        self._latest: Leader | None = None
        self._news = asyncio.Event()
        self._error: Exception | None = None
        self._ended = False
        self._told: tuple[Leader | None] | None = None
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._follow())

    async def next(self) -> Leader | None:
        """The state, once it differs from the one told last. Raises ObservationClosed after `close`."""
        while True:
            await self._news.wait()
            if self._ended:
                raise ObservationClosed
            if self._error is not None:
                raise self._error
            self._news.clear()
            if self._told is None or self._told[0] != self._latest:
                self._told = (self._latest,)
                return self._latest

    def told_in_vain(self, state: Leader | None) -> None:
        """What `next` returned did not arrive, since the wait for it was interrupted: it tells it again. From any thread."""

        def take_back() -> None:
            if self._told == (state,):
                self._told = None
                self._news.set()

        self._call(take_back)

    async def close(self) -> None:
        """Stop; whoever waits for news is released."""
        self._end()
        self._task.cancel()

    def forget(self) -> None:
        """Nobody refers to the observer any more. From any thread."""
        self._call(self._task.cancel)

    def _call(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            self._loop.call_soon_threadsafe(function)

    def _end(self) -> None:
        self._ended = True
        self._news.set()

    async def _follow(self) -> None:
        try:
            connection, key = self._election.connection, self._election.keys.leader
            store, random = connection.store, connection.random
            after = await self._look()
            async for change in changes(store, key, after=after, look=self._look, random=random):
                self._show(change.entry)
            self._end()  # the connection was closed
        except Exception as error:  # noqa: BLE001 (a fault in a store's code as well: nobody is to wait for ever)
            self._error = error
            self._news.set()

    async def _look(self) -> int:
        entry, revision = await self._election.look()
        self._show(entry)
        return revision

    def _show(self, entry: Entry | None) -> None:
        self._election.connection.journal.saw(self._election.name, None, entry)
        try:
            self._latest = leader_of(entry)
        except ProtocolError as error:
            self._error = error
        self._news.set()
