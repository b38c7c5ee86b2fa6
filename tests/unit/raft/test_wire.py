"""Messages, requests and the handshake as bytes."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]
import pytest

from leasekit.backends.raft import requests as r
from leasekit.backends.raft import wire
from leasekit.backends.raft.core import messages as m
from leasekit.backends.raft.core.types import Entry, EntryKind
from leasekit.backends.raft.kv.limits import COMMAND_MAX_BYTES, KEY_MAX_BYTES
from leasekit.backends.raft.wire.codec import Table, unpack_fields
from leasekit.backends.raft.wire.handshake import HANDSHAKE
from leasekit.backends.raft.wire.messages import MESSAGES
from leasekit.backends.raft.wire.requests import REQUESTS, RESPONSES
from leasekit.errors import ProtocolError
from leasekit.store import Get, Put
from support.raft_versions import NEWER_CODEC

_HEARTBEAT = m.Heartbeat(sender="a", to="b", term=3, commit=7, round=2)
_APPEND = m.Append(
    sender="a",
    to="b",
    term=3,
    previous_index=4,
    previous_term=2,
    entries=(Entry(5, 3, EntryKind.COMMAND, b"x"),),
    commit=4,
)


def _with(body: bytes, field: int, value: object) -> bytes:
    fields = unpack_fields(body)
    fields[field] = value
    packed: bytes = msgpack.packb(fields)
    return body[:2] + packed


def test_the_format_is_the_one_that_is_written_down() -> None:
    # Other versions and programs read it: whoever changes these bytes makes a new version.
    assert wire.encode_message(_HEARTBEAT) == bytes.fromhex("01 07 95 a1 61 a1 62 03 07 02")
    assert wire.encode_message(_APPEND) == bytes.fromhex("01 05 97 a1 61 a1 62 03 04 02 91 94 05 03 00 c4 01 78 04")
    assert wire.encode_request(r.Propose(id=1, command=b"c")) == bytes.fromhex("01 20 92 01 c4 01 63")
    assert wire.encode_response(r.NotLeader(id=1, leader="h:1")) == bytes.fromhex("01 42 92 01 a3 68 3a 31")
    hello = wire.Hello(oldest=1, newest=1, cluster="c", purpose=wire.Purpose.MEMBER, member="a")
    assert wire.encode_handshake(hello) == bytes.fromhex("00 01 95 01 01 a1 63 a6 6d 65 6d 62 65 72 a1 61")


@pytest.mark.parametrize(
    ("table", "base"),
    [(MESSAGES, m.Message), (REQUESTS, r.Request), (RESPONSES, r.Response)],
    ids=["messages", "requests", "responses"],
)
def test_every_kind_has_a_number(table: Table, base: type[object]) -> None:
    # By name: a class with slots leaves the one without behind it among the subclasses.
    assert {cls.__name__ for cls in table.classes} == {cls.__name__ for cls in base.__subclasses__()}


@pytest.mark.parametrize("term", [-1, 2**63, 1.0, "3", None, True, [3]])
def test_a_term_that_is_no_number_in_range_is_refused(term: object) -> None:
    with pytest.raises(ProtocolError, match=r"Heartbeat\.term"):
        wire.decode_message(_with(wire.encode_message(_HEARTBEAT), 2, term))


@pytest.mark.parametrize("sender", ["", "x" * 257, b"a", 1, None])
def test_a_sender_without_a_proper_id_is_refused(sender: object) -> None:
    with pytest.raises(ProtocolError, match=r"Heartbeat\.sender"):
        wire.decode_message(_with(wire.encode_message(_HEARTBEAT), 0, sender))


@pytest.mark.parametrize("entry", [[5, 3, 2, b"x"], [5, 3, 0, "x"], [5, 3, 0], 5, [5, 3, False, b"x"]])
def test_a_malformed_entry_is_refused(entry: object) -> None:
    with pytest.raises(ProtocolError, match=r"Append\.entries"):
        wire.decode_message(_with(wire.encode_message(_APPEND), 5, [entry]))


def test_a_field_too_few_is_refused() -> None:
    body = wire.encode_message(_HEARTBEAT)
    with pytest.raises(ProtocolError):
        wire.decode_message(body[:2] + msgpack.packb(unpack_fields(body)[:-1]))


def test_fields_of_a_newer_version_are_ignored() -> None:
    body = wire.encode_message(_HEARTBEAT)
    longer = body[:2] + msgpack.packb([*unpack_fields(body), {"new": 1}, 7])
    assert wire.decode_message(longer) == _HEARTBEAT


@pytest.mark.parametrize("version", [0, 2, 255])
def test_a_version_that_is_not_spoken_here_is_refused(version: int) -> None:
    with pytest.raises(ProtocolError, match=f"version {version}"):
        wire.decode_message(bytes([version]) + wire.encode_message(_HEARTBEAT)[1:])


def test_a_request_is_no_message() -> None:
    with pytest.raises(ProtocolError, match="no message has the number 36"):
        wire.decode_message(wire.encode_request(r.AskStatus(id=1)))


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x01\x07", b"\x01\x07\xc1", b"\x01\x07" + b"\x91" * 5000])
def test_what_is_no_frame_body_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_message(body)


def test_a_length_within_that_claims_more_than_there_is_takes_no_memory() -> None:
    for claim in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"):
        with pytest.raises(ProtocolError):
            wire.decode_message(b"\x01\x07" + claim)


def test_a_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(ProtocolError):
        wire.decode_message(b"\x01\x07\x95\xa1\xff\xa1b\x03\x07\x02")


def test_a_command_longer_than_any_can_be_is_refused() -> None:
    assert wire.decode_request(wire.encode_request(r.Propose(id=1, command=bytes(COMMAND_MAX_BYTES))))
    with pytest.raises(ProtocolError):
        wire.decode_request(wire.encode_request(r.Propose(id=1, command=bytes(COMMAND_MAX_BYTES + 1))))


def test_the_longest_command_fits_into_a_frame_beside_others() -> None:
    entries = tuple(Entry(i, 1, EntryKind.COMMAND, bytes(COMMAND_MAX_BYTES)) for i in (1, 2))
    append = m.Append(sender="a", to="b", term=1, previous_index=0, previous_term=0, entries=entries, commit=0)
    assert len(wire.frame(wire.encode_message(append))) < wire.MAX_FRAME_BYTES


def test_a_read_that_writes_is_refused() -> None:
    with pytest.raises(ProtocolError):
        wire.decode_request(wire.encode_request(r.Read(id=1, compares=(), ops=(Put("k", b""),))))


def test_a_watch_of_a_key_longer_than_any_can_be_is_refused() -> None:
    too_long = r.Watch(id=1, key="k" * (KEY_MAX_BYTES + 1), prefix=False, after=0)
    with pytest.raises(ProtocolError, match=r"Watch\.key"):
        wire.decode_request(wire.encode_request(too_long))


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 1])
def test_a_time_that_is_no_finite_number_is_refused(time: object) -> None:
    body = wire.encode_response(r.Done(id=1, result=1.5))
    with pytest.raises(ProtocolError):
        wire.decode_response(_with(body, 1, [1, time]))


def test_a_hello_says_what_it_is() -> None:
    client = wire.Hello(oldest=1, newest=3, cluster="", purpose=wire.Purpose.CLIENT)
    assert wire.decode_hello(wire.encode_handshake(client)) == client
    for wrong in (
        wire.Hello(oldest=1, newest=1, cluster="c", purpose=wire.Purpose.MEMBER),
        wire.Hello(oldest=1, newest=1, cluster="c", purpose=wire.Purpose.CLIENT, member="a"),
        wire.Rejected("no"),
    ):
        with pytest.raises(ProtocolError):
            wire.decode_hello(wire.encode_handshake(wrong))


def test_an_answer_to_a_hello_is_welcome_or_rejected() -> None:
    for answer in (wire.Welcome(version=1, member="a", cluster="c"), wire.Rejected("no")):
        assert wire.decode_answer(wire.encode_handshake(answer)) == answer
    hello = wire.Hello(oldest=1, newest=1, cluster="c", purpose=wire.Purpose.CLIENT)
    with pytest.raises(ProtocolError):
        wire.decode_answer(wire.encode_handshake(hello))


def test_the_longest_hello_fits_before_the_handshake() -> None:
    hello = wire.Hello(
        oldest=1, newest=2**62, cluster="\U0001f511" * 256, purpose=wire.Purpose.MEMBER, member="\xe9" * 256
    )
    assert len(wire.encode_handshake(hello)) <= wire.MAX_HANDSHAKE_BYTES
    assert set(HANDSHAKE.classes) == {wire.Hello, wire.Welcome, wire.Rejected}


def test_two_versions_agree_on_the_newest_that_both_speak() -> None:
    assert wire.CODEC.agree(1, 1) == 1
    assert wire.CODEC.agree(1, 9) == 1
    assert NEWER_CODEC.agree(1, 1) == 1
    assert NEWER_CODEC.agree(1, 2) == 2
    assert wire.CODEC.agree(2, 3) is None


def test_the_newer_version_is_read_by_both_where_they_agreed_on_the_older() -> None:
    version = NEWER_CODEC.agree(wire.CODEC.oldest, wire.CODEC.newest)
    assert wire.CODEC.decode_message(NEWER_CODEC.encode_message(_APPEND, version)) == _APPEND
    assert NEWER_CODEC.decode_message(wire.CODEC.encode_message(_APPEND, version)) == _APPEND
    assert NEWER_CODEC.decode_message(NEWER_CODEC.encode_message(_APPEND)) == _APPEND
    with pytest.raises(ProtocolError, match="version 2"):
        wire.CODEC.decode_message(NEWER_CODEC.encode_message(_APPEND))


def test_a_read_is_written_with_its_compares() -> None:
    read = r.Read(id=9, compares=(), ops=(Get("k"), Get("p/", prefix=True)))
    assert wire.decode_request(wire.encode_request(read)) == read
