"""Watches: blocking queries, shared by whoever watches the same, and few of them however many watch.

An agent takes 200 connections from one address by default, and one process may have thousands of watches. So the first
`FEEDS_MAX` keys or prefixes have a blocking query each, which wakes for little else than their own changes; whoever
comes later is served by one query on the store's whole prefix.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import AsyncIterator, Iterable

from leasekit.backends.consul import failures, wire
from leasekit.backends.consul.agents import Agents
from leasekit.backends.consul.view import Reads, Target, View
from leasekit.errors import StoreUnavailable
from leasekit.store import Changed, Entry, Resync

FEEDS_MAX = 16

# How long one query waits. Short enough that an agent which hangs, or a network which was cut without a word, is
# noticed soon (and earlier by any other request that fails); long enough to cost next to nothing. Consul also goes on
# with a query after its client left.
WAIT_S = 10
# Consul lengthens each wait by up to a sixteenth; the rest is for the answer.
_ANSWER_S = WAIT_S * (1 + 1 / 16) + 2
_ANSWER_AT_ONCE_S = 3

# Between two queries of one feed: the more, the more often answers have shown nothing new.
_SPACING_S = 0.005
_SPACING_DOUBLINGS = 4
_BACK_OFF_S = (0.05, 1.0)
_CLOSE_S = 0.4

_EVERYTHING = Target("", prefix=True)


class Subscription(AsyncIterator[Changed | Resync]):
    """One watch. Of several changes of a key that nobody fetched yet it keeps the last."""

    def __init__(self, hub: WatchHub, target: Target, after: int) -> None:
        self.target = target
        self.after = after
        self.known = hub.reads.known(target, after)
        """What the target was as of `after`; None if this store did not read it."""
        self.begun = False
        """Whether it was told what happened between `after` and its feed's present view."""
        self._hub = hub
        self._joined = False
        self._pending: dict[str | None, Changed | Resync] = {}
        self._woken = asyncio.Event()
        self._error: BaseException | None = None
        self._ended = False

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Changed | Resync:
        if not self._joined:
            self._joined = True
            self._hub.join(self)
        while not self._pending:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._woken.clear()
            await self._woken.wait()
        return self._pending.pop(next(iter(self._pending)))

    async def aclose(self) -> None:
        """Stop watching."""
        self.end()
        self._hub.leave(self)

    def tell(self, changes: Iterable[Changed | Resync]) -> None:
        """Queue what its feed saw."""
        for change in changes:
            key = change.key if isinstance(change, Changed) else None
            self._pending.pop(key, None)
            self._pending[key] = change
        if self._pending:
            self._woken.set()

    def end(self, error: BaseException | None = None) -> None:
        """Let the iteration end, or raise `error`."""
        self._joined = self._ended = True
        self._error = self._error or error
        self._pending.clear()
        self._woken.set()


class WatchHub:
    """All watches of one store."""

    def __init__(self, agents: Agents, root: str) -> None:
        self._agents = agents
        self._root = root
        self.reads = Reads()
        self._feeds: dict[Target, _Feed] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        agents.on_move = self._move

    def watch(self, key: str, *, prefix: bool, after: int) -> Subscription:
        """A watch that starts when it is first asked for a change. Raises ConfigError for an impossible key."""
        wire.full_key(self._root, key)
        return Subscription(self, Target(key, prefix), after)

    @property
    def queries(self) -> int:
        """How many blocking queries are kept going."""
        return len(self._feeds)

    def join(self, subscription: Subscription) -> None:
        """Find or make the feed that serves `subscription`."""
        if self._closed:
            subscription.end()
            return
        target = subscription.target
        if target not in self._feeds and len(self._feeds.keys() - {_EVERYTHING}) >= FEEDS_MAX:
            target = _EVERYTHING
        feed = self._feeds.get(target)
        if feed is None or feed.task.done():
            feed = self._feeds[target] = _Feed(self._agents, self._root, target, self.reads)
            feed.task.add_done_callback(lambda _: self._finished(feed))
        feed.join(subscription)

    def leave(self, subscription: Subscription) -> None:
        """Forget `subscription`, and its feed if it was the last."""
        for feed in list(self._feeds.values()):
            feed.subscribers.discard(subscription)
            if not feed.subscribers:
                self._drop(feed)

    async def aclose(self) -> None:
        """End all watches."""
        self._closed = True
        for feed in list(self._feeds.values()):
            feed.end()
            self._drop(feed)
        if self._ending:
            await asyncio.wait(self._ending, timeout=_CLOSE_S)

    def _finished(self, feed: _Feed) -> None:
        # Refused credentials and the like; a fault of ours must not leave watchers waiting either.
        error = None if feed.task.cancelled() else feed.task.exception()
        if error is not None:
            feed.end(error)
        self._drop(feed)

    def _drop(self, feed: _Feed) -> None:
        feed.task.cancel()
        self._ending.add(feed.task)
        feed.task.add_done_callback(self._ending.discard)
        if self._feeds.get(feed.target) is feed:
            del self._feeds[feed.target]

    def _move(self) -> None:
        for feed in self._feeds.values():
            feed.interrupt()


