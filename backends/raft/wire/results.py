"""What `Done` holds, on the wire. A tag tells the kinds apart, since one connection carries answers to all requests."""

from __future__ import annotations

from typing import Any

from leasekit.backends.raft.core.types import PeerStatus, Role, Status
from leasekit.backends.raft.kv import outcomes
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


def _write(result: Any) -> Plain:
    match result:
        case None:
            return [0]
        case float():
            return [1, result]
        case Committed():
            # As the outcome of a transaction, which a read's result is like.
            return [2, outcomes.to_plain(outcomes.Transacted(result))]
        case (Status() as status, float() as unix_s):
            return [3, _STATUS.write(status), unix_s]
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
        case [3, status, time, *_]:
            return _STATUS.read(status), REAL.read(time)
        case [4, plain]:
            return _outcome(plain)
    raise ProtocolError("not the result of a request")


def _outcome(plain: Plain) -> outcomes.Outcome:
    try:
        return outcomes.from_plain(plain)
    except outcomes.MalformedOutcome as error:
        raise ProtocolError(str(error)) from None


RESULT = Type(_read, _write)
