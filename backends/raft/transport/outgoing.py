"""A connection that is made: to say who connects, and to be welcomed or not."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from leasekit.backends.raft.transport.connection import Connection
from leasekit.backends.raft.transport.security import host_of
from leasekit.backends.raft.wire import MAX_FRAME_BYTES, Codec, Hello, Welcome, decode_answer, encode_handshake
from leasekit.errors import ProtocolError


class NoConnection(Exception):
    """It did not come about. `kind` is one of a few, for `Complaints`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Outgoing(Connection):
    """Says Hello, and is of use from the Welcome on. `on_body` gets what comes after it."""

    def __init__(self, hello: Hello, codec: Codec, max_outbox_bytes: int) -> None:
        super().__init__(max_outbox_bytes)
        self.codec = codec
        self.version = 0
        self.welcomed: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting for it when it fails.
        self.welcomed.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._hello = hello

    def on_open(self) -> None:
        self.send_body(encode_handshake(self._hello))

    def data_received(self, data: bytes) -> None:
        if not self.welcomed.done():
            # What comes right behind the Welcome may be longer than a handshake is.
            self.frames.max_bytes = MAX_FRAME_BYTES
        super().data_received(data)

    def on_body(self, body: bytes) -> None:
        if self.welcomed.done():
            self.on_frame(body)
            return
        answer = decode_answer(body)
        if not isinstance(answer, Welcome):
            self._fail(NoConnection("refused", f"refuses this connection: {answer.reason}"))
            self.close()
        elif not self.codec.oldest <= answer.version <= self.codec.newest:
            raise ProtocolError(f"chose version {answer.version}, which is not spoken here")
        else:
            self.version = answer.version
            self.welcomed.set_result(answer)

    def on_frame(self, body: bytes) -> None:
        """A frame after the Welcome. A ProtocolError ends the connection."""
        raise ProtocolError("speaks although nothing was asked")

    def on_broken(self, error: ProtocolError) -> None:
        self._fail(NoConnection("protocol", f"does not speak this protocol ({error})"))

    def on_lost(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):
            # With TLS 1.3 our own certificate is refused only after the handshake has ended for us.
            self._fail(NoConnection("tls", f"ended the TLS connection: {tls_reason(error)}"))
        if self.certificate is not None:
            # Most often it just hangs up then: asyncio does not send OpenSSL's word of why.
            self._fail(
                NoConnection("tls", "hung up on our certificate: is it of the authority that the members trust?")
            )
        self._fail(
            NoConnection("unreachable", "hung up before it said a word: is it TLS on one side only (raft+tls://)?")
        )

    def _fail(self, error: NoConnection) -> None:
        if not self.welcomed.done():
            self.welcomed.set_exception(error)


_C = TypeVar("_C", bound=Outgoing)


async def dial(address: str, make: Callable[[], _C], tls: ssl.SSLContext | None, *, timeout_s: float) -> _C:
    """Connect to `host:port` and be welcomed. Raises NoConnection."""
    host, port = host_of(address), address.rpartition(":")[2]
    if not host or not port.isdigit():
        raise NoConnection("address", f"{address!r} is not host:port")
    connection = make()
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().create_connection(
                lambda: connection, host, int(port), ssl=tls, server_hostname=host if tls is not None else None
            )
            await connection.welcomed
    except TimeoutError:
        connection.abort()
        said = "accepts connections and says nothing" if connection.open else "does not answer"
        raise NoConnection("unreachable", said) from None
    except NoConnection:
        connection.abort()
        raise
    except OSError as error:
        raise _failed(error, tls=tls is not None) from None
    except asyncio.CancelledError:
        connection.abort()
        raise
    return connection


def tls_reason(error: OSError) -> str:
    """Why a handshake failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__


def _failed(error: OSError, *, tls: bool) -> NoConnection:
    if isinstance(error, ssl.SSLError):
        return NoConnection("tls", f"TLS failed ({tls_reason(error)})")
    if tls and isinstance(error, ConnectionError) and error.errno is None:
        return NoConnection("tls", "hung up during the TLS handshake: does it speak TLS?")
    if isinstance(error, socket.gaierror):
        return NoConnection("address", error.strerror or "is a name that cannot be resolved")
    return NoConnection("unreachable", os.strerror(error.errno).lower() if error.errno else str(error))
