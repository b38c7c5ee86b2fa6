"""One TCP connection that carries frames: cut on receipt, gathered on sending. What they mean is its subclasses'."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import cast

from leasekit.backends.raft.transport.outbox import Outbox
from leasekit.backends.raft.wire import MAX_HANDSHAKE_BYTES, Frames, frame
from leasekit.errors import ProtocolError

# A peer that vanished without a word is noticed by the kernel: when idle by keepalive, else because what was sent is
# not acknowledged. Left to itself TCP waits minutes, and doubles its pauses meanwhile, so that a healed network is not
# used for as long again as it was cut.
_IDLE_S = 2
_PROBE_S = 1
_PROBES = 2
_UNACKNOWLEDGED_MS = 3000

_SEND_BUFFER_BYTES = 256 * 1024
"""More than this is kept in the outbox, where it is counted and may be dropped."""


class Connection(asyncio.Protocol):
    """Frames both ways. All that is sent within one turn of the loop leaves in one write."""

    def __init__(self, max_outbox_bytes: int) -> None:
        self.frames = Frames(MAX_HANDSHAKE_BYTES)
        self.outbox = Outbox(max_outbox_bytes)
        self.remote = "?"
        """The other end's address, for people."""
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._blocked = False
        self._flushing = False
        self._closing = False

    # What subclasses do.

    def on_open(self) -> None:
        """The connection is there (and its TLS)."""

    def on_body(self, body: bytes) -> None:
        """A frame came. A ProtocolError ends the connection."""
        raise NotImplementedError

    def on_broken(self, error: ProtocolError) -> None:
        """The other end sent what it must not. The connection ends with this."""

    def on_full(self) -> None:
        """The other end takes less than is sent: make room, or give it up."""
        self.abort()

    def on_lost(self, error: Exception | None) -> None:
        """The connection is gone, by whatever cause. Called once."""

    # What they and their owners use.

    def send_body(self, body: bytes, *, droppable: bool = False) -> None:
        """Send a frame soon. Without effect once closing."""
        if self._closing:
            return
        self.outbox.add(frame(body), droppable=droppable)
        if self.outbox.full:
            self.on_full()
        if not self._flushing and not self._blocked:
            # The first leaves at once, for the one who waits for it; what follows in this turn leaves together.
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)
            self._write()

    def close(self) -> None:
        """Send what is waiting, and close. Who has not taken what was sent before loses it all."""
        if self._blocked:
            self.abort()
        elif self._transport is not None and not self._closing:
            self._flush()
            self._transport.close()
        self._closing = True

    def abort(self) -> None:
        """Close at once, dropping what was not sent."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing

    @property
    def certificate(self) -> dict[str, object] | None:
        """The other end's, as `ssl.SSLSocket.getpeercert` shows it; None without TLS."""
        if self._transport is None:
            return None
        return cast(dict[str, object] | None, self._transport.get_extra_info("peercert"))

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_SEND_BUFFER_BYTES)
        found = transport.get_extra_info("socket")
        if found is not None:
            tune(found)
        self.remote = _text(transport.get_extra_info("peername"))
        self.open = True
        if self._closing:
            self._transport.abort()
        else:
            self.on_open()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self.frames.feed(data):
                if self._closing:
                    return
                self.on_body(body)
        except ProtocolError as error:
            if not self._closing:
                self.on_broken(error)
            self.close()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._closing = True
        self.on_lost(exc)

    def _flush(self) -> None:
        self._flushing = False
        self._write()

    def _write(self) -> None:
        if self._transport is not None and self.outbox and not self._blocked:
            self._transport.write(self.outbox.take())

    def pause_reading(self, paused: bool) -> None:
        """Read no more for now, or go on."""
        if self._transport is not None:
            (self._transport.pause_reading if paused else self._transport.resume_reading)()


def tune(connection: socket.socket) -> None:
    """Small frames leave at once; a dead peer is noticed."""
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _IDLE_S),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _PROBE_S),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", _PROBES),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _UNACKNOWLEDGED_MS),
    ]
    for level, name, value in options:
        # Not every system has all of them, and a connection may be gone by now.
        with contextlib.suppress(OSError):
            if (option := getattr(socket, name, None)) is not None:
                connection.setsockopt(level, option, value)


def _text(address: object) -> str:
    match address:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "?"
