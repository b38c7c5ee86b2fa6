"""Commands: what is within the limits comes back as it was, what is not is refused on both sides."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]
import pytest

from leasekit.backends.raft.kv import limits
from leasekit.backends.raft.kv.commands import (
    Command,
    Expire,
    Grant,
    MalformedCommand,
    OpenSession,
    Proposal,
    Renew,
    Revoke,
    Transact,
    decode,
    encode,
)
from leasekit.store import Absent, At, Compare, Delete, Get, NoneUnder, Op, Put

LONGEST_KEY = "é" * (limits.KEY_MAX_BYTES // 2)


def in_session(command: Command) -> Proposal:
    return Proposal(5, 3, 2, command)


@pytest.mark.parametrize(
    "command",
    [
        Grant(limits.TTL_MIN_MS),
        Grant(limits.TTL_MAX_MS),
        Renew("12"),
        Renew("a lease that was never granted"),
        Revoke(""),
        Transact((), ()),
        Transact((Absent("a"), At("b", limits.NUMBER_MAX), NoneUnder("")), (Put("a", b""), Delete("b"), Get("", True))),
        Transact((), (Put(LONGEST_KEY, b"x" * limits.VALUE_MAX_BYTES, "7"), Get(LONGEST_KEY))),
        Transact((), tuple(Put(str(number), b"") for number in range(limits.OPERATIONS_MAX))),
        # Reading twice what is written once is no contradiction.
        Transact((), (Put("a", b""), Get("a"), Get("a"))),
    ],
)
def test_a_command_comes_back_as_it_was(command: Command) -> None:
    assert decode(encode(in_session(command))) == in_session(command)


@pytest.mark.parametrize("command", [Expire("12", 40), OpenSession(b"n" * limits.NONCE_MAX_BYTES)])
def test_a_command_without_a_session_comes_back_as_it_was(command: Command) -> None:
    assert decode(encode(Proposal(0, 0, 0, command))) == Proposal(0, 0, 0, command)


@pytest.mark.parametrize(
    "proposal",
    [
        Proposal(0, 0, 0, Grant(1000)),
        Proposal(5, 0, 0, Grant(1000)),
        Proposal(5, 3, 3, Grant(1000)),
        Proposal(5, 3, -1, Grant(1000)),
        Proposal(-5, 3, 0, Grant(1000)),
        Proposal(2**63, 3, 0, Grant(1000)),
        Proposal(2**70, 3, 0, Grant(1000)),
        Proposal(True, 3, 0, Grant(1000)),
        Proposal(5, 3, 2, Expire("12", 40)),
        Proposal(5, 3, 2, OpenSession(b"n")),
        Proposal(0, 1, 0, OpenSession(b"n")),
    ],
)
def test_numbers_that_make_no_sense_are_refused(proposal: Proposal) -> None:
    with pytest.raises(MalformedCommand):
        encode(proposal)


@pytest.mark.parametrize(
    "command",
    [
        Grant(limits.TTL_MIN_MS - 1),
        Grant(limits.TTL_MAX_MS + 1),
        Grant(True),
        Renew("x" * (limits.LEASE_ID_MAX_BYTES + 1)),
        OpenSession(b""),
        OpenSession(b"n" * (limits.NONCE_MAX_BYTES + 1)),
        Expire("12", -1),
    ],
)
def test_what_is_beyond_a_limit_is_refused(command: Command) -> None:
    session = 0 if isinstance(command, OpenSession | Expire) else 1
    with pytest.raises(MalformedCommand):
        encode(Proposal(session, session, 0, command))


@pytest.mark.parametrize(
    ("compares", "ops"),
    [
        ((Absent(""),), ()),
        ((Absent(LONGEST_KEY + "x"),), ()),
        ((At("a", -1),), ()),
        ((At("a", 2**63),), ()),
        ((NoneUnder("x" * (limits.KEY_MAX_BYTES + 1)),), ()),
        ((Absent("a"),) * (limits.OPERATIONS_MAX + 1), ()),
        ((), (Put("", b""),)),
        ((), (Put(LONGEST_KEY + "x", b""),)),
        ((), (Put("\ud800", b""),)),
        ((), (Put("a", b"x" * (limits.VALUE_MAX_BYTES + 1)),)),
        ((), (Put("a", b"", "x" * (limits.LEASE_ID_MAX_BYTES + 1)),)),
        ((), (Delete(""),)),
        ((), (Get(""),)),
        ((), (Get("a"),) * (limits.OPERATIONS_MAX + 1)),
        ((), (Put("a", b""), Delete("a"))),
        ((), (Put("a", b""), Put("a", b""))),
        ((), tuple(Put(key, b"x" * limits.VALUE_MAX_BYTES) for key in "ab")),
    ],
)
def test_a_transaction_beyond_a_limit_is_refused(compares: tuple[Compare, ...], ops: tuple[Op, ...]) -> None:
    with pytest.raises(MalformedCommand):
        encode(in_session(Transact(compares, ops)))


def test_a_newer_version_is_told_from_nonsense() -> None:
    data = encode(in_session(Grant(1000)))
    with pytest.raises(MalformedCommand, match="version 2 of commands is not known here"):
        decode(b"\x02" + data[1:])
    with pytest.raises(MalformedCommand, match="command 99 is not known here"):
        decode(b"\x01" + msgpack.packb([5, 3, 2, [99]]))


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        [5, 3, 2],
        [5, 3, 2, []],
        [5, 3, 2, [0, 1000], 0],
        [5, 3, 2, [0]],
        [5, 3, 2, [0, 1000, 0]],
        [5, 3, 2, [0, 1000.0]],
        [5, 3, 2, [False, 1000]],
        [5, 3, 2, [0.0, 1000]],
        [5, 3, 2, [1, b"12"]],
        [5, 3, 2, [4, [[0, "a", 1]], []]],
        [5, 3, 2, [4, [[1, "a"]], []]],
        [5, 3, 2, [4, [[False, "a"]], []]],
        [5, 3, 2, [4, [], [[0, "a", b"", None, 0]]]],
        [5, 3, 2, [4, [], [[0, "a", "text", None]]]],
        [5, 3, 2, [4, [], [[2, "a", 1]]]],
        [5, 3, 2, [4, [], "ops"]],
        [5, 3, 2, [4, {}, []]],
    ],
)
def test_what_is_packed_well_but_is_no_command_is_refused(plain: object) -> None:
    with pytest.raises(MalformedCommand):
        decode(b"\x01" + msgpack.packb(plain))


def test_a_message_of_refusal_names_no_value() -> None:
    with pytest.raises(MalformedCommand) as refused:
        encode(in_session(Transact((), (Put("k" * 2000, b"secret"),))))
    assert "kkk" not in str(refused.value) and "secret" not in str(refused.value)
