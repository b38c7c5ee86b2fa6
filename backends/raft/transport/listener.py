"""The port on which a member takes connections of other members and of clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial

from leasekit.backends.raft.core.messages import Message
from leasekit.backends.raft.core.types import Membership
from leasekit.backends.raft.transport.complaints import Complaints
from leasekit.backends.raft.transport.identity import Identity, Unwelcome, welcome
from leasekit.backends.raft.transport.incoming import HELLO_S, Handler, Incoming
from leasekit.backends.raft.transport.outgoing import tls_reason
from leasekit.backends.raft.transport.security import Security
from leasekit.backends.raft.wire import CODEC, Codec, Hello, Purpose, Welcome

MAX_CLIENTS = 1000
_BACKLOG = 256
_MAX_MEMBERS = 100
_RETRY_S = 0.1
"""After an accept that failed (too many open files): trying again at once would only burn time."""


class Listener:
    """Accepts connections and hands what they say to a handler. Whatever comes in harms its own connection alone."""

    def __init__(
        self,
        identity: Identity,
        handler: Handler,
        *,
        security: Security | None = None,
        codec: Codec = CODEC,
        max_clients: int = MAX_CLIENTS,
        max_strangers: int = 100,
    ) -> None:
        """`max_strangers`: connections that have not said yet who they are; one more ends the oldest of them."""
        self.handler = handler
        self.codec = codec
        self.member = identity.member
        self._identity = identity
        self._security = security
        self._max_clients = max_clients
        self._max_strangers = max_strangers
        self._membership = Membership()
        self._complaints = Complaints()
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._strangers: dict[Incoming, asyncio.Task[None]] = {}
        self._members: dict[str, Incoming] = {}
        self._clients: set[Incoming] = set()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    def update(self, membership: Membership) -> None:
        """The membership as this member knows it now: with TLS it says who may connect as which member."""
        self._membership = membership

    def send(self, message: Message) -> None:
        """Answer a member on the connection that it has made. Dropped if there is none."""
        guest = self._members.get(message.to)
        if guest is not None:
            guest.pass_on(message)

    async def start(self, host: str, port: int) -> None:
        """Listen on all addresses of `host`; port 0 takes a free one. Raises OSError if that is not possible."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self._listen(socket.socket(family, kind, protocol), (address[0], port or self._port(), *address[2:]))
        except OSError:
            await self.aclose()
            raise
        self._accepting = [loop.create_task(self._accept(each)) for each in self._sockets]

    async def aclose(self) -> None:
        """Listen no more, and end all connections."""
        tasks = [*self._accepting, *self._strangers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._accepting.clear()
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()
        for guest in (*self._strangers, *self._members.values(), *self._clients):
            guest.abort()
        # Their ends are told in the loop's next turn.
        await asyncio.sleep(0)

    # What incoming connections ask.

    def admit(self, guest: Incoming, hello: Hello) -> Welcome:
        """Raises Unwelcome."""
        answer = welcome(hello, guest.certificate, self._identity, self.codec, self._membership, self._security)
        if hello.purpose is Purpose.CLIENT:
            if len(self._clients) >= self._max_clients:
                raise Unwelcome("crowded", f"{self._max_clients} clients are connected already")
            self._clients.add(guest)
        else:
            # A member has one connection: an older one is from before it crashed or was cut off.
            older = self._members.pop(hello.member, None)
            if older is not None:
                older.abort()
            elif len(self._members) >= _MAX_MEMBERS:
                raise Unwelcome("crowded", f"{_MAX_MEMBERS} members are connected already")
            self._members[hello.member] = guest
        self._strangers.pop(guest, None)
        return answer

    def complain(self, guest: Incoming, kind: str, text: str) -> None:
        """Log it, once for each origin and kind."""
        self._complaints.complain(self._who(guest, guest.hello), kind, text)

    def left(self, guest: Incoming) -> None:
        """The connection is gone."""
        self._strangers.pop(guest, None)
        self._clients.discard(guest)
        if guest.hello is not None and self._members.get(guest.hello.member) is guest:
            del self._members[guest.hello.member]

    def _who(self, guest: Incoming, hello: Hello | None) -> str:
        # Without the port, which is another one each time.
        host = guest.remote.rpartition(":")[0]
        return f"member {hello.member} at {host}" if hello is not None and hello.member else host

    def _port(self) -> int:
        return self.port if self._sockets else 0

    def _listen(self, listening: socket.socket, address: tuple[object, ...]) -> None:
        self._sockets.append(listening)
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                self._complaints.complain("the port", "accept", f"cannot take connections: {error}")
                await asyncio.sleep(_RETRY_S)
                continue
            if len(self._strangers) >= self._max_strangers:
                self._turn_away()
            guest = Incoming(self)
            guest.remote = f"{address[0]}:{address[1]}"
            opening = self._strangers[guest] = loop.create_task(self._open(guest, accepted))
            # A task that is cancelled before its first step cannot close it.
            opening.add_done_callback(partial(_close_if_cancelled, accepted))
            await asyncio.sleep(0)  # a flood of connections leaves turns to others

    def _turn_away(self) -> None:
        guest, opening = next(iter(self._strangers.items()))
        del self._strangers[guest]
        opening.cancel()
        guest.abort()
        self.complain(guest, "crowded", "turned away, with too many connections that say nothing")

    async def _open(self, guest: Incoming, accepted: socket.socket) -> None:
        """Not by `create_server`, which keeps to itself why a handshake failed."""
        loop = asyncio.get_running_loop()
        context = self._security.accepting if self._security is not None else None
        limit_s = HELLO_S if context is not None else None
        try:
            await loop.connect_accepted_socket(lambda: guest, accepted, ssl=context, ssl_handshake_timeout=limit_s)
        except (ssl.SSLError, OSError) as error:
            self._strangers.pop(guest, None)
            self.complain(guest, "tls", f"refused: TLS failed ({tls_reason(error)})")


def _close_if_cancelled(accepted: socket.socket, opening: asyncio.Task[None]) -> None:
    if opening.cancelled():
        accepted.close()
