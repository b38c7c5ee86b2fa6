"""A connection that was accepted: first it says who it is, then a member sends messages, or a client asks."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Protocol

from leasekit.backends.raft.core.messages import Message
from leasekit.backends.raft.requests import Done, Event, Problem, Refused, Request, Response
from leasekit.backends.raft.transport.connection import Connection
from leasekit.backends.raft.transport.identity import Unwelcome
from leasekit.backends.raft.wire import (
    MAX_FRAME_BYTES,
    MAX_REQUEST_BYTES,
    Codec,
    Hello,
    Purpose,
    Welcome,
    decode_hello,
    encode_handshake,
)
from leasekit.errors import ProtocolError
from leasekit.store import Committed

HELLO_S = 5.0
"""How long a connection may take to say who it is, TLS included."""
_OUTBOX_BYTES = 32 * 1024 * 1024
"""What a client may leave untaken (watches go on while it reads nothing)."""


class Client(Hashable, Protocol):
    """A client's connection, as the member sees it. Hashable, alive until `on_disconnect`."""

    @property
    def name(self) -> str:
        """Its address, for people."""
        ...

    def send(self, response: Response) -> None:
        """Answer soon; all answers of one turn of the loop leave together. Without effect once it is gone."""
        ...

    def hold(self, held: bool) -> None:
        """Read nothing more from it, or go on: it asks faster than it is answered."""
        ...


class Handler(Protocol):
    """The member behind a listener. Called on the loop; what these raise is a fault of the program."""

    def on_message(self, message: Message) -> None:
        """Another member says this. `sender` is whom the connection belongs to, `to` is this member."""
        ...

    def on_request(self, client: Client, request: Request) -> None:
        """A client asks."""
        ...

    def on_disconnect(self, client: Client) -> None:
        """The client is gone: nobody will read its answers, its watches end."""
        ...


class Hall(Protocol):
    """What an incoming connection needs of its listener."""

    codec: Codec
    handler: Handler
    member: str

    def admit(self, guest: Incoming, hello: Hello) -> Welcome:
        """Raises Unwelcome."""
        ...

    def complain(self, guest: Incoming, kind: str, text: str) -> None: ...

    def left(self, guest: Incoming) -> None: ...


class Incoming(Connection):
    """Both a member's and a client's connection; which of them, its Hello says."""

    def __init__(self, hall: Hall) -> None:
        super().__init__(_OUTBOX_BYTES)
        self.hello: Hello | None = None
        self._hall = hall
        self._version = 0
        self._patience: asyncio.TimerHandle | None = None
        self._held = False

    @property
    def name(self) -> str:
        return self.remote

    @property
    def is_client(self) -> bool:
        """Whether a client was welcomed on it."""
        return self.hello is not None and self.hello.purpose is Purpose.CLIENT

    def send(self, response: Response) -> None:
        """Send an answer. One that is too long for a frame is replaced by one that says so."""
        body = self._hall.codec.encode_response(response, self._version)
        if len(body) > MAX_FRAME_BYTES:
            body = self._hall.codec.encode_response(_instead_of(response), self._version)
        self.send_body(body)

    def pass_on(self, message: Message) -> None:
        """Tell a member this, on the connection that it has made."""
        self.send_body(self._hall.codec.encode_message(message, self._version), droppable=True)

    def on_open(self) -> None:
        self._patience = asyncio.get_running_loop().call_later(HELLO_S, self._too_late)

    def on_body(self, body: bytes) -> None:
        if self.hello is None:
            self._introduce(decode_hello(body))
        elif self.is_client:
            self._hall.handler.on_request(self, self._hall.codec.decode_request(body))
        else:
            message = self._hall.codec.decode_message(body)
            if message.sender != self.hello.member or message.to != self._hall.member:
                raise ProtocolError(f"a message from {message.sender!r} to {message.to!r}")
            self._hall.handler.on_message(message)

    def on_broken(self, error: ProtocolError) -> None:
        self._hall.complain(self, "protocol", f"the connection is closed: {error}")

    def on_full(self) -> None:
        self._hall.complain(self, "slow", "takes its answers too slowly: the connection is closed")
        self.abort()

    def on_lost(self, error: Exception | None) -> None:
        self._end_patience()
        self._hall.left(self)
        if self.is_client:
            self._hall.handler.on_disconnect(self)

    def pause_writing(self) -> None:
        # Who does not take answers is asked for no more questions.
        super().pause_writing()
        self._read_or_not()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_or_not()

    def hold(self, held: bool) -> None:
        self._held = held
        self._read_or_not()

    def _read_or_not(self) -> None:
        self.pause_reading(self._held or self._blocked)

    def _introduce(self, hello: Hello) -> None:
        self._end_patience()
        try:
            answer = self._hall.admit(self, hello)
        except Unwelcome as unwelcome:
            self._hall.complain(self, unwelcome.kind, f"refused: {unwelcome}")
            self.send_body(encode_handshake(unwelcome.rejected))
            self.close()
            return
        self.hello = hello
        self._version = answer.version
        self.frames.max_bytes = MAX_REQUEST_BYTES if self.is_client else MAX_FRAME_BYTES
        self.send_body(encode_handshake(answer))

    def _too_late(self) -> None:
        self._hall.complain(self, "silent", f"said nothing for {HELLO_S:g} s: the connection is closed")
        self.abort()

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _instead_of(response: Response) -> Response:
    """What to say in the place of an answer that no frame can hold."""
    if isinstance(response, Event):
        return Event(id=response.id, changes=(), revision=response.revision, resync=True)
    text = f"the answer is longer than {MAX_FRAME_BYTES} bytes: ask for less at a time"
    if isinstance(response, Done) and not isinstance(response.result, Committed):
        # A command, which was applied.
        return Refused(id=response.id, problem=Problem.UNKNOWN, text=text)
    return Refused(id=response.id, problem=Problem.INVALID, text=text)
