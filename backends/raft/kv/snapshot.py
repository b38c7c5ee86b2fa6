"""The whole state as bytes: one version byte, then msgpack objects one behind the other.

Piece by piece, since packing holds the interpreter's lock: a member that encodes in a thread goes on answering between
the pieces. The same state gives the same bytes on every member: everything stands in an order of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from leasekit.backends.raft.kv.keys import Keys
from leasekit.backends.raft.kv.leases import Leases, LeaseState
from leasekit.backends.raft.kv.limits import LEASE_ID_MAX_BYTES, NONCE_MAX_BYTES, TTL_MAX_MS, TTL_MIN_MS
from leasekit.backends.raft.kv.operations import (
    entry_from_plain,
    entry_to_plain,
    number,
    octets,
    row,
    text,
)
from leasekit.backends.raft.kv.outcomes import from_plain, to_plain
from leasekit.backends.raft.kv.packing import PlainReader, pack
from leasekit.backends.raft.kv.sessions import Session, Sessions
from leasekit.store import Entry

VERSION = 1


class MalformedSnapshot(ValueError):
    """The bytes are not a snapshot as this version writes them: restore from another one, or upgrade this member."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The state as of `applied`, shared with nobody who changes it: may be encoded in any thread."""

    applied: int
    order: Sequence[str] = field(repr=False)
    entries: dict[str, Entry] = field(repr=False)
    leases: Sequence[LeaseState] = field(repr=False)
    sessions: Sequence[tuple[int, Session]] = field(repr=False)

    def encode(self) -> bytes:
        """The snapshot's bytes, for `StateMachine.restore`."""
        pieces = [bytes((VERSION,)), pack((self.applied, len(self.order), len(self.leases), len(self.sessions)))]
        pieces += [pack(entry_to_plain(self.entries[key])) for key in self.order]
        pieces += [pack((lease.id, lease.ttl_ms, lease.renewal)) for lease in self.leases]
        for session_id, session in self.sessions:
            pieces.append(pack((session_id, session.nonce, session.acknowledged, len(session.kept))))
            pieces += [pack((sequence, to_plain(session.kept[sequence]))) for sequence in sorted(session.kept)]
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Thawed:
    """What a snapshot holds."""

    applied: int
    keys: Keys
    leases: Leases
    sessions: Sessions


def thaw(data: bytes, sessions: Sessions) -> Thawed:
    """Read a snapshot; the sessions are put into `sessions`, which are empty. Raises MalformedSnapshot."""
    if not data or data[0] != VERSION:
        raise MalformedSnapshot(f"version {data[0] if data else None} of snapshots is not known here, {VERSION} is")
    reader = PlainReader(data[1:])
    try:
        applied, entry_count, lease_count, session_count = _numbers(reader.next(), 4)
        leases, keys = Leases(), Keys()
        # Leases stand behind the keys that are bound to them.
        entries = [entry_from_plain(reader.next()) for _ in range(entry_count)]
        for _ in range(lease_count):
            leases.set(_lease(reader.next()))
        for entry in entries:
            _add(entry, keys, leases)
        for _ in range(session_count):
            sessions.add(*_session(reader))
    except ValueError as error:
        raise MalformedSnapshot(str(error)) from error
    if not reader.at_end():
        raise MalformedSnapshot("there is more behind the last session")
    return Thawed(applied, keys, leases, sessions)


def _add(entry: Entry, keys: Keys, leases: Leases) -> None:
    if keys.order and keys.order[-1] >= entry.key:
        raise MalformedSnapshot("the keys are not in order")
    if entry.lease_id is not None and entry.lease_id not in leases.states:
        raise MalformedSnapshot("a key is bound to a lease that is not there")
    leases.move(entry.key, None, entry.lease_id)
    keys.put(entry)


def _lease(plain: object) -> LeaseState:
    lease_id, ttl_ms, renewal = _columns(plain, 3)
    return LeaseState(
        text(lease_id, "a lease", LEASE_ID_MAX_BYTES),
        number(ttl_ms, "a time to live", TTL_MIN_MS, TTL_MAX_MS),
        number(renewal, "a renewal"),
    )


def _session(reader: PlainReader) -> tuple[int, Session]:
    session_id, nonce, acknowledged, kept_count = _columns(reader.next(), 4)
    session = Session(
        octets(nonce, "a nonce", NONCE_MAX_BYTES, 1),
        number(acknowledged, "what is acknowledged"),
    )
    for _ in range(number(kept_count, "how many outcomes are kept")):
        sequence, outcome = _columns(reader.next(), 2)
        session.kept[number(sequence, "a sequence")] = from_plain(outcome)
    return number(session_id, "a session", 1), session


def _columns(plain: object, count: int) -> tuple[object, ...]:
    columns = row(plain, "a row of the snapshot")
    if len(columns) != count:
        raise MalformedSnapshot("a row of the snapshot is too short or too long")
    return columns


def _numbers(plain: object, count: int) -> list[int]:
    return [number(column, "a number of the snapshot's head") for column in _columns(plain, count)]
