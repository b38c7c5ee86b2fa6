"""What one store URL stands for in a process: the store, its keepers and electors. Both faces show a connection.

Opening does no I/O, so servers that load an application and then fork stay safe: after a fork the child starts with a
fresh store and nothing of the parent's (DESIGN section 13).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from leasekit import engine, journal, schemes, urls
from leasekit.clock import SYSTEM_CLOCK, Clock
from leasekit.core.records import Keys
from leasekit.errors import ConfigError
from leasekit.store import Store

if TYPE_CHECKING:
    from leasekit.elector import Elector
    from leasekit.history import History
    from leasekit.keeper import Keeper
    from leasekit.tenure import Tenure

STORE_VARIABLE = "LEASEKIT_STORE"

# Held while the engine's thread loads what is loaded on first use. A fork waits for it: else the child could inherit
# a module that is half loaded and whose import nobody ends, and wait for it for ever.
loading = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=loading.acquire, after_in_parent=loading.release, after_in_child=loading.release)
EXIT_TIMEOUT_S = 2.0
STORE_CLOSE_TIMEOUT_S = 1.0
"""What the store contract allows."""
_LOOKS = 10


class Connection:
    """A store, opened from a URL (None: from LEASEKIT_STORE, or else the SQLite file of this user on this host)."""

    def __init__(self, url: str | None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        given = url if url is not None else os.environ.get(STORE_VARIABLE)
        self.is_default = not given
        self._url = urls.parse(given or "sqlite://")
        self._open = schemes.opener(self._url.scheme)
        self.clock = clock
        self.journal = journal.of_process()
        self.random = Random(SystemRandom().getrandbits(64))
        """Jitter; used on the engine's loop alone."""
        self._closed = False
        self._begin()
        _connections[id(self)] = self

    def _begin(self) -> None:
        """A store for this process."""
        self._store: Store = self._open(self._url)
        self._keepers: dict[float, Keeper] = {}
        self._histories: dict[str, History] = {}
        self._electors: weakref.WeakValueDictionary[tuple[str, str, float], Elector] = weakref.WeakValueDictionary()
        self._pid = os.getpid()  # last: who sees it, in whatever thread, sees the rest

    @property
    def store(self) -> Store:
        """The store; a new one after a fork. Raises ConfigError once closed."""
        if self._closed:
            raise ConfigError("store", "this connection was closed; connect anew")
        if self._pid != os.getpid():
            with _lock:
                if self._pid != os.getpid():
                    # Kept for good: to collect it would be to close, from here, what the parent is using.
                    _inherited.append((self._store, self._keepers, self._histories, list(self._electors.values())))
                    self._begin()
        return self._store

    @property
    def url(self) -> str:
        """The store's URL without any secret."""
        return self.store.url

    def elector(self, *, election: str, id: str, ttl_s: float, priority: int, meta: Mapping[str, Any]) -> Elector:
        """The driver of this candidate: the same for whoever names the same one. Call on the engine's loop."""
        with loading:
            from leasekit.core.contest import Setup
            from leasekit.elector import Elector
            from leasekit.history import History

        store = self.store
        setup = Setup(
            keys=Keys(election),
            id=id,
            host=socket.gethostname(),
            pid=os.getpid(),
            priority=priority,
            compares_empty=store.capabilities.compares_empty,
            meta=tuple(meta.items()),
        )
        elector = self._electors.get((election, id, ttl_s))
        if elector is not None:
            elector.setup = setup
            return elector
        if election not in self._histories:
            self._histories[election] = History(setup.keys, store, self.clock)
        history = self._histories[election]
        elector = Elector(
            setup,
            store,
            self._keeper(ttl_s),
            history,
            clock=self.clock,
            random=self.random,
            journal=self.journal,
        )
        self._electors[election, id, ttl_s] = elector
        return elector

    async def forget_election(self, election: str) -> None:
        """Nobody here will campaign in it again: its history is written now, and kept in mind no longer."""
        if (history := self._histories.pop(election, None)) is not None:
            await history.flush()

    def _keeper(self, ttl_s: float) -> Keeper:
        with loading:
            from leasekit.keeper import Keeper

        if ttl_s not in self._keepers:
            self._keepers[ttl_s] = Keeper(self.store, ttl_s, clock=self.clock, random=self.random, journal=self.journal)
        return self._keepers[ttl_s]

    async def aclose(self, *, timeout_s: float) -> None:
        """Leaderships end (reason `closed`), leases are given back, connections go, all within `timeout_s`."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        for elector in list(self._electors.values()):
            elector.close()
        # A turn of the loop, in which the electors hear of the ends and the histories get their lines.
        await asyncio.sleep(0)
        keepers, self._keepers = list(self._keepers.values()), {}
        # Revoking a lease ends all that stands on it, by one request.
        # The last step is given what the contract allows it: cut short, it would leave sockets open.
        store_s = min(STORE_CLOSE_TIMEOUT_S, timeout_s / 2)
        step_s = (timeout_s - store_s) / 2
        await _within(step_s, [keeper.aclose(timeout_s=step_s) for keeper in keepers])
        await _within(step_s, [history.flush() for history in self._histories.values()])
        await _within(store_s, [self._store.aclose()])

    def tenures(self) -> list[Tenure]:
        """The leaderships held over this connection now."""
        return [elector.tenure for elector in self.electors() if elector.tenure is not None]

    def electors(self) -> list[Elector]:
        """The candidates of this process, whether they campaign or not. From any thread."""
        if self._pid != os.getpid():  # those are the parent's
            return []
        return [elector for ref in self._electors.valuerefs() if (elector := ref()) is not None]

    def keepers(self) -> list[Keeper]:
        """The keepers of this process's leases. From any thread."""
        return [] if self._pid != os.getpid() else list(self._keepers.values())

    def __repr__(self) -> str:
        return f"<leasekit connection to {self._url.redacted}>"

    def __del__(self) -> None:
        # Nobody can close it any more, and its sockets and its idle lease are still there.
        if getattr(self, "_pid", None) == os.getpid() and not self._closed and engine.running():
            engine.get().finish(self.aclose(timeout_s=EXIT_TIMEOUT_S))


