"""Changes, each applied once however often it must be sent (thesis section 6.3).

A session numbers its changes, and the members keep the outcome of each until the client acknowledges it. So a change
whose answer was lost is sent again with its number, over breaks of the connection and changes of the leader, and is
answered with what became of it the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from leasekit.backends.raft.client.calls import Attempts, Calls
from leasekit.backends.raft.client.leader import Closed
from leasekit.backends.raft.kv.commands import Command, MalformedCommand, OpenSession, Proposal, encode
from leasekit.backends.raft.kv.limits import ANSWERS_KEPT_MAX
from leasekit.backends.raft.kv.outcomes import (
    Forgotten,
    Full,
    Outcome,
    SessionOpened,
    SessionUnknown,
    TooLarge,
    TooManyOutstanding,
)
from leasekit.backends.raft.requests import Propose
from leasekit.errors import ConfigError, OutcomeUnknown, ProtocolError, StoreUnavailable

_WINDOW = ANSWERS_KEPT_MAX // 2
"""How many numbers may be from the oldest that waits to the newest: members keep the outcomes of all of them. Were there
more than they keep, the oldest could never be answered, and so none would be acknowledged."""
_AGAIN_S = 0.05


class Session:
    """Opened with the first change; opened anew if the members have forgotten it."""

    def __init__(self, calls: Calls, make_nonce: Callable[[], bytes], why: Callable[[], str]) -> None:
        self._calls = calls
        self._make_nonce = make_nonce
        self._why = why
        self._numbers: _Numbers | None = None
        self._nonce = make_nonce()
        self._opening = asyncio.Lock()

    async def change(self, command: Command, *, timeout_s: float) -> Outcome:
        """Carry out `command` once, and say what became of it.

        Raises:
            StoreUnavailable: surely not applied, and it will not be.
            OutcomeUnknown: it was sent, and time ran out before it was known what became of it.
            ConfigError: it is longer than a command may be, or otherwise wrong.
        """
        attempts = Attempts()
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    numbers = await self._open()
                    outcome = await self._numbered(numbers, command, attempts)
                    if not isinstance(outcome, SessionUnknown):
                        return _sound(outcome)
                    self._forget(numbers)
                    attempts.why = "the members do not know the session any more"
                    if attempts.in_doubt:
                        raise attempts.error("")
        except TimeoutError:
            raise attempts.error(self._why()) from None
        except Closed:
            raise attempts.error("the store is closed") from None

    def _forget(self, numbers: _Numbers) -> None:
        # Of several changes that hear of it, the first only.
        if self._numbers is numbers:
            self._numbers = None
            self._nonce = self._make_nonce()

    async def _open(self) -> _Numbers:
        if self._numbers is None:
            async with self._opening:
                if self._numbers is None:
                    # The same nonce after a lost answer gives the same session.
                    command = _encode(Proposal(0, 0, 0, OpenSession(self._nonce)))
                    opened = await self._calls.until_done(
                        lambda number: Propose(id=number, command=command), Attempts()
                    )
                    if not isinstance(opened, SessionOpened):
                        raise ProtocolError(f"a session was asked for, and {type(opened).__name__} is the answer")
                    self._numbers = _Numbers(opened.session)
        return self._numbers

    async def _numbered(self, numbers: _Numbers, command: Command, attempts: Attempts) -> Outcome:
        """Give the command a number, and ask with it until it is answered."""
        sequence = await numbers.take()
        try:
            while True:
                data = _encode(Proposal(numbers.session, sequence, numbers.acknowledged, command))
                answer = await self._calls.until_done(partial(_propose, data), attempts)
                if not isinstance(answer, TooManyOutstanding):
                    return cast(Outcome, answer)
                attempts.why = "too many changes are under way"
                await asyncio.sleep(_AGAIN_S)
        finally:
            numbers.give_back(sequence)


class _Numbers:
    """An open session: which of its numbers wait for an outcome."""

    def __init__(self, session: int) -> None:
        self.session = session
        self._last = 0
        self._outstanding: dict[int, None] = {}  # in rising order
        self._moved = asyncio.Event()

    @property
    def acknowledged(self) -> int:
        """No number up to this one will be asked with again. What was given up is among them: a copy of it that
        arrives later still is not applied any more."""
        return next(iter(self._outstanding), self._last + 1) - 1

    async def take(self) -> int:
        """The next number; waits while too many are under way."""
        while self._last - self.acknowledged >= _WINDOW:
            self._moved.clear()
            await self._moved.wait()
        self._last += 1
        self._outstanding[self._last] = None
        return self._last

    def give_back(self, sequence: int) -> None:
        """Its outcome is known, or will never be asked for."""
        del self._outstanding[sequence]
        self._moved.set()


def _propose(command: bytes, number: int) -> Propose:
    return Propose(id=number, command=command)


def _encode(proposal: Proposal) -> bytes:
    try:
        return encode(proposal)
    except MalformedCommand as error:
        raise ConfigError("request", str(error)) from None


def _sound(outcome: Outcome) -> Outcome:
    """The outcome of a command that was dealt with. Raises what the others mean."""
    if isinstance(outcome, Full):
        raise StoreUnavailable("the store is full: delete keys, or give it a greater capacity")
    if isinstance(outcome, TooLarge):
        raise ConfigError("request", "reads more than one transaction may: ask for less at a time")
    if isinstance(outcome, Forgotten):
        raise OutcomeUnknown("the members have forgotten what became of the request")
    return outcome
