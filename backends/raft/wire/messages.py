"""What members say to each other, on the wire."""

from __future__ import annotations

from leasekit.backends.raft.core import messages as m
from leasekit.backends.raft.core.types import Entry, EntryKind, Membership, SnapshotMeta
from leasekit.backends.raft.wire.codec import Table
from leasekit.backends.raft.wire.fields import (
    ADDRESS,
    BLOB,
    FLAG,
    ID,
    NATURAL,
    Record,
    Type,
    mapping,
    member_of,
    several,
)

MEMBERSHIP = Record(Membership, voters=mapping(ADDRESS), learners=mapping(ADDRESS))
_ENTRY = Record(Entry, index=NATURAL, term=NATURAL, kind=member_of(EntryKind), data=BLOB)
_META = Record(SnapshotMeta, index=NATURAL, term=NATURAL, membership=MEMBERSHIP.type)


def _message(cls: type[m.Message], **fields: Type) -> Record:
    return Record(cls, sender=ID, to=ID, term=NATURAL, **fields)


MESSAGES = Table(
    "message",
    {
        1: _message(m.PreVote, last_index=NATURAL, last_term=NATURAL),
        2: _message(m.PreVoteReply, granted=FLAG),
        3: _message(m.Vote, last_index=NATURAL, last_term=NATURAL, transfer=FLAG),
        4: _message(m.VoteReply, granted=FLAG),
        5: _message(
            m.Append, previous_index=NATURAL, previous_term=NATURAL, entries=several(_ENTRY.type), commit=NATURAL
        ),
        6: _message(m.AppendReply, index=NATURAL, rejected=FLAG, hint_index=NATURAL, hint_term=NATURAL),
        7: _message(m.Heartbeat, commit=NATURAL, round=NATURAL),
        8: _message(m.HeartbeatReply, round=NATURAL),
        9: _message(m.SnapshotPiece, meta=_META.type, offset=NATURAL, data=BLOB, size=NATURAL),
        10: _message(m.SnapshotReply, index=NATURAL, offset=NATURAL),
        11: _message(m.TimeoutNow),
    },
)
