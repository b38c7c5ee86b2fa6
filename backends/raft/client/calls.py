"""Requests to whoever leads, asked again until there is an answer or time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from leasekit.backends.raft.client.channel import Channel, Lost
from leasekit.backends.raft.client.leader import Closed, Leader
from leasekit.backends.raft.requests import Done, NotLeader, Problem, Refused, Request, Response
from leasekit.backends.raft.transport.backoff import Backoff
from leasekit.errors import ConfigError, OutcomeUnknown, ProtocolError, StoreUnavailable

_GROWTH = 1.3


class Attempts:
    """What is known of one request over its attempts."""

    def __init__(self) -> None:
        self.in_doubt = False
        """Whether an attempt was sent of which it is not known what became."""
        self.why = ""
        """What went wrong last."""

    def error(self, otherwise: str) -> OutcomeUnknown | StoreUnavailable:
        """What to raise for a change when time is up."""
        text = self.why or otherwise
        return OutcomeUnknown(text) if self.in_doubt else StoreUnavailable(text)


class Calls:
    """Asks the leader. Only leasekit's errors come out of it."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader

    async def read(self, make: Callable[[int], Request], *, timeout_s: float) -> object:
        """The result of a request that changes nothing. Raises StoreUnavailable, ConfigError."""
        attempts = Attempts()
        try:
            async with asyncio.timeout(timeout_s):
                return await self.until_done(make, attempts)
        except TimeoutError:
            raise StoreUnavailable(attempts.why or self._leader.why()) from None
        except Closed:
            raise StoreUnavailable("the store is closed") from None

    async def until_done(self, make: Callable[[int], Request], attempts: Attempts) -> object:
        """The result of a request that may be asked again. Limit the time from outside.

        Raises:
            Closed: the store was closed, here.
            ConfigError: the member says that the request is wrong; this attempt was not carried out.
        """
        backoff = Backoff(self._leader.random, growth=_GROWTH)
        failed = 0
        while True:
            channel = await self._leader.channel()
            doubted_before, attempts.in_doubt = attempts.in_doubt, True
            try:
                answer: Response | Lost = await channel.ask(make)
            except Lost as lost:
                answer = lost
            if not self._leaves_doubt(answer):
                attempts.in_doubt = doubted_before
            if isinstance(answer, Done):
                return answer.result
            attempts.why = self._learn(channel, answer)
            if isinstance(answer, Refused) and answer.problem is Problem.INVALID:
                raise ConfigError("request", answer.text)
            failed += 1
            if failed > 1 or isinstance(answer, Refused):
                await self._leader.pause(backoff.next_s())

    @staticmethod
    def _leaves_doubt(answer: Response | Lost) -> bool:
        return isinstance(answer, Lost) or (isinstance(answer, Refused) and answer.problem is Problem.UNKNOWN)

    def _learn(self, channel: Channel, answer: Response | Lost) -> str:
        """Draw conclusions about who leads; returns what is wrong, for people."""
        match answer:
            case NotLeader():
                self._leader.not_leading(channel, answer.leader)
                return f"{channel.address} does not lead any more"
            case Refused():
                return f"{channel.address}: {answer.text}"
            case Lost():
                return str(answer)
        raise ProtocolError(f"{channel.address} answered with {type(answer).__name__}")
