"""Frames on a stream of bytes: the length of the body as four bytes, big-endian, then the body."""

from __future__ import annotations

from leasekit.errors import ProtocolError

MAX_FRAME_BYTES = 8 * 1024 * 1024
"""Longest body. Snapshot pieces (256 KiB) and appends (1 MiB and one command) stay below; answers to scans may not."""
MAX_REQUEST_BYTES = 2 * 1024 * 1024
"""Longest body that a client sends: one command, or what it reads and compares. There may be many clients."""
MAX_HANDSHAKE_BYTES = 4096
"""Longest body before both sides know each other."""

_LENGTH = 4


def frame(body: bytes) -> bytes:
    """The body with its length before it. Raises ProtocolError above `MAX_FRAME_BYTES`."""
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {len(body)} bytes; at most {MAX_FRAME_BYTES} are sent")
    return len(body).to_bytes(_LENGTH, "big") + body


class Frames:
    """Cuts a stream into bodies. It never holds more than one incomplete body, and refuses one that would be too long."""

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_bytes = max_bytes
        self._held = bytearray()
        self._needed = _LENGTH
        """How much there must be before it is worth looking again."""

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete with `data`. Raises ProtocolError as soon as a length is too large.

        After that the stream cannot be read any further; bodies before the bad one in the same `data` are lost with it.
        """
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return []
            data = bytes(self._held)
        bodies = []
        at = 0
        self._needed = _LENGTH
        while len(data) - at >= _LENGTH:
            length = self._length(data, at)
            if len(data) - at < _LENGTH + length:
                self._needed = _LENGTH + length
                break
            bodies.append(data[at + _LENGTH : at + _LENGTH + length])
            at += _LENGTH + length
        self._held = bytearray(data[at:])
        return bodies

    def _length(self, data: bytes, at: int) -> int:
        length = int.from_bytes(data[at : at + _LENGTH], "big")
        if length > self.max_bytes:
            raise ProtocolError(f"a frame of {length} bytes; at most {self.max_bytes} are taken")
        return length
