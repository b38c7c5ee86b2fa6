"""What the log's entries hold: a command, and the session and sequence that make its retries apply once.

Encoded as one version byte and one msgpack list. A member decodes what other members and older or newer versions
wrote, so that nothing is taken on trust: `decode` gives a command that is whole and within all limits, or raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leasekit.backends.raft.kv.limits import (
    COMMAND_MAX_BYTES,
    LEASE_ID_MAX_BYTES,
    NONCE_MAX_BYTES,
    NUMBER_MAX,
    TTL_MAX_MS,
    TTL_MIN_MS,
)
from leasekit.backends.raft.kv.operations import (
    MalformedCommand,
    compare_to_plain,
    compares_from_plain,
    number,
    octets,
    op_to_plain,
    ops_from_plain,
    text,
)
from leasekit.backends.raft.kv.packing import NotPlain, pack, unpack
from leasekit.store import Compare, Op

__all__ = [
    "Command",
    "Expire",
    "Grant",
    "MalformedCommand",
    "OpenSession",
    "Proposal",
    "Renew",
    "Revoke",
    "Transact",
    "decode",
    "encode",
]

VERSION = 1


@dataclass(frozen=True, slots=True)
class Grant:
    """Make a lease. Its id will be the index of this command in the log."""

    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Start the lease's time to live anew."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """End the lease and delete its keys. An unknown lease is no failure."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Expire:
    """End the lease if it was not renewed since `renewal`. Proposed by the leader, whose clock says that it ran out."""

    lease_id: str
    renewal: int


@dataclass(frozen=True, slots=True)
class Transact:
    """As `Store.transact`, with whole keys."""

    compares: tuple[Compare, ...]
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Open a session. The same `nonce` (random bytes) again gives the same session, so that a retry leaks none."""

    nonce: bytes


Command = Grant | Renew | Revoke | Expire | Transact | OpenSession


@dataclass(frozen=True, slots=True)
class Proposal:
    """A command and who asks for it.

    `sequence` rises by the client's own counting, from 1. `acknowledged`: the client will ask for no sequence up to
    this one again, so that their outcomes may be forgotten. Expire and OpenSession, and they alone, have no session:
    all three numbers are 0.
    """

    session: int
    sequence: int
    acknowledged: int
    command: Command


_GRANT, _RENEW, _REVOKE, _EXPIRE, _TRANSACT, _OPEN_SESSION = range(6)


def encode(proposal: Proposal) -> bytes:
    """The bytes of a proposal. Raises MalformedCommand for what `decode` would refuse."""
    plain = (proposal.session, proposal.sequence, proposal.acknowledged, _to_plain(proposal.command))
    try:
        data = bytes((VERSION,)) + pack(plain)
    except NotPlain as error:
        raise MalformedCommand(str(error)) from error
    decode(data)
    return data


def decode(data: bytes) -> Proposal:
    """The proposal that was encoded. Raises MalformedCommand for anything else: propose nothing that is refused here."""
    if not 1 < len(data) <= COMMAND_MAX_BYTES:
        raise MalformedCommand(f"a command has 2 to {COMMAND_MAX_BYTES} bytes, not {len(data)}")
    if data[0] != VERSION:
        raise MalformedCommand(f"version {data[0]} of commands is not known here, {VERSION} is")
    try:
        plain = unpack(data[1:])
    except NotPlain as error:
        raise MalformedCommand(str(error)) from error
    match plain:
        case (session, sequence, acknowledged, (kind, *arguments)) if type(kind) is int:
            command_from_plain = _COMMANDS.get(kind)
        case _:
            raise MalformedCommand("a proposal is of no known form")
    if command_from_plain is None:
        raise MalformedCommand(f"command {kind} is not known here")
    in_session = kind not in (_EXPIRE, _OPEN_SESSION)
    first, last = (1, NUMBER_MAX) if in_session else (0, 0)
    sequence = number(sequence, "the sequence", first, last)
    return Proposal(
        number(session, "the session", first, last),
        sequence,
        number(acknowledged, "what is acknowledged", 0, max(sequence - 1, 0)),
        command_from_plain(arguments),
    )


def _to_plain(command: Command) -> tuple[object, ...]:
    if isinstance(command, Transact):
        compares = [compare_to_plain(compare) for compare in command.compares]
        return (_TRANSACT, compares, [op_to_plain(op) for op in command.ops])
    if isinstance(command, Renew):
        return (_RENEW, command.lease_id)
    if isinstance(command, Grant):
        return (_GRANT, command.ttl_ms)
    if isinstance(command, Revoke):
        return (_REVOKE, command.lease_id)
    if isinstance(command, Expire):
        return (_EXPIRE, command.lease_id, command.renewal)
    return (_OPEN_SESSION, command.nonce)


def _one(arguments: list[object]) -> object:
    if len(arguments) != 1:
        raise MalformedCommand("a command has too few or too many arguments")
    return arguments[0]


def _two(arguments: list[object]) -> tuple[object, object]:
    if len(arguments) != 2:
        raise MalformedCommand("a command has too few or too many arguments")
    return arguments[0], arguments[1]


def _grant(arguments: list[object]) -> Grant:
    return Grant(number(_one(arguments), "the time to live in milliseconds", TTL_MIN_MS, TTL_MAX_MS))


def _renew(arguments: list[object]) -> Renew:
    return Renew(_lease(_one(arguments)))


def _revoke(arguments: list[object]) -> Revoke:
    return Revoke(_lease(_one(arguments)))


def _expire(arguments: list[object]) -> Expire:
    lease_id, renewal = _two(arguments)
    return Expire(_lease(lease_id), number(renewal, "the renewal"))


def _transact(arguments: list[object]) -> Transact:
    compares, ops = _two(arguments)
    return Transact(compares_from_plain(compares), ops_from_plain(ops))


def _open_session(arguments: list[object]) -> OpenSession:
    return OpenSession(octets(_one(arguments), "the nonce", NONCE_MAX_BYTES, 1))


def _lease(value: object) -> str:
    # Any string may be asked for: one that was never granted is unknown, not malformed.
    return text(value, "a lease", LEASE_ID_MAX_BYTES, 0)


_COMMANDS: dict[int, Callable[[list[object]], Command]] = {
    _GRANT: _grant,
    _RENEW: _renew,
    _REVOKE: _revoke,
    _EXPIRE: _expire,
    _TRANSACT: _transact,
    _OPEN_SESSION: _open_session,
}
