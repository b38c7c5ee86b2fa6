"""The asynchronous face: the names of `leasekit`, awaitable. Use it from any asyncio loop.

The work itself is done on leasekit's own thread, so renewals do not wait for a loop that is busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from leasekit import engine, operate
from leasekit.connection import Connection, shared
from leasekit.core.records import PastLeadership
from leasekit.election import DEFAULT_TTL_S, RELEASE_TIMEOUT_S, Candidate, ElectionCore, Leader
from leasekit.errors import LeadershipLost, LossReason
from leasekit.leadership import LeadershipBase, current_leadership
from leasekit.observe import Observation, ObservationClosed
from leasekit.tenure import LONGEST_WAIT_S

T = TypeVar("T")

if TYPE_CHECKING:
    from leasekit.schedule.aio import Run, Slots
    from leasekit.schedule.current import current_run_aio as current_run
    from leasekit.schedule.jobs import serve_async as serve

# What schedules need is loaded on first use: name here, home, name there.
_LATER = {
    "Run": ("leasekit.schedule.aio", "Run"),
    "Slots": ("leasekit.schedule.aio", "Slots"),
    "current_run": ("leasekit.schedule.current", "current_run_aio"),
    "serve": ("leasekit.schedule.jobs", "serve_async"),
}
__all__ = [
    "ConnectedStore",
    "Election",
    "Leadership",
    "Observer",
    "Run",
    "Slots",
    "connect",
    "current",
    "current_run",
    "serve",
]


if not TYPE_CHECKING:  # to a type checker it would say that every name exists

    def __getattr__(name: str) -> Any:
        import importlib

        if name in _LATER:
            home, there = _LATER[name]
            return getattr(importlib.import_module(home), there)
        raise AttributeError(f"module 'leasekit.aio' has no attribute {name!r}")


async def _on_engine(work: Coroutine[Any, Any, T], *, discard: Callable[[T], object] | None = None) -> T:
    """Run `work` on leasekit's thread. Cancelled here, it is cancelled there."""
    outcome = engine.get().submit(work)
    try:
        return await asyncio.wrap_future(outcome)
    except asyncio.CancelledError:
        engine.get().abandon(outcome, discard)
        raise


async def _to_its_end(work: Coroutine[Any, Any, object]) -> None:
    """Run `work`, which ends in bounded time, on leasekit's thread. Cancelled here, it goes on there.

    For letting go: cancelled before it began, it would leave a leadership in office that nobody works under.
    """
    outcome = engine.get().finish(work)
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    outcome.add_done_callback(lambda _: _call_soon(loop, done.set))
    await done.wait()
    outcome.result()


class ConnectedStore:
    """A store as `connect` gives it: hand it to elections, close it at the end. An async context manager."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def url(self) -> str:
        """Where it is, without any secret."""
        return self.connection.url

    async def close(self, timeout_s: float = 5.0) -> None:
        """End every leadership held over it (reason `closed`), give its leases back, disconnect.

        Ends within `timeout_s` seconds also while the store is down; the leases then run out by
        themselves. Stop the work first. Cancelling this does not stop the closing.
        """
        await _to_its_end(self.connection.aclose(timeout_s=timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self.connection)


def connect(url: str | None = None) -> ConnectedStore:
    """Open a store; does no I/O yet. See `leasekit.connect`."""
    return ConnectedStore(Connection(url))


class Leadership(LeadershipBase):
    """One leadership held by this process. Use it with `async with`: it resigns on the way out."""

    async def wait_lost(self, timeout_s: float | None = None) -> LossReason | None:
        """Wait until it is over, and say why; None if `timeout_s` seconds pass first."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell(_reason: LossReason) -> None:
            _call_soon(loop, over.set)

        async def wait() -> LossReason:
            while (reason := self._tenure.loss) is None:
                # No timer counts suspend, so the clock is asked now and then.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(max(0.001, self._tenure.remaining_s), LONGEST_WAIT_S)):
                        await over.wait()
            return reason

        self._tenure.on_end(tell)
        try:
            return await asyncio.wait_for(wait(), timeout_s)
        except TimeoutError:
            return self._tenure.loss
        finally:
            self._tenure.forget(tell)

    def add_lost_callback(self, callback: Callable[[LossReason], object]) -> None:
        """Call `callback(reason)` once when it is over, however it ends; at once if it is. On the running loop."""
        loop = asyncio.get_running_loop()
        self._tenure.on_end(lambda reason: _call_soon(loop, callback, reason))

    async def resign(self, timeout_s: float = RELEASE_TIMEOUT_S) -> None:
        """Let go. Stop the work first. Belief ends at once; returns when the store has confirmed it, or after
        `timeout_s` seconds: then the record is removed later, or runs out. Does nothing if it is over."""
        if self._held:
            self._letting_go = True
            await _to_its_end(self._core.resign(self._tenure, timeout_s))
            self._let_go = True

    async def transfer(self, to: str, timeout_s: float = RELEASE_TIMEOUT_S) -> bool:
        """Hand over to the candidate with id `to`. Stop the work first.

        Returns True when `to` leads; False if it went away in the meantime: then this has resigned instead.

        Raises:
            ConfigError: no such candidate queues. Nothing has changed.
            LeadershipLost: it was over before.
            StoreUnavailable: the store did not answer. Nothing has changed; try again.
            OutcomeUnknown: the store did not confirm it. This has ended in any case; ask `Election.leader()` who leads.
        """
        transferred = await _on_engine(self._core.transfer(self._tenure, to, timeout_s))
        self._let_go = True
        return transferred

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._leave()
        if self._held:
            self._letting_go = True
            await _to_its_end(self._core.release(self._tenure, RELEASE_TIMEOUT_S))
            self._let_go = True


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    """On a loop that may have been closed since: then there is nobody left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


class Campaign:
    """A campaign about to be run: await it for the Leadership, or enter it with `async with`."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, Leadership]]) -> None:
        self._run = run
        self._leadership: Leadership | None = None

    def __await__(self) -> Generator[Any, Any, Leadership]:
        return self._run().__await__()

    async def __aenter__(self) -> Leadership:
        self._leadership = await self._run()
        return await self._leadership.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._leadership is not None
        await self._leadership.__aexit__(kind, error, trace)