async def _within(limit_s: float, work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all of it, at the same time, as far as it gets in `limit_s` seconds and whatever the store says to it."""
    doing = [asyncio.ensure_future(one) for one in work]
    pending = set(doing)
    try:
        # In several looks: a pause of the process uses up one of them, and cuts nothing short that needs a moment more.
        for _ in range(_LOOKS):
            if pending:
                _, pending = await asyncio.wait(pending, timeout=limit_s / _LOOKS)
    finally:
        for one in pending:
            one.cancel()
        await asyncio.gather(*doing, return_exceptions=True)


_connections: weakref.WeakValueDictionary[int, Connection] = weakref.WeakValueDictionary()
_shared: dict[str | None, Connection] = {}
_lock = threading.Lock()
_inherited: list[object] = []


def shared(url: str | None) -> Connection:
    """The process's one connection for this URL: elections that name a store alike share its lease and its stream."""
    with _lock:
        connection = _shared.get(url)
        if connection is None or connection._closed:
            connection = _shared[url] = Connection(url)
        return connection


def every_open() -> list[Connection]:
    """The open connections of this process. From any thread."""
    # Not by iterating: another thread may open one meanwhile.
    known = [connection for ref in _connections.valuerefs() if (connection := ref()) is not None]
    return [connection for connection in known if not connection._closed]


def _close_all() -> None:
    if not engine.running():
        return
    open_now, closing_now = every_open(), engine.get().finishing
    if not (open_now or closing_now):
        return

    async def close() -> None:
        # Each ends in that time by itself; cut off there as well, the last step, which closes sockets, would be lost.
        closing = [connection.aclose(timeout_s=EXIT_TIMEOUT_S) for connection in open_now]
        await asyncio.gather(*closing, *map(asyncio.wrap_future, closing_now), return_exceptions=True)

    with contextlib.suppress(TimeoutError):
        engine.get().submit(close()).exception(timeout=EXIT_TIMEOUT_S + 1)


def _forget_locks() -> None:
    global _lock
    _lock = threading.Lock()


engine.before_exit(_close_all, first=True)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
