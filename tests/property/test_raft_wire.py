"""Raft's frames: what is written is read back, and whatever else comes is refused in one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasekit.backends.raft import wire
from leasekit.backends.raft.core.messages import Message
from leasekit.backends.raft.requests import Request, Response
from leasekit.errors import ProtocolError
from support import raft_values

_DECODERS: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = [
    (wire.decode_message, wire.encode_message),
    (wire.decode_request, wire.encode_request),
    (wire.decode_response, wire.encode_response),
    (wire.decode_hello, wire.encode_handshake),
    (wire.decode_answer, wire.encode_handshake),
]
_either = pytest.mark.parametrize(
    ("decode", "encode"), _DECODERS, ids=["message", "request", "response", "hello", "answer"]
)

_kinds = st.integers(0, 70)
_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["follower", "leader", "add", "unavailable", "member", "client"])
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=30,
)


@given(raft_values.messages)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert wire.decode_message(wire.encode_message(message)) == message


@given(raft_values.requests)
def test_a_request_is_read_as_it_was_written(request: Request) -> None:
    assert wire.decode_request(wire.encode_request(request)) == request


@given(raft_values.responses)
def test_a_response_is_read_as_it_was_written(response: Response) -> None:
    assert wire.decode_response(wire.encode_response(response)) == response


@_either
@given(body=st.binary(max_size=60))
def test_any_bytes_are_refused_or_make_sense(
    decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], body: bytes
) -> None:
    _refused_or_sound(decode, encode, body)


@_either
@given(version=st.integers(0, 2), kind=_kinds, fields=_plain)
def test_any_fields_are_refused_or_make_sense(
    decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], version: int, kind: int, fields: object
) -> None:
    _refused_or_sound(decode, encode, bytes((version, kind)) + msgpack.packb(fields))


@given(raft_values.messages, st.data())
def test_a_message_with_one_byte_changed_is_refused_or_makes_sense(message: Message, data: st.DataObject) -> None:
    _damaged(wire.encode_message(message), wire.decode_message, wire.encode_message, data)


@given(raft_values.responses, st.data())
def test_a_response_with_one_byte_changed_is_refused_or_makes_sense(response: Response, data: st.DataObject) -> None:
    _damaged(wire.encode_response(response), wire.decode_response, wire.encode_response, data)


@given(raft_values.messages, st.data())
def test_half_a_message_is_refused(message: Message, data: st.DataObject) -> None:
    body = wire.encode_message(message)
    with pytest.raises(ProtocolError):
        wire.decode_message(body[: data.draw(st.integers(0, len(body) - 1))])


@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_frames_come_out_whole_however_the_stream_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(wire.frame(body) for body in bodies)
    frames = wire.Frames()
    found = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += frames.feed(stream[:cut])
        stream = stream[cut:]
    assert found == bodies


def _damaged(body: bytes, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body) - 1))
    _refused_or_sound(decode, encode, body[:at] + bytes([data.draw(st.integers(0, 255))]) + body[at + 1 :])


def _refused_or_sound(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], body: bytes) -> None:
    try:
        value = decode(body)
    except ProtocolError:
        return
    assert decode(encode(value)) == value
