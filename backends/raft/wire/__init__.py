"""Messages and requests as bytes. Pure: streams and sockets are `transport`'s.

    frame   length (4 bytes, big-endian) | body
    body    version (1 byte) | kind (1 byte) | fields (a msgpack list)

A version may add fields at the end of a kind's list, which older code ignores; anything else is a new kind. The two ends
of a connection agree on the newest version that both speak (`handshake`). Reading is strict: each field's type and range
is checked, and whatever is not as it must be raises `leasekit.errors.ProtocolError`.
"""

from __future__ import annotations

from typing import Any

from leasekit.backends.raft.core.messages import Message
from leasekit.backends.raft.requests import Request, Response
from leasekit.backends.raft.wire.codec import Table, pack, unpack
from leasekit.backends.raft.wire.frames import MAX_FRAME_BYTES, MAX_HANDSHAKE_BYTES, MAX_REQUEST_BYTES, Frames, frame
from leasekit.backends.raft.wire.handshake import (
    MAX_REASON,
    Hello,
    Purpose,
    Rejected,
    Welcome,
    decode_answer,
    decode_hello,
    encode_handshake,
)
from leasekit.backends.raft.wire.messages import MESSAGES
from leasekit.backends.raft.wire.requests import REQUESTS, RESPONSES

__all__ = [
    "CODEC",
    "MAX_FRAME_BYTES",
    "MAX_HANDSHAKE_BYTES",
    "MAX_REASON",
    "MAX_REQUEST_BYTES",
    "Codec",
    "Frames",
    "Hello",
    "Purpose",
    "Rejected",
    "Welcome",
    "decode_answer",
    "decode_hello",
    "decode_message",
    "decode_request",
    "decode_response",
    "encode_handshake",
    "encode_message",
    "encode_request",
    "encode_response",
    "frame",
]


class Codec:
    """The versions that are spoken here. Encoding takes the version agreed on with the other end; without, the newest."""

    oldest = 1
    newest = 1

    def agree(self, oldest: int, newest: int) -> int | None:
        """The newest version that somebody who speaks `oldest` to `newest` has in common with this; None if none."""
        version = min(self.newest, newest)
        return version if version >= max(self.oldest, oldest) else None

    def encode_message(self, message: Message, version: int | None = None) -> bytes:
        """The body of a frame."""
        return self.pack(MESSAGES, message, self.newest if version is None else version)

    def decode_message(self, body: bytes) -> Message:
        """Raises ProtocolError."""
        message: Message = self.unpack(MESSAGES, body)
        return message

    def encode_request(self, request: Request, version: int | None = None) -> bytes:
        """The body of a frame. Raises UnicodeError if a key in it is no Unicode (a lone surrogate)."""
        return self.pack(REQUESTS, request, self.newest if version is None else version)

    def decode_request(self, body: bytes) -> Request:
        """Raises ProtocolError."""
        request: Request = self.unpack(REQUESTS, body)
        return request

    def encode_response(self, response: Response, version: int | None = None) -> bytes:
        """The body of a frame."""
        return self.pack(RESPONSES, response, self.newest if version is None else version)

    def decode_response(self, body: bytes) -> Response:
        """Raises ProtocolError."""
        response: Response = self.unpack(RESPONSES, body)
        return response

    def pack(self, table: Table, value: object, version: int) -> bytes:
        """The body of `value` in `version`."""
        return pack(table, value, version)

    def unpack(self, table: Table, body: bytes) -> Any:
        """The value of `body`, whichever version it is in. Raises ProtocolError."""
        return unpack(table, body, oldest=self.oldest, newest=self.newest)


CODEC = Codec()

encode_message = CODEC.encode_message
decode_message = CODEC.decode_message
encode_request = CODEC.encode_request
decode_request = CODEC.decode_request
encode_response = CODEC.encode_response
decode_response = CODEC.decode_response
