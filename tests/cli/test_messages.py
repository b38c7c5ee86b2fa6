"""What leasekit and the watchdog say to each other."""

from __future__ import annotations

import socket

import pytest

from leasekit.clock import Instant
from leasekit.watchdog.messages import (
    Begin,
    Channel,
    Deadline,
    Ended,
    Forward,
    Message,
    NotStarted,
    Resume,
    Started,
    Stop,
    Suspended,
    decode,
    encode,
)
from leasekit.watchdog.supervision import Cause

MESSAGES: list[Message] = [
    Begin(Instant(1234567.123456789, 0.1), foreground=True, token=123456789012345678),
    Begin(Instant(0.1, 1234567.123456789), foreground=False, token=None),
    Deadline(Instant(1234567.123456789, 0.1)),
    Forward(15),
    Stop(),
    Resume(foreground=True),
    Resume(foreground=False),
    Started(4711),
    NotStarted(2),
    Suspended(20),
    Ended(-9, Cause.DEADLINE),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message).rstrip(b"\n")) == message


@pytest.mark.parametrize(
    "line", [b"", b"Ended", b"Ended 0 bored", b"Deadline soon 1.0", b"Begin 1.0 1.0 1 soon", b"\xff"]
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the type is the contract)
        decode(line)


def test_messages_may_come_in_pieces() -> None:
    near, far = socket.socketpair()
    channel = Channel(near)
    with far:
        far.send(b"Forward 1")
        assert channel.receive() == []
        far.send(b"5\nStop\nResu")
        assert channel.receive() == [Forward(15), Stop()]
        assert channel.open
    channel.close()


def test_the_last_words_of_a_peer_that_is_gone_are_heard_although_it_cannot_be_written_to() -> None:
    near, far = socket.socketpair()
    channel = Channel(near)
    far.send(encode(NotStarted(2)))
    far.close()
    channel.send(Stop())
    assert channel.receive() == [NotStarted(2)]
    assert not channel.open
    channel.close()


def test_last_words_are_heard_also_if_the_peer_went_without_reading() -> None:
    near, far = socket.socketpair()
    channel = Channel(near)
    channel.send(Stop())
    far.send(encode(NotStarted(2)))
    far.close()
    assert channel.receive() == [NotStarted(2)]
    assert not channel.open
    channel.close()


def test_a_peer_that_does_not_read_cannot_block_the_other_side_and_gets_whole_lines_later() -> None:
    near, far = socket.socketpair()
    channel, peer = Channel(near), Channel(far)
    for _ in range(50_000):
        channel.send(Forward(15))
    assert channel.open
    assert set(peer.receive()) == {Forward(15)}
    channel.send(Stop())
    assert peer.receive()[-1] == Stop()
    channel.close()
    peer.close()
