"""The blocking face: what `import leasekit` gives. Every call may be made from any thread but the engine's own."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from types import TracebackType
from typing import Any, Self, TypeVar

from leasekit import engine, operate
from leasekit.connection import Connection, shared
from leasekit.core.records import PastLeadership
from leasekit.election import DEFAULT_TTL_S, RELEASE_TIMEOUT_S, Candidate, ElectionCore, Leader
from leasekit.errors import LeadershipLost, LossReason
from leasekit.leadership import LeadershipBase, current_leadership
from leasekit.observe import Observation, ObservationClosed

T = TypeVar("T")
STOP_POLL_S = 0.1


class ConnectedStore:
    """A store as `connect` gives it: hand it to elections, close it at the end. A context manager."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def url(self) -> str:
        """Where it is, without any secret."""
        return self.connection.url

    def close(self, timeout_s: float = 5.0) -> None:
        """End every leadership held over it (reason `closed`), give its leases back, disconnect.

        Ends within `timeout_s` seconds also while the store is down; the leases then run out by
        themselves. Stop the work first. An interrupt goes on its way, and so does the closing.
        """
        engine.get().finish(self.connection.aclose(timeout_s=timeout_s)).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self.connection)


def connect(url: str | None = None) -> ConnectedStore:
    """Open a store. Does no I/O yet.

    Args:
        url: for example `etcd://h1:2379,h2:2379/prod`, `consul+tls://h:8501?ca=ca.pem`, `sqlite:////var/lib/x.db`.
            None: LEASEKIT_STORE, or else a SQLite file of this user on this host.

    Raises:
        ConfigError: the URL is malformed or its scheme unknown; `field` and the message say what to mend.
    """
    return ConnectedStore(Connection(url))


class Leadership(LeadershipBase):
    """One leadership held by this process. Use it with `with`: it resigns on the way out."""

    def wait_lost(self, timeout_s: float | None = None) -> LossReason | None:
        """Block until it is over, and say why; None if `timeout_s` seconds pass first."""
        return self._tenure.wait(timeout_s)

    def add_lost_callback(self, callback: Callable[[LossReason], object]) -> None:
        """Call `callback(reason)` once when it is over, however it ends; at once if it is. In a thread of its own."""
        self._tenure.on_end(
            lambda reason: threading.Thread(
                target=callback, args=(reason,), name="leasekit-lost-callback", daemon=True
            ).start()
        )

    def resign(self, timeout_s: float = RELEASE_TIMEOUT_S) -> None:
        """Let go. Stop the work first. Belief ends at once; returns when the store has confirmed it, or after
        `timeout_s` seconds: then the record is removed later, or runs out. Does nothing if it is over."""
        if self._held:
            # Not `run`: an interrupt goes on its way, and the leadership ends all the same.
            outcome = engine.get().submit(self._core.resign(self._tenure, timeout_s))
            self._letting_go = True
            outcome.result()
            self._let_go = True

    def transfer(self, to: str, timeout_s: float = RELEASE_TIMEOUT_S) -> bool:
        """Hand over to the candidate with id `to`. Stop the work first.

        Returns True when `to` leads; False if it went away in the meantime: then this has resigned instead.

        Raises:
            ConfigError: no such candidate queues. Nothing has changed.
            LeadershipLost: it was over before.
            StoreUnavailable: the store did not answer. Nothing has changed; try again.
            OutcomeUnknown: the store did not confirm it. This has ended in any case; ask `Election.leader()` who leads.
        """
        transferred = engine.get().run(self._core.transfer(self._tenure, to, timeout_s))
        self._let_go = True
        return transferred

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._leave()
        if self._held:
            # As in `resign`.
            outcome = engine.get().submit(self._core.release(self._tenure, RELEASE_TIMEOUT_S))
            self._letting_go = True
            outcome.result()
            self._let_go = True


