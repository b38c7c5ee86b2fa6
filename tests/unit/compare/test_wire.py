"""Requests counted in a stream that may be cut anywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leasekit.cli.compare.wire import FrameReader, Http2Reader, HttpReader, Reader


def _h2(kind: int, payload: bytes, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + stream.to_bytes(4, "big") + payload


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
HTTP = (
    b"PUT /v1/txn?consistent HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]"
    b"GET /v1/kv/key?index=7&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n"
)
HTTP2 = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + _h2(SETTINGS, b"\0" * 12)
    + _h2(HEADERS, b"h" * 40)
    + _h2(DATA, b"request")
    + _h2(DATA, b"", stream=3)  # the end of a stream, and nothing in it
    + _h2(WINDOW_UPDATE, b"\0\0\0\1")
    + _h2(DATA, b"x" * 300, stream=5)
    + _h2(PING, b"\0" * 8)
)
FRAMES = _frame(b"who speaks") + _frame(b"first") + _frame(b"") + _frame(b"y" * 300)


@pytest.mark.parametrize(
    ("reader", "stream", "count"), [(HttpReader, HTTP, 2), (Http2Reader, HTTP2, 2), (FrameReader, FRAMES, 3)]
)
class TestRequests:
    def test_all_are_counted(self, reader: Callable[[], Reader], stream: bytes, count: int) -> None:
        assert reader().feed(stream) == count

    @settings(deadline=None)
    @given(data=st.data())
    def test_wherever_the_stream_is_cut(
        self, reader: Callable[[], Reader], stream: bytes, count: int, data: st.DataObject
    ) -> None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
        one = reader()
        pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert sum(one.feed(piece) for piece in pieces) == count

    def test_byte_by_byte(self, reader: Callable[[], Reader], stream: bytes, count: int) -> None:
        one = reader()
        assert sum(one.feed(stream[at : at + 1]) for at in range(len(stream))) == count
