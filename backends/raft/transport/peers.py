"""A member's connections to the others: one to each, for what this member says. What they say comes to the listener.

Save where they have no connection of their own: who does not know this member yet, or not any more, answers on the one
that this member has made (`Listener.send`). Raft needs such answers: a member that missed how its leader came into the
cluster, or that is told that its leader leaves it, must still be able to acknowledge what that leader sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from leasekit.backends.raft.core.messages import Append, Heartbeat, Message
from leasekit.backends.raft.core.types import MemberId, Membership
from leasekit.backends.raft.transport.backoff import Backoff
from leasekit.backends.raft.transport.complaints import Complaints
from leasekit.backends.raft.transport.identity import Identity
from leasekit.backends.raft.transport.outgoing import NoConnection, Outgoing, dial
from leasekit.backends.raft.transport.security import Security
from leasekit.backends.raft.wire import CODEC, Codec, Hello, Purpose
from leasekit.errors import ProtocolError

_LOG = logging.getLogger("leasekit.raft")

_OUTBOX_BYTES = 16 * 1024 * 1024
_CONNECT_S = 1.0
"""Longer would let TCP double its pauses between attempts, and miss that a network has healed."""
_STEADY_S = 1.0
"""A connection that lasted so long was worth having: the next attempt comes soon."""


class PeerLinks:
    """Sends messages to the other members, as well as can be: what cannot leave now is dropped, as Raft allows."""

    def __init__(
        self,
        identity: Identity,
        *,
        random: Random,
        security: Security | None = None,
        codec: Codec = CODEC,
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        """`on_message` is called with what a member answers here; without it that is an error of theirs."""
        self.on_message = on_message
        self._identity = identity
        self._random = random
        self._tls = security.connecting if security is not None else None
        self._codec = codec
        self._links: dict[MemberId, _Link] = {}
        self._complaints = Complaints()

    def update(self, membership: Membership) -> None:
        """Connect to the members of this membership, where it says that they are, and to no others."""
        wanted = {**membership.learners, **membership.voters}
        wanted.pop(self._identity.member, None)
        for member in [member for member, link in self._links.items() if wanted.get(member) != link.address]:
            self._links.pop(member).stop()
        for member, address in wanted.items():
            if member not in self._links:
                self._links[member] = _Link(member, address, self)

    def send(self, message: Message) -> bool:
        """Send soon; all messages of one turn of the loop leave together. Dropped if there is no connection.

        False: it is to nobody in the membership.
        """
        link = self._links.get(message.to)
        if link is None:
            return False
        link.send(message)
        return True

    def connected(self) -> frozenset[MemberId]:
        """To whom there is a connection now."""
        return frozenset(member for member, link in self._links.items() if link.up)

    async def aclose(self) -> None:
        """End all connections."""
        tasks = [link.stop() for link in self._links.values()]
        self._links.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Aborted connections close in the loop's next turn.
        await asyncio.sleep(0)

    # What links use.

    async def connect(self, member: MemberId, address: str) -> _Line:
        """One attempt. Raises NoConnection."""
        hello = Hello(
            oldest=self._codec.oldest,
            newest=self._codec.newest,
            cluster=self._identity.cluster,
            purpose=Purpose.MEMBER,
            member=self._identity.member,
        )
        line = await dial(
            address, lambda: _Line(hello, member, self._codec, self.on_message), self._tls, timeout_s=_CONNECT_S
        )
        answer = line.welcomed.result()
        if (answer.member, answer.cluster) != (member, self._identity.cluster):
            line.abort()
            is_who = f"is member {answer.member!r} of cluster {answer.cluster!r}"
            raise NoConnection("id", f"{is_who}, not {member!r} of {self._identity.cluster!r}")
        return line

    def backoff(self) -> Backoff:
        return Backoff(self._random)

    def complain(self, who: str, error: NoConnection) -> None:
        self._complaints.complain(who, error.kind, str(error))

    def forgive(self, who: str) -> None:
        self._complaints.forgive(who)


class _Line(Outgoing):
    """One connection to another member. It speaks on it only if it has none to this member."""

    def __init__(
        self, hello: Hello, member: MemberId, codec: Codec, on_message: Callable[[Message], None] | None
    ) -> None:
        super().__init__(hello, codec, _OUTBOX_BYTES)
        self.lost = asyncio.Event()
        self._own = hello.member
        self._member = member
        self._on_message = on_message

    def send(self, message: Message) -> None:
        try:
            body = self.codec.encode_message(message, self.version)
            self.send_body(body, droppable=isinstance(message, Append | Heartbeat))
        except ProtocolError as error:
            # Longer than a frame: entries are limited far below, so this is a fault of the program. Say so each time.
            _LOG.error("%s to %s was not sent: %s", type(message).__name__, message.to, error)

    def on_frame(self, body: bytes) -> None:
        if self._on_message is None:
            super().on_frame(body)
            return
        message = self.codec.decode_message(body)
        if (message.sender, message.to) != (self._member, self._own):
            raise ProtocolError(f"a message from {message.sender!r} to {message.to!r}")
        self._on_message(message)

    def on_full(self) -> None:
        self.outbox.make_room()

    def on_lost(self, error: Exception | None) -> None:
        super().on_lost(error)
        self.lost.set()


class _Link:
    """Keeps a connection to one member up."""

    def __init__(self, member: MemberId, address: str, links: PeerLinks) -> None:
        self.address = address
        self._member = member
        self._links = links
        self._line: _Line | None = None
        self._running = asyncio.get_running_loop().create_task(self._run())

    @property
    def up(self) -> bool:
        return self._line is not None

    def send(self, message: Message) -> None:
        if self._line is not None:
            self._line.send(message)

    def stop(self) -> asyncio.Task[None]:
        self._running.cancel()
        return self._running

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = self._links.backoff()
        who = f"member {self._member} at {self.address}"
        while True:
            try:
                line = await self._links.connect(self._member, self.address)
            except NoConnection as error:
                self._links.complain(who, error)
            else:
                self._links.forgive(who)
                since_s = loop.time()
                await self._use(line)
                if loop.time() - since_s >= _STEADY_S:
                    backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _use(self, line: _Line) -> None:
        self._line = line
        try:
            await line.lost.wait()
        finally:
            self._line = None
            line.abort()
