"""How many requests there are in what a client sends: for each protocol a reader of the stream. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Reader(Protocol):
    """Reads one connection, as the client sends it."""

    def feed(self, data: bytes) -> int:
        """How many requests are complete, or begin, with `data`."""
        ...


class HttpReader:
    """HTTP/1.1: a request is its first line, or whatever else bears `mark`."""

    def __init__(self, mark: bytes = b" HTTP/1.1\r\n") -> None:
        self._mark = mark
        self._before = b""

    def feed(self, data: bytes) -> int:
        """The mark may have begun in what came before."""
        seen = self._before + data
        self._before = seen[-(len(self._mark) - 1) :]
        return seen.count(self._mark)


class Http2Reader:
    """HTTP/2, as gRPC uses it: a request is a DATA frame that holds anything, in a stream of its own or a long one."""

    _PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    _HEADER = 9
    _DATA = 0

    def __init__(self) -> None:
        self._held = b""
        self._skip = self._PREFACE

    def feed(self, data: bytes) -> int:
        self._held += data
        found = 0
        while True:
            if self._skip:
                skipped = min(self._skip, len(self._held))
                self._held = self._held[skipped:]
                self._skip -= skipped
            if self._skip or len(self._held) < self._HEADER:
                return found
            length = int.from_bytes(self._held[:3], "big")
            found += self._held[3] == self._DATA and length > 0
            self._held = self._held[self._HEADER :]
            self._skip = length


class FrameReader:
    """leasekit's Raft: four bytes of length, then the body. The first frame is no request: it says who speaks."""

    _LENGTH = 4

    def __init__(self) -> None:
        self._held = b""
        self._skip = 0
        self._greeted = False

    def feed(self, data: bytes) -> int:
        self._held += data
        found = 0
        while True:
            skipped = min(self._skip, len(self._held))
            self._held = self._held[skipped:]
            self._skip -= skipped
            if self._skip or len(self._held) < self._LENGTH:
                return found
            self._skip = int.from_bytes(self._held[: self._LENGTH], "big")
            self._held = self._held[self._LENGTH :]
            found += self._greeted
            self._greeted = True


READERS: dict[str, Callable[[], Reader]] = {"consul": HttpReader, "etcd": Http2Reader, "raft": FrameReader}
"""By the scheme of the store's URL. With TLS there is nothing to be read."""
