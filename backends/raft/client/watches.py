"""All of a store's watches, on the connection to the leader; begun anew, where they were, when that is another one."""

from __future__ import annotations

import asyncio
from functools import partial

from leasekit.backends.raft.client.channel import Channel
from leasekit.backends.raft.client.leader import Closed, Leader
from leasekit.backends.raft.client.subscription import Subscription
from leasekit.backends.raft.requests import Event, NotLeader, Problem, Refused, Response
from leasekit.backends.raft.transport.backoff import Backoff
from leasekit.errors import ConfigError, LeasekitError, ProtocolError

_STEADY_S = 1.0
"""A connection that lasted so long was worth having: the next is looked for at once."""

_AGAIN_S = 0.5
"""How soon a member that could not take on a watch is asked again."""


class Watches:
    """The hub: while anybody watches, it has a connection to the leader."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._numbers: dict[Subscription, int | None] = {}
        """Under which number each is watched on the present connection; None: not, or not any more."""
        self._channel: Channel | None = None
        self._wanted = asyncio.Event()
        self._broken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    def subscribe(self, key: str, *, prefix: bool, after: int) -> Subscription:
        """Watch from now on; `unsubscribe` ends it."""
        subscription = Subscription(key, prefix=prefix, after=max(after, 0))
        if self._closed:
            subscription.close()
            return subscription
        self._numbers[subscription] = None
        self._wanted.set()
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
            self._running.add_done_callback(self._ended)
        elif self._channel is not None and self._channel.usable:
            self._begin(self._channel, subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget it, here and at the leader."""
        number = self._numbers.pop(subscription, None)
        if not self._numbers:
            self._wanted.clear()
        if number is not None and self._channel is not None:
            self._channel.unwatch(number)

    async def aclose(self) -> None:
        """End all watches."""
        self._closed = True
        for subscription in self._numbers:
            subscription.close()
        self._numbers.clear()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._leader.random)
        while True:
            await self._wanted.wait()
            channel = await self._leader.channel()
            since_s = loop.time()
            await self._use(channel)
            if loop.time() - since_s >= _STEADY_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _use(self, channel: Channel) -> None:
        """Watch on this connection until it breaks or its member leads no more."""
        self._broken.clear()
        channel.on_end = self._broken.set
        self._channel = channel
        try:
            for subscription in list(self._numbers):
                self._begin(channel, subscription)
            if channel.usable:
                await self._broken.wait()
        finally:
            self._channel = None
            self._numbers = dict.fromkeys(self._numbers)

    def _begin(self, channel: Channel, subscription: Subscription) -> None:
        tell = partial(self._told, channel, subscription)
        self._numbers[subscription] = channel.watch(
            subscription.key, prefix=subscription.prefix, after=subscription.after, tell=tell
        )

    def _begin_again(self, channel: Channel, subscription: Subscription) -> None:
        waits = subscription in self._numbers and self._numbers[subscription] is None
        if waits and self._channel is channel and channel.usable:
            self._begin(channel, subscription)

    def _told(self, channel: Channel, subscription: Subscription, response: Response) -> None:
        match response:
            case Event(resync=True):
                subscription.resync(response.revision)
                # What came with it is later than what was missed, and would be told again by nobody.
                subscription.tell(response.changes, response.revision)
            case Event():
                subscription.tell(response.changes, response.revision)
            case NotLeader():
                self._leader.not_leading(channel, response.leader)
            case Refused(problem=Problem.INVALID):
                self._fail(subscription, ConfigError("watch", response.text))
            case Refused():
                self._numbers[subscription] = None
                asyncio.get_running_loop().call_later(_AGAIN_S, self._begin_again, channel, subscription)
            case _:
                self._fail(subscription, ProtocolError(f"a watch was answered with {type(response).__name__}"))

    def _fail(self, subscription: Subscription, error: LeasekitError) -> None:
        subscription.fail(error)
        self.unsubscribe(subscription)

    def _ended(self, running: asyncio.Task[None]) -> None:
        # Closing ends it. Anything else is a fault of ours, which no consumer must wait through in silence.
        if running.cancelled() or isinstance(error := running.exception(), Closed):
            return
        self._running = None
        for subscription in list(self._numbers):
            self._fail(subscription, ProtocolError(f"watching failed: {error!r}"))
