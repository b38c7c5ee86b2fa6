"""A process's surroundings in a test: whatever store it names is in memory, and time is the test's."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from leasekit import connection, engine, schemes, sync
from leasekit.backends.memory import MemoryStore
from leasekit.connection import Connection
from leasekit.core.records import Keys
from leasekit.election import ElectionCore
from leasekit.store import Store
from leasekit.testing.faulty_store import FaultyStore
from leasekit.testing.stepped import SteppedClock
from leasekit.urls import StoreURL

MOMENT_S = 0.1
"""In which what follows an election at leisure is done: the leader's watch, the line in the history."""


class StoreInMemory:
    """Stands for every store that the program under test names, by URL, by LEASEKIT_STORE or not at all.

    Different URLs are different stores; each begins empty in every test.
    """

    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock
        self._name = uuid.uuid4().hex
        self._networks: list[FaultyStore] = []
        self._others: dict[str | None, Connection] = {}
        self._down = False

    def go_down(self) -> None:
        """Let the program under test reach no store: requests are refused, and watches stand still."""
        self._down = True
        for network in self._networks:
            network.go_down()

    def come_up(self) -> None:
        """Let it reach them again."""
        self._down = False
        for network in self._networks:
            network.come_up()
        self._clock.settle()

    def depose(self, election: str, store: str | None = None) -> bool:
        """End the lease of whoever leads, as an operator does by force: the leadership is lost when this returns.

        Args:
            election: its name.
            store: the URL of its store, if the program names one.

        Returns False if nobody leads.
        """

        async def revoke() -> bool:
            held = self._elsewhere(store).store
            entry = await held.get(Keys(election).leader, timeout_s=1)
            if entry is None or entry.lease_id is None:
                return False
            await held.revoke(entry.lease_id, timeout_s=1)
            return True

        self._clock.advance(MOMENT_S)
        deposed = self._clock.engine.run(revoke())
        self._clock.advance(MOMENT_S)
        return deposed

    def elsewhere(self, election: str, store: str | None = None, **settings: Any) -> sync.Election:
        """A candidate in another process, as it were: with a lease of its own, and not cut off by `go_down`."""
        return sync.Election(election, sync.ConnectedStore(self._elsewhere(store)), **settings)

    def open(self, url: StoreURL) -> Store:
        """What a connection opens in place of the store it names."""
        network = FaultyStore(self._memory(url))
        if self._down:
            network.go_down()
        self._networks.append(network)
        return network

    def _elsewhere(self, url: str | None) -> Connection:
        """What other processes reach that store by."""
        if url not in self._others:
            with mock.patch.object(schemes, "opener", return_value=self._memory):
                self._others[url] = Connection(url)
        return self._others[url]

    def _memory(self, url: StoreURL) -> Store:
        return MemoryStore(f"{self._name}-{url.redacted}", self._clock, prefix=url.prefix)


@contextmanager
def surroundings() -> Iterator[tuple[SteppedClock, StoreInMemory]]:
    """Put everything that this process does with leasekit on a test's clock and store, and put it back at the end.

    Connections and elections that were made before (at the top of a module, say) are moved over too.
    """
    clock = SteppedClock()
    store = StoreInMemory(clock)
    with ExitStack() as undo:
        undo.callback(clock.engine.stop)
        defaults = {**(Connection.__init__.__kwdefaults__ or {}), "clock": clock}
        undo.enter_context(mock.patch.object(Connection.__init__, "__kwdefaults__", defaults))
        undo.enter_context(mock.patch.object(schemes, "opener", return_value=store.open))
        undo.enter_context(mock.patch.object(connection, "_shared", {}))
        undo.enter_context(mock.patch.object(engine, "_engine", clock.engine))
        undo.enter_context(_electors_made_anew())
        before = connection.every_open()
        for moved in before:
            undo.enter_context(_moved(moved, clock, store))
        try:
            yield clock, store
        finally:
            store.come_up()
            _close_all(clock)


def _close_all(clock: SteppedClock) -> None:
    ours = [opened for opened in connection.every_open() if opened.clock is clock]
    closing = [clock.engine.submit(opened.aclose(timeout_s=5)) for opened in ours]
    while not all(each.done() for each in (*closing, *clock.engine.finishing)):
        clock.advance(1)


@contextmanager
def _moved(moved: Connection, clock: SteppedClock, store: StoreInMemory) -> Iterator[None]:
    """A connection that was there before: its store, leases and leaderships are laid aside meanwhile."""
    kept = dict(vars(moved))
    moved.clock, moved._open = clock, store.open
    moved._begin()
    try:
        yield
    finally:
        vars(moved).update(kept)


@contextmanager
def _electors_made_anew() -> Iterator[None]:
    """An election keeps its driver; one that was made before, or lives on, must not meet that of another test."""
    used: weakref.WeakSet[ElectionCore] = weakref.WeakSet()
    original = ElectionCore.elector

    def elector(core: ElectionCore) -> Any:
        if core not in used:
            laid_aside[id(core)] = core._elector
            core._elector = None
            used.add(core)
        return original(core)

    laid_aside: dict[int, Any] = {}
    with mock.patch.object(ElectionCore, "elector", elector):
        yield
    for core in list(used):
        core._elector = laid_aside[id(core)]
