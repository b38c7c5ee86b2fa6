"""Cutting a stream into frames."""

from __future__ import annotations

import pytest

from leasekit.backends.raft.wire import MAX_FRAME_BYTES, Frames, frame
from leasekit.errors import ProtocolError


def test_a_frame_is_its_length_and_its_body() -> None:
    assert frame(b"body") == b"\0\0\0\x04body"


def test_a_body_comes_out_with_its_last_byte() -> None:
    frames = Frames()
    sent = frame(b"body")
    assert [frames.feed(sent[i : i + 1]) for i in range(len(sent))] == [*([[]] * 7), [b"body"]]


def test_several_frames_come_out_of_one_piece() -> None:
    assert Frames().feed(frame(b"a") + frame(b"") + frame(b"bc")) == [b"a", b"", b"bc"]


def test_a_length_that_is_too_large_is_refused_before_the_body_comes() -> None:
    frames = Frames(max_bytes=10)
    assert frames.feed(frame(b"x" * 10)) == [b"x" * 10]
    with pytest.raises(ProtocolError, match="11 bytes"):
        frames.feed(b"\0\0\0\x0b")


def test_a_length_that_comes_in_pieces_is_refused_as_soon_as_it_is_known() -> None:
    frames = Frames(max_bytes=10)
    assert frames.feed(b"\xff\xff\xff") == []
    with pytest.raises(ProtocolError):
        frames.feed(b"\xff")


def test_another_protocol_is_taken_for_a_frame_that_is_too_large() -> None:
    with pytest.raises(ProtocolError):
        Frames().feed(b"GET / HTTP/1.1\r\n")


def test_a_body_that_is_too_large_is_not_sent() -> None:
    assert len(frame(b"x" * MAX_FRAME_BYTES)) == MAX_FRAME_BYTES + 4
    with pytest.raises(ProtocolError):
        frame(b"x" * (MAX_FRAME_BYTES + 1))


def test_the_limit_can_be_raised_between_frames() -> None:
    frames = Frames(max_bytes=4)
    assert frames.feed(frame(b"four")) == [b"four"]
    frames.max_bytes = 5
    assert frames.feed(frame(b"five!")) == [b"five!"]