class Election:
    """A named contest for one leadership, and this process's candidate in it. Arguments as for `leasekit.Election`."""

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

    def campaign(self, timeout_s: float | None = None) -> Campaign:
        """Queue until elected. Raises as `leasekit.Election.campaign` does. Cancelling it withdraws."""

        async def run() -> Leadership:
            return await _on_engine(self._elected(timeout_s), discard=_discard)

        return Campaign(run)

    async def try_campaign(self) -> Leadership | None:
        """Become the leader if nobody leads and nobody queues; else None at once. Raises as `campaign` does, and
        StoreUnavailable if the store does not answer within 5 s."""

        async def elected() -> Leadership | None:
            tenure = await self._core.try_campaign()
            return None if tenure is None else Leadership(tenure, self._core)

        return await _on_engine(elected(), discard=_discard)

    async def leader(self) -> Leader | None:
        """Who leads now, by a linearizable read; None if nobody does."""
        return await _on_engine(self._core.leader())

    async def candidates(self) -> list[Candidate]:
        """Who queues now, first in the queue first. The leader's own key is among them."""
        return await _on_engine(self._core.candidates())

    async def history(self, limit: int = 20) -> list[PastLeadership]:
        """The last leaderships, the newest last; at most 64 are kept."""
        return await _on_engine(self._core.history(limit))

    def observe(self) -> Observer:
        """Iterate over who leads: now, and the latest state at each change. Close it, or use `async with`."""
        return Observer(self._core)

    async def run(self, work: Callable[[Leadership], Awaitable[T]], stop: asyncio.Event | None = None) -> T | None:
        """Campaign, await `work(leadership)`, and campaign again if the leadership was lost before it returned.

        Returns what `work` returns; None if `stop` was set while campaigning. The work looks at `leadership.check()`
        itself, and at `stop`.
        """
        while (leadership := await self._campaign_until(stop)) is not None:
            async with leadership:
                try:
                    result = await work(leadership)
                except LeadershipLost:
                    if leadership.valid:
                        raise
                    continue
                if leadership.valid or leadership.let_go:
                    return result
        return None

    async def ask_to_resign(self, timeout_s: float = operate.ANSWER_TIMEOUT_S) -> bool:
        """Ask the present leader, whichever process it is, to resign. True once it has (or nobody leads)."""
        return await _on_engine(operate.ask(self._core, "resign", None, timeout_s))

    async def ask_to_transfer(self, to: str, timeout_s: float = operate.ANSWER_TIMEOUT_S) -> bool:
        """Ask the present leader to transfer to the candidate `to`. True once `to` leads.

        Raises ConfigError if no such candidate queues.
        """
        return await _on_engine(operate.ask(self._core, "transfer", to, timeout_s))

    async def force_resign(self, timeout_s: float = operate.ANSWER_TIMEOUT_S) -> bool:
        """Depose a leader that does not answer, and revoke its lease: *this ends every election of that process*.

        The next leader is elected one ttl later, when the old one surely no longer believes. False: nobody led, or
        the leader changed meanwhile.
        """
        return await _on_engine(operate.force_resign(self._core, timeout_s))

    async def _elected(self, timeout_s: float | None) -> Leadership:
        return Leadership(await self._core.campaign(timeout_s), self._core)

    async def _campaign_until(self, stop: asyncio.Event | None) -> Leadership | None:
        if stop is None:
            return await self.campaign()
        if stop.is_set():
            return None

        async def elected() -> Leadership:
            return await self.campaign()

        campaign, stopping = asyncio.ensure_future(elected()), asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([campaign, stopping], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if campaign.done() and not campaign.cancelled() and campaign.exception() is None:
                _discard(campaign.result())
            raise
        finally:
            stopping.cancel()
            campaign.cancel()
        return campaign.result() if campaign.done() else None

    def __repr__(self) -> str:
        return f"<Election {self.name!r} over {self._core.connection.url}>"


def _discard(leadership: Leadership | None) -> None:
    """Elected in the moment in which the caller was cancelled: resign."""
    if leadership is not None:
        leadership.tenure.end(LossReason.RESIGNED)


class Observer(AsyncIterator[Leader | None]):
    """An endless asynchronous iterator of who leads; ends after `close`."""

    def __init__(self, core: ElectionCore) -> None:
        self._core = core
        self._observation: Observation | None = None
        self._closed = False

    async def _begin(self) -> Observation:
        return Observation(self._core)

    async def __anext__(self) -> Leader | None:
        if self._closed:
            raise StopAsyncIteration
        if self._observation is None:
            self._observation = await _on_engine(self._begin(), discard=Observation.forget)
            weakref.finalize(self, self._observation.forget).atexit = False
            if self._closed:  # meanwhile
                await self.close()
        try:
            return await _on_engine(self._observation.next(), discard=self._observation.told_in_vain)
        except ObservationClosed:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """End the iteration, also for another task that waits in it."""
        self._closed = True
        if self._observation is not None:
            await _on_engine(self._observation.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def current() -> Leadership:
    """The leadership that this code runs under. Raises LookupError where there is none."""
    leadership = current_leadership()
    if isinstance(leadership, Leadership):
        return leadership
    raise LookupError("this code runs under a synchronous leadership: ask leasekit.current()")
