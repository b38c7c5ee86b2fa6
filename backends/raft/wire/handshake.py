"""What a connection says first, before a version is agreed on. This format never changes, save by more at the end."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from leasekit.backends.raft.wire.codec import Table, pack, unpack
from leasekit.backends.raft.wire.fields import ID, NATURAL, Record, member_of, text
from leasekit.errors import ProtocolError

_VERSION = 0
"""In the place of the version: no version of the messages has this number."""

MAX_REASON = 500
"""Longest reason for refusing a connection, in characters."""


class Purpose(enum.Enum):
    """What the one who connects is."""

    MEMBER = "member"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who connects. `cluster` may be empty for a client that does not know it yet; `member` is empty for a client."""

    oldest: int
    newest: int
    """The versions that it speaks."""
    cluster: str
    purpose: Purpose
    member: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Who was connected to. From here on both speak `version`."""

    version: int
    member: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The connection is of no use, and is closed. `reason` is for people."""

    reason: str


HANDSHAKE = Table(
    "handshake",
    {
        1: Record(
            Hello, oldest=NATURAL, newest=NATURAL, cluster=text(256), purpose=member_of(Purpose), member=text(256)
        ),
        2: Record(Welcome, version=NATURAL, member=ID, cluster=ID),
        3: Record(Rejected, reason=text(MAX_REASON)),
    },
)


def encode_handshake(said: Hello | Welcome | Rejected) -> bytes:
    """The body of a frame."""
    return pack(HANDSHAKE, said, _VERSION)


def decode_hello(body: bytes) -> Hello:
    """What a client or member says first. Raises ProtocolError."""
    hello = unpack(HANDSHAKE, body, oldest=_VERSION, newest=_VERSION)
    if not isinstance(hello, Hello):
        raise ProtocolError(f"said {type(hello).__name__} in the place of Hello")
    if (hello.purpose is Purpose.MEMBER) != bool(hello.member):
        raise ProtocolError("a member says its id, a client none")
    return hello


def decode_answer(body: bytes) -> Welcome | Rejected:
    """What is answered to a Hello. Raises ProtocolError."""
    answer = unpack(HANDSHAKE, body, oldest=_VERSION, newest=_VERSION)
    if isinstance(answer, Hello):
        raise ProtocolError("said Hello in the place of an answer")
    assert isinstance(answer, Welcome | Rejected)
    return answer
