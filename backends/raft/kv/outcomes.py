"""What became of a command: the answer to its client, kept with the session for its retries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leasekit.backends.raft.kv.limits import LEASE_ID_MAX_BYTES, TTL_MAX_MS, TTL_MIN_MS
from leasekit.backends.raft.kv.operations import (
    entry_from_plain,
    entry_to_plain,
    number,
    row,
    text,
    utf8_size,
)
from leasekit.store import Committed, Entry


@dataclass(frozen=True, slots=True)
class Granted:
    """To Grant."""

    lease_id: str
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """To Renew: the whole time to live, begun anew."""

    ttl_ms: int


@dataclass(frozen=True, slots=True)
class LeaseUnknown:
    """To Renew, or to a transaction that puts a key on this lease: nothing was applied."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """To Revoke, also of an unknown lease."""


@dataclass(frozen=True, slots=True)
class Expired:
    """To Expire: whether the lease ended by it."""

    ended: bool


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """To OpenSession."""

    session: int


@dataclass(frozen=True, slots=True)
class Transacted:
    """To Transact. None: a compare failed, nothing was applied."""

    committed: Committed | None


@dataclass(frozen=True, slots=True)
class SessionUnknown:
    """The session was never opened or has ended: this copy of the command was not applied.

    An earlier copy may have been, if it was sent before. Open another session.
    """


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The client has acknowledged this sequence or a later one: whether it was applied is no longer known."""


@dataclass(frozen=True, slots=True)
class TooManyOutstanding:
    """The session keeps as many outcomes as it may: this copy was not applied, and that is not remembered.

    Acknowledge more, then ask again with the same sequence; under another one it may be applied twice.
    """


@dataclass(frozen=True, slots=True)
class Full:
    """The store would grow beyond its capacity: nothing was applied. What makes no growth goes on: deletes, revokes."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The transaction reads more than `ANSWER_MAX_BYTES`: nothing was applied."""


Outcome = (
    Granted
    | Renewed
    | LeaseUnknown
    | Revoked
    | Expired
    | SessionOpened
    | Transacted
    | SessionUnknown
    | Forgotten
    | TooManyOutstanding
    | Full
    | TooLarge
)

_GRANTED, _RENEWED, _LEASE_UNKNOWN, _EXPIRED, _SESSION_OPENED, _TRANSACTED, _COMPARE_FAILED = range(7)
# Those that say nothing but their name.
_BARE: dict[int, Outcome] = {
    10: Revoked(),
    11: SessionUnknown(),
    12: Forgotten(),
    13: TooManyOutstanding(),
    14: Full(),
    15: TooLarge(),
}
_BARE_KINDS = {type(outcome): kind for kind, outcome in _BARE.items()}


class MalformedOutcome(ValueError):
    """Not an outcome as this version knows them: the other side speaks another version, or not this language."""


def to_plain(outcome: Outcome) -> tuple[object, ...]:
    """For `from_plain`: tuples, strings, bytes and integers."""
    if isinstance(outcome, Transacted):
        committed = outcome.committed
        if committed is None:
            return (_COMPARE_FAILED,)
        reads = [[entry_to_plain(entry) for entry in entries] for entries in committed.reads]
        return (_TRANSACTED, committed.revision, reads)
    if isinstance(outcome, Granted):
        return (_GRANTED, outcome.lease_id, outcome.ttl_ms)
    if isinstance(outcome, Renewed):
        return (_RENEWED, outcome.ttl_ms)
    if isinstance(outcome, LeaseUnknown):
        return (_LEASE_UNKNOWN, outcome.lease_id)
    if isinstance(outcome, Expired):
        return (_EXPIRED, int(outcome.ended))
    if isinstance(outcome, SessionOpened):
        return (_SESSION_OPENED, outcome.session)
    return (_BARE_KINDS[type(outcome)],)


def from_plain(plain: object) -> Outcome:
    """The outcome that was made plain; lists may have become tuples. Raises MalformedOutcome."""
    try:
        kind, *said = row(plain, "an outcome")
        kind = number(kind, "an outcome's kind")
        if kind in _BARE and not said:
            return _BARE[kind]
        return _SPEAKING[kind](*said)
    except (LookupError, TypeError, ValueError) as error:
        raise MalformedOutcome(f"not an outcome: {error}") from error


def size_of(reads: tuple[tuple[Entry, ...], ...]) -> int:
    """The bytes of the keys and values of what was read."""
    return sum([utf8_size(entry.key) + len(entry.value) for entries in reads for entry in entries])


def _granted(lease_id: object, ttl_ms: object) -> Granted:
    return Granted(text(lease_id, "a lease", LEASE_ID_MAX_BYTES), _ttl_ms(ttl_ms))


def _renewed(ttl_ms: object) -> Renewed:
    return Renewed(_ttl_ms(ttl_ms))


def _lease_unknown(lease_id: object) -> LeaseUnknown:
    return LeaseUnknown(text(lease_id, "a lease", LEASE_ID_MAX_BYTES, 0))


def _expired(ended: object) -> Expired:
    return Expired(bool(number(ended, "whether it ended", 0, 1)))


def _session_opened(session: object) -> SessionOpened:
    return SessionOpened(number(session, "the session", 1))


def _transacted(revision: object, reads: object) -> Transacted:
    every = tuple(
        tuple(entry_from_plain(entry) for entry in row(entries, "what one read found"))
        for entries in row(reads, "what was read")
    )
    return Transacted(Committed(number(revision, "the revision"), every))


def _compare_failed() -> Transacted:
    return Transacted(None)


def _ttl_ms(value: object) -> int:
    return number(value, "the time to live in milliseconds", TTL_MIN_MS, TTL_MAX_MS)


_SPEAKING: dict[int, Callable[..., Outcome]] = {
    _GRANTED: _granted,
    _RENEWED: _renewed,
    _LEASE_UNKNOWN: _lease_unknown,
    _EXPIRED: _expired,
    _SESSION_OPENED: _session_opened,
    _TRANSACTED: _transacted,
    _COMPARE_FAILED: _compare_failed,
}
