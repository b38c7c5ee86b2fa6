"""Hypothesis strategies for what Raft's members and clients send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from leasekit.backends.raft import requests as r
from leasekit.backends.raft.core import messages as m
from leasekit.backends.raft.core.types import Entry, EntryKind, Membership, PeerStatus, Role, SnapshotMeta, Status
from leasekit.backends.raft.kv import outcomes as o
from leasekit.store import Absent, At, Changed, Committed, Get, NoneUnder
from leasekit.store import Entry as KeyEntry

naturals = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
blobs = st.binary(max_size=40)

_memberships = st.builds(
    Membership, voters=st.dictionaries(ids, texts, max_size=5), learners=st.dictionaries(ids, texts, max_size=3)
)
_entries = st.builds(Entry, index=naturals, term=naturals, kind=st.sampled_from(EntryKind), data=blobs)
_metas = st.builds(SnapshotMeta, index=naturals, term=naturals, membership=_memberships)
_shapes: dict[type[m.Message], dict[str, SearchStrategy[Any]]] = {
    m.PreVote: {"last_index": naturals, "last_term": naturals},
    m.PreVoteReply: {"granted": st.booleans()},
    m.Vote: {"last_index": naturals, "last_term": naturals, "transfer": st.booleans()},
    m.VoteReply: {"granted": st.booleans()},
    m.Append: {
        "previous_index": naturals,
        "previous_term": naturals,
        "entries": st.lists(_entries, max_size=4).map(tuple),
        "commit": naturals,
    },
    m.AppendReply: {"index": naturals, "rejected": st.booleans(), "hint_index": naturals, "hint_term": naturals},
    m.Heartbeat: {"commit": naturals, "round": naturals},
    m.HeartbeatReply: {"round": naturals},
    m.SnapshotPiece: {"meta": _metas, "offset": naturals, "data": blobs, "size": naturals},
    m.SnapshotReply: {"index": naturals, "offset": naturals},
    m.TimeoutNow: {},
}
messages: SearchStrategy[m.Message] = st.one_of(
    *(st.builds(cls, sender=ids, to=ids, term=naturals, **fields) for cls, fields in _shapes.items())
)

_compares = st.one_of(st.builds(Absent, keys), st.builds(At, keys, naturals), st.builds(NoneUnder, texts))
requests: SearchStrategy[r.Request] = st.one_of(
    st.builds(r.Propose, id=naturals, command=blobs),
    st.builds(
        r.Read,
        id=naturals,
        compares=st.lists(_compares, max_size=3).map(tuple),
        ops=st.lists(st.builds(Get, keys, st.booleans()), max_size=3).map(tuple),
    ),
    st.builds(r.Watch, id=naturals, key=texts, prefix=st.booleans(), after=naturals),
    st.builds(r.Unwatch, id=naturals, watch=naturals),
    st.builds(r.AskStatus, id=naturals),
    st.builds(r.AskTime, id=naturals),
    st.builds(r.ChangeMembership, id=naturals, action=st.sampled_from(r.MemberAction), member=ids, address=texts),
    st.builds(r.TransferLeadership, id=naturals, to=st.none() | ids),
    st.builds(r.TakeSnapshot, id=naturals),
)

_key_entries = st.builds(
    KeyEntry, key=keys, value=blobs, create_revision=naturals, revision=naturals, lease_id=st.none() | ids
)
_committed = st.builds(
    Committed,
    revision=naturals,
    reads=st.lists(st.lists(_key_entries, max_size=3).map(tuple), max_size=3).map(tuple),
)
_ttls_ms = st.integers(100, 10_000_000)
_outcomes = st.one_of(
    st.builds(o.Granted, ids, _ttls_ms),
    st.builds(o.Renewed, _ttls_ms),
    st.builds(o.LeaseUnknown, texts),
    st.builds(o.Expired, st.booleans()),
    st.builds(o.SessionOpened, st.integers(1, 2**63 - 1)),
    st.builds(o.Transacted, st.none() | _committed),
    st.sampled_from([o.Revoked(), o.SessionUnknown(), o.Forgotten(), o.TooManyOutstanding(), o.Full(), o.TooLarge()]),
)
_times = st.floats(allow_nan=False, allow_infinity=False)
_peers = st.builds(PeerStatus, match=naturals, next=naturals, state=texts, active=st.booleans())
_statuses = st.builds(
    Status,
    id=ids,
    role=st.sampled_from(Role),
    term=naturals,
    leader=st.none() | ids,
    commit=naturals,
    applied=naturals,
    first_index=naturals,
    last_index=naturals,
    membership=_memberships,
    progress=st.dictionaries(ids, _peers, max_size=3),
)
_member_statuses = st.builds(
    r.MemberStatus,
    raft=_statuses,
    unix_s=_times,
    failure=st.none() | texts,
    log_bytes=naturals,
    free_bytes=naturals,
    version=texts,
    met=st.lists(ids, max_size=3).map(tuple),
)
results: SearchStrategy[object] = st.one_of(st.none(), _times, _committed, _outcomes, _member_statuses)
responses: SearchStrategy[r.Response] = st.one_of(
    st.builds(r.Done, id=naturals, result=results),
    st.builds(
        r.Event,
        id=naturals,
        changes=st.lists(st.builds(Changed, keys, st.none() | _key_entries, naturals), max_size=3).map(tuple),
        revision=naturals,
        resync=st.booleans(),
    ),
    st.builds(r.NotLeader, id=naturals, leader=st.none() | texts),
    st.builds(r.Refused, id=naturals, problem=st.sampled_from(r.Problem), text=texts),
)
