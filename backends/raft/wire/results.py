"""What `Done` holds, on the wire. A tag tells the kinds apart, since one connection carries answers to all requests."""

from __future__ import annotations

from typing import Any

from leasekit.backends.raft.core.types import PeerStatus, Role, Status
from leasekit.backends.raft.kv import outcomes
from leasekit.backends.raft.requests import MemberStatus
from leasekit.backends.raft.wire.fields import (
    FLAG,
    ID,
    NATURAL,
    REAL,
    TEXT,
    Plain,
    Record,
    Type,
    mapping,
    member_of,
    optional,
    several,
)
from leasekit.backends.raft.wire.messages import MEMBERSHIP
from leasekit.errors import ProtocolError
from leasekit.store import Committed

_PEER = Record(PeerStatus, match=NATURAL, next=NATURAL, state=TEXT, active=FLAG)
_STATUS = Record(
    Status,
    id=ID,
    role=member_of(Role),
    term=NATURAL,
    leader=optional(ID),
    commit=NATURAL,
    applied=NATURAL,
    first_index=NATURAL,
    last_index=NATURAL,
    membership=MEMBERSHIP.type,
    progress=mapping(_PEER.type),
)
_MEMBER_STATUS = Record(
    MemberStatus,
    raft=_STATUS.type,
    unix_s=REAL,
    failure=optional(TEXT),
    log_bytes=NATURAL,
    free_bytes=NATURAL,
    version=TEXT,
    met=several(ID),
)


def _write(result: Any) -> Plain:
    match result:
        case None:
            return [0]
        case float():
            return [1, result]
        case Committed():
            # As the outcome of a transaction, which a read's result is like.
            return [2, outcomes.to_plain(outcomes.Transacted(result))]
        case MemberStatus():
            return [3, *_MEMBER_STATUS.write(result)]
    return [4, outcomes.to_plain(result)]


def _read(plain: Plain) -> Any:
    match plain:
        case [0]:
            return None
        case [1, time]:
            return REAL.read(time)
        case [2, plain]:
            outcome = _outcome(plain)
            if isinstance(outcome, outcomes.Transacted) and outcome.committed is not None:
                return outcome.committed
        case [3, *fields]:
            return _MEMBER_STATUS.read(fields)
        case [4, plain]:
            return _outcome(plain)
    raise ProtocolError("not the result of a request")


def _outcome(plain: Plain) -> outcomes.Outcome:
    try:
        return outcomes.from_plain(plain)
    except outcomes.MalformedOutcome as error:
        raise ProtocolError(str(error)) from None


RESULT = Type(_read, _write)
