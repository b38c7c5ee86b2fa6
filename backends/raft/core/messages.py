"""What members say to each other. Every message may be lost, repeated, late and out of order."""

from __future__ import annotations

from dataclasses import dataclass

from leasekit.backends.raft.core.types import Entry, MemberId, SnapshotMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`term` is the sender's, save in pre-votes: there it is the term that is, or would be, asked for."""

    sender: MemberId
    to: MemberId
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVote(Message):
    """Would you vote for me in `term`? Changes nothing at the receiver (thesis section 9.6)."""

    last_index: int
    last_term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVoteReply(Message):
    """`term`: the asked one if granted (so that late answers are told apart), else the receiver's own."""

    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote(Message):
    """RequestVote. `transfer`: the leader itself asked for this election, so that it disturbs nobody (section 3.10)."""

    last_index: int
    last_term: int
    transfer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteReply(Message):
    """Sent once the vote is durable."""

    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Append(Message):
    """AppendEntries: `entries` follow the entry at `previous_index`. `commit`: the leader's."""

    previous_index: int
    previous_term: int
    entries: tuple[Entry, ...]
    commit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendReply(Message):
    """`index`: up to here the log is the leader's and durable. Rejected: `index` is the asked previous one, and
    `hint_index`, `hint_term` the last place where the logs may still agree."""

    index: int
    rejected: bool = False
    hint_index: int = 0
    hint_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Message):
    """I lead. `commit` is no more than what the receiver is known to have; `round` counts the leader's read rounds."""

    commit: int
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply(Message):
    """`round`: the heartbeat's. Says that the sender followed this leader when it got it."""

    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPiece(Message):
    """`data` belongs at `offset` of the snapshot of `meta`; `size` is that of the whole."""

    meta: SnapshotMeta
    offset: int
    data: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotReply(Message):
    """Of the snapshot at `index`, everything before `offset` has come: send from there."""

    index: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow(Message):
    """Campaign at once: the leader hands over to you (section 3.10)."""
