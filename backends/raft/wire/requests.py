"""What clients ask and are told, on the wire. Keys, compares and reads are written as in commands, with the same limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leasekit.backends.raft import requests as r
from leasekit.backends.raft.kv.limits import COMMAND_MAX_BYTES, KEY_MAX_BYTES, OPERATIONS_MAX
from leasekit.backends.raft.kv.operations import (
    MalformedCommand,
    compare_from_plain,
    compare_to_plain,
    entry_from_plain,
    entry_to_plain,
    op_from_plain,
    op_to_plain,
    utf8_size,
)
from leasekit.backends.raft.wire.codec import Table
from leasekit.backends.raft.wire.fields import (
    ADDRESS,
    FLAG,
    ID,
    NATURAL,
    TEXT,
    Plain,
    Record,
    Type,
    blob,
    member_of,
    optional,
    several,
)
from leasekit.backends.raft.wire.results import RESULT
from leasekit.errors import ProtocolError
from leasekit.store import Changed, Get


def _of_commands(read: Callable[[object], Any], write: Callable[[Any], Plain]) -> Type:
    """What commands hold as well."""

    def read_strictly(plain: Plain) -> Any:
        try:
            return read(plain)
        except MalformedCommand as error:
            raise ProtocolError(str(error)) from None

    return Type(read_strictly, write)


def _get_from_plain(plain: object) -> Get:
    op = op_from_plain(plain)
    if not isinstance(op, Get):
        raise MalformedCommand("a read that writes")
    return op


def _key(plain: Plain) -> str:
    key: str = TEXT.read(plain)
    if utf8_size(key) > KEY_MAX_BYTES:
        raise ProtocolError(f"longer than {KEY_MAX_BYTES} bytes")
    return key


_COMPARES = several(_of_commands(compare_from_plain, compare_to_plain), OPERATIONS_MAX)
_GETS = several(_of_commands(_get_from_plain, op_to_plain), OPERATIONS_MAX)
_CHANGED = Record(Changed, key=TEXT, entry=optional(_of_commands(entry_from_plain, entry_to_plain)), revision=NATURAL)

REQUESTS = Table(
    "request",
    {
        32: Record(r.Propose, id=NATURAL, command=blob(COMMAND_MAX_BYTES)),
        33: Record(r.Read, id=NATURAL, compares=_COMPARES, ops=_GETS),
        34: Record(r.Watch, id=NATURAL, key=Type(_key), prefix=FLAG, after=NATURAL),
        35: Record(r.Unwatch, id=NATURAL, watch=NATURAL),
        36: Record(r.AskStatus, id=NATURAL),
        37: Record(r.AskTime, id=NATURAL),
        38: Record(r.ChangeMembership, id=NATURAL, action=member_of(r.MemberAction), member=ID, address=ADDRESS),
        39: Record(r.TransferLeadership, id=NATURAL, to=optional(ID)),
        40: Record(r.TakeSnapshot, id=NATURAL),
    },
)


RESPONSES = Table(
    "response",
    {
        64: Record(r.Done, id=NATURAL, result=RESULT),
        65: Record(r.Event, id=NATURAL, changes=several(_CHANGED.type), revision=NATURAL, resync=FLAG),
        66: Record(r.NotLeader, id=NATURAL, leader=optional(ADDRESS)),
        67: Record(r.Refused, id=NATURAL, problem=member_of(r.Problem), text=TEXT),
    },
)
