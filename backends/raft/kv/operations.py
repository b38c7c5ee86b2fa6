"""Compares, operations and entries of the store contract as plain data for msgpack, and back with every limit checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from leasekit.backends.raft.kv.limits import (
    KEY_MAX_BYTES,
    LEASE_ID_MAX_BYTES,
    NUMBER_MAX,
    OPERATIONS_MAX,
    VALUE_MAX_BYTES,
)
from leasekit.store import Absent, At, Compare, Delete, Entry, Get, NoneUnder, Op, Put

_ABSENT, _AT, _NONE_UNDER = 0, 1, 2
_PUT, _DELETE, _GET = 0, 1, 2


class MalformedCommand(ValueError):
    """Not a command as this version knows them: it is never proposed. The text is for people and names no values."""


def number(value: object, what: str, low: int = 0, high: int = NUMBER_MAX) -> int:
    """`value` if it is an integer within the bounds. Raises MalformedCommand."""
    # Not isinstance: True is an int, and must not pass for 1.
    if type(value) is not int or not low <= value <= high:
        raise MalformedCommand(f"{what} is not an integer from {low} to {high}")
    return value


def text(value: object, what: str, longest: int = KEY_MAX_BYTES, shortest: int = 1) -> str:
    """`value` if it is a string of that many bytes in UTF-8. Raises MalformedCommand."""
    if type(value) is not str or not shortest <= utf8_size(value) <= longest:
        raise MalformedCommand(f"{what} is not a string of {shortest} to {longest} bytes")
    return value


def octets(value: object, what: str, longest: int, shortest: int = 0) -> bytes:
    """`value` if it is bytes of that length. Raises MalformedCommand."""
    if type(value) is not bytes or not shortest <= len(value) <= longest:
        raise MalformedCommand(f"{what} is not {shortest} to {longest} bytes")
    return value


def row(value: object, what: str, longest: int = NUMBER_MAX) -> tuple[object, ...]:
    """`value` if it is a list or tuple of at most that length. Raises MalformedCommand."""
    if not isinstance(value, tuple | list):
        raise MalformedCommand(f"{what} is not a list")
    columns = tuple(cast("Sequence[object]", value))
    if len(columns) > longest:
        raise MalformedCommand(f"{what} is a list of {len(columns)}, more than {longest}")
    return columns


def utf8_size(value: str) -> int:
    """The length in bytes, without encoding what is ASCII."""
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def compare_to_plain(compare: Compare) -> tuple[object, ...]:
    """For `compare_from_plain`."""
    if isinstance(compare, Absent):
        return (_ABSENT, compare.key)
    if isinstance(compare, At):
        return (_AT, compare.key, compare.revision)
    return (_NONE_UNDER, compare.prefix)


def compare_from_plain(plain: object) -> Compare:
    """Raises MalformedCommand."""
    match plain:
        case (kind, key) if kind == _ABSENT and type(kind) is int:
            return Absent(text(key, "a compared key"))
        case (kind, key, revision) if kind == _AT and type(kind) is int:
            return At(text(key, "a compared key"), number(revision, "a compared revision"))
        case (kind, prefix) if kind == _NONE_UNDER and type(kind) is int:
            return NoneUnder(text(prefix, "a compared prefix", shortest=0))
        case _:
            raise MalformedCommand("a compare is of no known form")


def op_to_plain(op: Op) -> tuple[object, ...]:
    """For `op_from_plain`."""
    if isinstance(op, Put):
        return (_PUT, op.key, op.value, op.lease_id)
    if isinstance(op, Delete):
        return (_DELETE, op.key)
    return (_GET, op.key, op.prefix)


def op_from_plain(plain: object) -> Op:
    """Raises MalformedCommand."""
    match plain:
        case (kind, key, value, lease_id) if kind == _PUT and type(kind) is int:
            return Put(
                text(key, "a key"),
                octets(value, "a value", VALUE_MAX_BYTES),
                None if lease_id is None else text(lease_id, "a lease", LEASE_ID_MAX_BYTES, 0),
            )
        case (kind, key) if kind == _DELETE and type(kind) is int:
            return Delete(text(key, "a key"))
        case (kind, key, bool(prefix)) if kind == _GET and type(kind) is int:
            return Get(text(key, "a key", shortest=0 if prefix else 1), prefix)
        case _:
            raise MalformedCommand("an operation is of no known form")


def compares_from_plain(plain: object) -> tuple[Compare, ...]:
    """Raises MalformedCommand."""
    return tuple([compare_from_plain(compare) for compare in row(plain, "what is compared", OPERATIONS_MAX)])


def ops_from_plain(plain: object) -> tuple[Op, ...]:
    """Raises MalformedCommand, also where one key stands in two writes."""
    ops = tuple([op_from_plain(op) for op in row(plain, "what is done", OPERATIONS_MAX)])
    if len(ops) > 1:
        written = [op.key for op in ops if not isinstance(op, Get)]
        if len(set(written)) != len(written):
            raise MalformedCommand("one key stands in two writes")
    return ops


def entry_to_plain(entry: Entry) -> tuple[object, ...]:
    """For `entry_from_plain`."""
    return (entry.key, entry.value, entry.create_revision, entry.revision, entry.lease_id)


def entry_from_plain(plain: object) -> Entry:
    """Raises MalformedCommand."""
    match plain:
        case (key, value, create_revision, revision, lease_id):
            return Entry(
                text(key, "a key"),
                octets(value, "a value", VALUE_MAX_BYTES),
                number(create_revision, "a revision"),
                number(revision, "a revision"),
                None if lease_id is None else text(lease_id, "a lease", LEASE_ID_MAX_BYTES),
            )
        case _:
            raise MalformedCommand("an entry is of no known form")