class _Feed:
    """One blocking query, asked again and again, and whoever is told what it shows."""

    def __init__(self, agents: Agents, root: str, target: Target, reads: Reads) -> None:
        self.target = target
        # Weak, so that a watch which was dropped without being closed does not keep its query going.
        self.subscribers: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._agents = agents
        self._root = root
        self._reads = reads
        self._view = View()
        self._query: asyncio.Task[tuple[tuple[Entry, ...], int]] | None = None
        self._blocks = False
        self._lost = False
        self._random = random.Random()
        self.task = asyncio.create_task(self._run(), name=f"consul watch {target.key!r}")

    def join(self, subscription: Subscription) -> None:
        self.subscribers.add(subscription)
        # Its first answer must be one that was asked for after it came: an earlier one may be older than `after`.
        if self._blocks:
            self.interrupt()

    def interrupt(self) -> None:
        """Ask anew: somebody joined, or another agent is to be asked."""
        if self._query is not None:
            self._query.cancel()

    def end(self, error: BaseException | None = None) -> None:
        for subscription in list(self.subscribers):
            subscription.end(error)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failed = unchanged = 0
        while self.subscribers:
            try:
                answer = await self._next_answer()
            except StoreUnavailable:
                # Nothing is told of it: whoever must know whether the store answers has requests of its own.
                self._lost = True
                low_s, high_s = _BACK_OFF_S
                await asyncio.sleep(min(high_s, low_s * 2**failed) * self._random.uniform(0.5, 1.0))
                failed = min(failed + 1, 10)
                continue
            failed = 0
            if answer is None:
                continue
            answered_s = loop.time()
            unchanged = 0 if self._tell(*answer) else min(unchanged + 1, _SPACING_DOUBLINGS)
            # At least as long as the answer took to digest, so that a large store leaves time for other work.
            await asyncio.sleep(max(_SPACING_S, loop.time() - answered_s) * 2**unchanged)

    async def _next_answer(self) -> tuple[tuple[Entry, ...], int, list[Subscription]] | None:
        """What the next query shows, and who has waited for it from before it was asked; None if interrupted."""
        joining = [subscription for subscription in self.subscribers if not subscription.begun]
        index = self._waits_from(joining)
        self._blocks = index > 0
        self._query = asyncio.create_task(self._ask(index))
        try:
            await asyncio.wait({self._query})
            if self._query.cancelled():
                return None
            entries, index = self._query.result()
        finally:
            self._query.cancel()
            await asyncio.wait({self._query})
            self._query, self._blocks = None, False
        self._lost = False
        return entries, index, joining

    def _waits_from(self, joining: Iterable[Subscription]) -> int:
        """The index after which there may be news for somebody, so that an answer can wait for it; 0: answer at once."""
        # After an error nothing is known of the store: its present state also shows an index that fell. And whoever
        # does not know its target as of the index where it begins could not tell news from a sibling's.
        if self._lost or any(subscription.known is None for subscription in joining):
            return 0
        seen = [self._view.index] if self._view.index > 0 else []
        return min([*seen, *(subscription.after for subscription in joining)], default=0)

    async def _ask(self, index: int) -> tuple[tuple[Entry, ...], int]:
        params = [("consistent", "")]
        if self.target.prefix:
            params.append(("recurse", ""))
        if index > 0:
            params += [("index", str(index)), ("wait", f"{WAIT_S}s")]
        path = "/v1/kv/" + wire.full_key(self._root, self.target.key)
        answer = await self._agents.block(path, params, timeout_s=_ANSWER_S if index > 0 else _ANSWER_AT_ONCE_S)
        header = answer.headers.get("X-Consul-Index")
        if answer.status != 200 and (answer.status != 404 or header is None):
            raise failures.failure(answer.status, answer.body, agent=answer.agent, writes=False)
        found = wire.entries(self._root, answer.body) if answer.status == 200 else ()
        return found, wire.index(header)

    def _tell(self, entries: tuple[Entry, ...], index: int, joining: list[Subscription]) -> bool:
        """Give an answer to whoever it concerns; returns whether it shows anything new."""
        changes = self._view.observe(entries, index)
        by_key = {change.key: change for change in changes if isinstance(change, Changed)}
        resyncs = [change for change in changes if isinstance(change, Resync)]
        if resyncs:
            self._reads.forget()
        for subscription in list(self.subscribers):
            target = subscription.target
            if not subscription.begun:
                continue
            if target.prefix:
                subscription.tell([*resyncs, *(change for key, change in by_key.items() if target.covers(key))])
            else:
                subscription.tell([*resyncs, *([by_key[target.key]] if target.key in by_key else [])])
        for subscription in joining:
            subscription.begun = True
            subscription.tell(self._view.since(subscription.target, subscription.after, subscription.known))
            subscription.known = None
        return bool(changes or joining)
