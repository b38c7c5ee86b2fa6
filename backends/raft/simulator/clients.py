"""What all clients do: one request at a time, at a member that leads, as far as they know.

A client is a generator. It yields what it wants (`Sleep`, `Ask`) and is sent what came of it, so that its behaviour reads
from top to bottom.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from leasekit.backends.raft.kv import outcomes
from leasekit.backends.raft.kv.commands import Command, OpenSession, Proposal, encode
from leasekit.backends.raft.requests import Done, NotLeader, Problem, Propose, Read, Refused, Request, Response
from leasekit.backends.raft.simulator.connection import Connection
from leasekit.backends.raft.simulator.invariants import ensure
from leasekit.backends.raft.simulator.reference import Reference
from leasekit.backends.raft.simulator.schedule import Schedule
from leasekit.backends.raft.simulator.trace import Trace
from leasekit.store import Committed, Get


@dataclass(frozen=True, slots=True)
class Sleep:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the member that this client takes for the leader. Sent back: the response, None if none came in time."""

    request: Callable[[int], Request]
    timeout_s: float


Does = Generator[Sleep | Ask, Response | None, Any]


class Site(Protocol):
    """Where clients live."""

    schedule: Schedule
    reference: Reference
    trace: Trace

    def connect(
        self, client: str, member: str, heard: Callable[[Response], None], lost: Callable[[Connection], None]
    ) -> Connection | None:
        """A connection to `member`; None if it is down."""

    def members(self) -> list[str]:
        """Where clients may turn to."""
        ...


class Unsettled(Exception):
    """A request was given up: it may have been done, or may yet be."""


class Denied(Exception):
    """A request was given up after the answer that it was surely not done."""


class Client:
    """One client. Subclasses say what it does in `life`."""

    def __init__(self, name: str, site: Site, rng: random.Random) -> None:
        self.name = name
        self.rng = rng
        self.site = site
        self.stopping = False
        self._target = rng.choice(site.members())
        self._connection: Connection | None = None
        self._next_id = 0
        self._waiting_for: int | None = None
        self._session = 0
        self._sequence = 0
        self._running = self.life()
        self._resume(None)

    def life(self) -> Does:
        """All that this client does until it is told to stop."""
        raise NotImplementedError

    # Asking for more than one answer.

    def open_session(self) -> Does:
        """Open a session, however often it takes."""
        nonce = self.rng.randbytes(8)
        command = encode(Proposal(0, 0, 0, OpenSession(nonce)))
        while True:
            response = yield Ask(lambda number: Propose(id=number, command=command), self.patience_s())
            if isinstance(response, Done):
                assert isinstance(response.result, outcomes.SessionOpened)
                self.site.reference.opened(nonce, response.result.session)
                self._session, self._sequence = response.result.session, 0
                return
            yield from self._turn_elsewhere(response)

    def perform(self, command: Command, tries: int = 12, acknowledged: int | None = None) -> Does:
        """The outcome of `command`, done once however often it is sent. Raises Unsettled, Denied."""
        if not self._session:
            yield from self.open_session()
        reference, asked_at = self.site.reference, self.site.reference.horizon
        self._sequence += 1
        sequence = self._sequence
        settled = sequence - 1 if acknowledged is None else acknowledged
        data = encode(Proposal(self._session, sequence, settled, command))
        denied = True
        for _ in range(tries):
            response = yield Ask(lambda number: Propose(id=number, command=data), self.patience_s())
            if isinstance(response, Done):
                assert not isinstance(response.result, bool | None)
                reference.answered(self._session, sequence, response.result, asked_at)  # type: ignore[arg-type]
                return response.result
            denied = denied and _is_denial(response)
            if denied and self.rng.random() < 0.1:
                reference.denied(self._session, sequence)
                raise Denied
            yield from self._turn_elsewhere(response)
        raise Unsettled

    def perform_all(self, commands: Sequence[Command]) -> Does:
        """Ask for all of `commands` at once, and go on once the last one is done or given up. Needs a session."""
        first = self._sequence + 1
        for command in commands[:-1]:
            self._sequence += 1
            data = encode(Proposal(self._session, self._sequence, first - 1, command))
            self._next_id += 1
            self._send(Propose(id=self._next_id, command=data))
        yield from self.perform(commands[-1], acknowledged=first - 1)

    def read(self, *gets: Get, tries: int = 12) -> Does:
        """What the keys are now. Raises Unsettled."""
        for _ in range(tries):
            asked_at = self.site.reference.horizon
            response = yield Ask(lambda number: Read(id=number, compares=(), ops=gets), self.patience_s())
            if isinstance(response, Done):
                assert isinstance(response.result, Committed)
                self.site.reference.read(gets, response.result, asked_at)
                return response.result
            yield from self._turn_elsewhere(response)
        raise Unsettled

    def patience_s(self) -> float:
        """How long to wait for an answer."""
        return self.rng.uniform(0.2, 1.5)

    def _turn_elsewhere(self, response: Response | None) -> Does:
        members = self.site.members()
        invalid = isinstance(response, Refused) and response.problem is Problem.INVALID
        ensure(not invalid, "a right request is called invalid", self.name, response)
        if isinstance(response, NotLeader) and response.leader in members:
            self.turn_to(response.leader)
        else:
            self.turn_to(self.rng.choice(members))
        yield Sleep(self.rng.uniform(0.01, 0.2))

    def turn_to(self, member: str) -> None:
        """Ask this one from now on."""
        if member != self._target and self._connection is not None:
            self._connection.close()
            self._connection = None
        self._target = member

    # The machinery.

    def _resume(self, response: Response | None) -> None:
        try:
            wish = self._running.send(response)
        except StopIteration:
            return
        if isinstance(wish, Sleep):
            self.site.schedule.after(wish.seconds, lambda: self._resume(None))
        else:
            self._ask(wish)

    def _ask(self, wish: Ask) -> None:
        self._next_id += 1
        number = self._waiting_for = self._next_id
        self.site.schedule.after(wish.timeout_s, lambda: self._give_up(number))
        self._send(wish.request(number))

    def _send(self, request: Request) -> None:
        if self._connection is None or not self._connection.open:
            self._connection = self.site.connect(self.name, self._target, self._heard, self._broken)
        if self._connection is not None:
            self._connection.send(request)

    def _heard(self, response: Response) -> None:
        if response.id == self._waiting_for:
            self._waiting_for = None
            self.site.trace.note("told", self.name, response)
            self._resume(response)

    def _broken(self, connection: Connection) -> None:
        if connection is self._connection and self._waiting_for is not None:
            self._give_up(self._waiting_for)

    def _give_up(self, number: int) -> None:
        """No answer came in time, or the connection broke: another answer to `number` is never listened to."""
        if number == self._waiting_for:
            self._waiting_for = None
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._resume(None)


def _is_denial(response: Response | None) -> bool:
    """Whether it says that the request was surely not done."""
    unavailable = isinstance(response, Refused) and response.problem is Problem.UNAVAILABLE
    return unavailable or isinstance(response, NotLeader)
