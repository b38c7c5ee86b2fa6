"""What Raft keeps and hands out: entries, hard state, memberships, snapshots, and `Ready`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from leasekit.backends.raft.core.messages import Message

MemberId = str
"""A member's name, unique for ever within its cluster: a wiped member comes back under a new one."""


class Chance(Protocol):
    """A seeded generator of random numbers: `random.Random` is one."""

    def randint(self, a: int, b: int) -> int:
        """One of the integers from `a` to `b`, both included."""
        ...


class Role(enum.Enum):
    """What a member is (Raft paper, figure 4). A learner is a follower without a vote."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class EntryKind(enum.IntEnum):
    """What an entry's data is."""

    COMMAND = 0
    """The state machine's. Empty: the entry with which a leader begins its term."""
    MEMBERSHIP = 1
    """A whole `Membership`, which holds from the moment it is in the log (thesis section 4.1)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One place in the log."""

    index: int
    term: int
    kind: EntryKind
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be durable before anybody hears of it (figure 2, persistent state). `commit` may lag."""

    term: int = 0
    vote: MemberId | None = None
    commit: int = 0


@dataclass(frozen=True, slots=True)
class Membership:
    """Who is in the cluster, and where: id to address. A learner gets the log and has no vote."""

    voters: Mapping[MemberId, str] = field(default_factory=dict)
    learners: Mapping[MemberId, str] = field(default_factory=dict)

    def address(self, member: MemberId) -> str | None:
        """Where `member` listens; None if it is not in the cluster."""
        return self.voters.get(member) or self.learners.get(member)

    def __contains__(self, member: MemberId) -> bool:
        return member in self.voters or member in self.learners


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """The last entry that a snapshot covers, and the membership as of then. Index 0: the state before all entries."""

    index: int = 0
    term: int = 0
    membership: Membership = field(default_factory=Membership)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state machine as of `meta`, in the state machine's own encoding."""

    meta: SnapshotMeta = field(default_factory=SnapshotMeta)
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a member finds on its disk at its start: the newest snapshot, and the entries right behind it, in order."""

    hard_state: HardState = HardState()
    snapshot: Snapshot = Snapshot()
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Write:
    """One thing to make durable: all of it or, after a crash, a prefix of it in this order.

    First the snapshot (a received one: it replaces the whole log), then the entries (the first one's index says
    from where on older entries are void), then the hard state. Writes are made in the order in which they were handed out.
    """

    number: int
    snapshot: Snapshot | None = None
    entries: tuple[Entry, ...] = ()
    hard_state: HardState | None = None
    must_sync: bool = True
    """False: only `commit` has changed, which nobody relies on."""


@dataclass(frozen=True, slots=True)
class ReadReady:
    """The read asked for as `context` may be answered once everything up to `index` is applied (thesis section 6.4)."""

    context: object
    index: int


@dataclass(frozen=True, slots=True)
class Ready:
    """What is to be done now. Taken by `ready()`, so it is handed out once.

    The order matters: `messages` may leave at once; `write` is made, and `persisted(write.number)` called when it is durable,
    which releases the messages that had to wait for it and lets `committed` go on.
    """

    messages: tuple[Message, ...] = ()
    write: Write | None = None
    restore: Snapshot | None = None
    """A received snapshot, durable by now: the state machine is to become this before `committed` is applied."""
    committed: tuple[Entry, ...] = ()
    """To be applied, in order. Durable here, and on a majority."""
    reads: tuple[ReadReady, ...] = ()
    lost_reads: tuple[object, ...] = ()
    """Contexts of reads that will not be answered, since this member leads no more."""


@dataclass(frozen=True, slots=True)
class Status:
    """For people and metrics."""

    id: MemberId
    role: Role
    term: int
    leader: MemberId | None
    commit: int
    applied: int
    first_index: int
    last_index: int
    membership: Membership
    progress: Mapping[MemberId, PeerStatus] = field(default_factory=dict)
    """On the leader alone."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """How far another member is, as its leader knows."""

    match: int
    next: int
    state: str
    """probe, replicate or snapshot."""
    active: bool
    """Whether it was heard from within the last election time-out."""