class Election:
    """A named contest for one leadership, and this process's candidate in it.

    What only asks (`leader`, `candidates`, `history`) raises StoreUnavailable if the store does not answer within 5 s.

    Args:
        name: letters, digits and `. _ : @ + -`, at most 200.
        store: what `connect` gave, or a URL, or None for the default; elections that name it alike share one lease.
        id: the candidate's id, unique in the election; None: `host-pid-random`.
        ttl_s: time to live of the lease in seconds: about how long a crash leaves the place empty.
        priority: higher ones stand further ahead in the queue.
        meta: anything that is JSON, shown with the leader and the candidate.

    Raises:
        ConfigError: naming the field and how to mend it.
    """

    def __init__(
        self,
        name: str,
        store: ConnectedStore | str | None = None,
        *,
        id: str | None = None,
        ttl_s: float = DEFAULT_TTL_S,
        priority: int = 0,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        connection = store.connection if isinstance(store, ConnectedStore) else shared(store)
        self._core = ElectionCore(name, connection=connection, id=id, ttl_s=ttl_s, priority=priority, meta=meta)

    @property
    def name(self) -> str:
        """The election's name."""
        return self._core.name

    @property
    def id(self) -> str:
        """This candidate's id."""
        return self._core.id

    def campaign(self, timeout_s: float | None = None) -> Leadership:
        """Queue until elected.

        Raises:
            NotElected: `timeout_s` seconds passed first. Nothing is held.
            ConfigError: this candidate already campaigns or leads, or its id is another process's.
            AuthError: the store refuses the credentials.
        """
        return engine.get().run(self._elected(timeout_s), discard=_discard)

    def try_campaign(self) -> Leadership | None:
        """Become the leader if nobody leads and nobody queues; else None at once. Raises as `campaign` does, and
        StoreUnavailable if the store does not answer within 5 s."""

        async def elected() -> Leadership | None:
            tenure = await self._core.try_campaign()
            return None if tenure is None else Leadership(tenure, self._core)

        return engine.get().run(elected(), discard=_discard)

    def leader(self) -> Leader | None:
        """Who leads now, by a linearizable read; None if nobody does."""
        return engine.get().run(self._core.leader())

    def candidates(self) -> list[Candidate]:
        """Who queues now, first in the queue first. The leader's own key is among them."""
        return engine.get().run(self._core.candidates())

    def history(self, limit: int = 20) -> list[PastLeadership]:
        """The last leaderships, the newest last; at most 64 are kept."""
        return engine.get().run(self._core.history(limit))

    def observe(self) -> Observer:
        """Iterate over who leads: now, and the latest state at each change. Close it, or use it with `with`."""
        return Observer(self._core)

    def run(self, work: Callable[[Leadership], T], stop: threading.Event | None = None) -> T | None:
        """Campaign, do `work(leadership)`, and campaign again if the leadership was lost before it returned.

        Returns what `work` returns; None if `stop` was set while campaigning. The work looks at `leadership.check()`
        itself, and at `stop`.
        """
        while (leadership := self._campaign_until(stop)) is not None:
            with leadership:
                try:
                    result = work(leadership)
                except LeadershipLost:
                    if leadership.valid:
                        raise
                    continue
                if leadership.valid or leadership.let_go:
                    return result
        return None

    def ask_to_resign(self, timeout_s: float = operate.ANSWER_TIMEOUT_S) -> bool:
        """Ask the present leader, whichever process it is, to resign. True once it has (or nobody leads)."""
        return engine.get().run(operate.ask(self._core, "resign", None, timeout_s))

    def ask_to_transfer(self, to: str, timeout_s: float = operate.ANSWER_TIMEOUT_S) -> bool:
        """Ask the present leader to transfer to the candidate `to`. True once `to` leads.

        Raises ConfigError if no such candidate queues.
        """
        return engine.get().run(operate.ask(self._core, "transfer", to, timeout_s))

    def force_resign(self, timeout_s: float = operate.ANSWER_TIMEOUT_S) -> bool:
        """Depose a leader that does not answer, and revoke its lease: *this ends every election of that process*.

        The next leader is elected one ttl later, when the old one surely no longer believes. False: nobody led, or
        the leader changed meanwhile.
        """
        return engine.get().run(operate.force_resign(self._core, timeout_s))

    async def _elected(self, timeout_s: float | None) -> Leadership:
        # Made on the engine, so that one which is lost on its way here (an interrupt) is unreferenced, and resigned.
        return Leadership(await self._core.campaign(timeout_s), self._core)

    def _campaign_until(self, stop: threading.Event | None) -> Leadership | None:
        if stop is None:
            return self.campaign()
        if stop.is_set():
            return None
        outcome = engine.get().submit(self._elected(None))
        try:
            while not stop.is_set():
                if wait([outcome], STOP_POLL_S).done:
                    return outcome.result()
        except BaseException:
            engine.get().abandon(outcome, _discard)
            raise
        engine.get().abandon(outcome, _discard)
        return None

    def __repr__(self) -> str:
        return f"<Election {self.name!r} over {self._core.connection.url}>"


def _discard(leadership: Leadership | None) -> None:
    """Elected in the moment in which the caller was interrupted: resign."""
    if leadership is not None:
        leadership.tenure.end(LossReason.RESIGNED)


class Observer(Iterator[Leader | None]):
    """An endless iterator of who leads; ends after `close`."""

    def __init__(self, core: ElectionCore) -> None:
        async def begin() -> Observation:
            return Observation(core)

        self._observation = engine.get().run(begin(), discard=Observation.forget)
        weakref.finalize(self, self._observation.forget).atexit = False

    def __next__(self) -> Leader | None:
        try:
            return engine.get().run(self._observation.next(), discard=self._observation.told_in_vain)
        except ObservationClosed:
            raise StopIteration from None

    def close(self) -> None:
        """End the iteration, also for another thread that waits in it."""
        engine.get().run(self._observation.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def current() -> Leadership:
    """The leadership that this code runs under. Raises LookupError where there is none."""
    leadership = current_leadership()
    if isinstance(leadership, Leadership):
        return leadership
    raise LookupError("this code runs under an asynchronous leadership: ask leasekit.aio.current()")
