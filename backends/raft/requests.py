"""What a client asks of a member, and what it is told. One connection carries many; `id` tells them apart."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from leasekit.backends.raft.core.types import MemberId, Status
from leasekit.store import Changed, Compare, Op


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`id` is the client's, unique on its connection."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose(Request):
    """Apply this command: `kv.commands.encode` of a session's request. Answered by `Done` once applied."""

    command: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Request):
    """A linearizable read: `ops` are `Get`s alone. Answered by `Done`, whose result is as that of a transaction."""

    compares: tuple[Compare, ...]
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch(Request):
    """Tell the changes later than `after`. Answered by any number of `Event`s until `Unwatch` or the end of leading."""

    key: str
    prefix: bool
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwatch(Request):
    """End the watch that was begun as `watch`. Not answered."""

    watch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskStatus(Request):
    """Any member answers, `Done` with its `MemberStatus`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """A member as it sees itself. What only a process has (disk, version) is empty where the server runs without one."""

    raft: Status
    unix_s: float
    """Its wall clock."""
    failure: str | None
    """Why it takes no part any more."""
    log_bytes: int = 0
    """What its data directory takes."""
    free_bytes: int = 0
    """What is left on that disk."""
    version: str = ""
    met: tuple[MemberId, ...] = ()
    """The members that it has ever heard from. One of them that has no data now was wiped, and must not vote again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTime(Request):
    """Answered by the leader: `Done` with its wall clock in seconds since 1970, after a quorum check."""


class MemberAction(enum.Enum):
    """How the membership changes, one member at a time."""

    ADD = "add"
    """As a learner."""
    PROMOTE = "promote"
    """A learner that has caught up becomes a voter."""
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMembership(Request):
    """Answered by `Done` once committed, `Refused` if it may not be done now."""

    action: MemberAction
    member: MemberId
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLeadership(Request):
    """Hand Raft's leadership to this member (None: to the most up-to-date one). `Done` once the hand-over was begun."""

    to: MemberId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSnapshot(Request):
    """Snapshot and compact this member's log now, whether it leads or not. `Done` once durable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """To the request with this `id`."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Response):
    """It is done, or the race was lost: `result` is what the request's text says."""

    result: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Response):
    """Changes, in the order of their revisions; every change up to `revision` has been told with this.

    `resync`: changes before may have been missed; those after `revision` will be told.
    """

    changes: tuple[Changed, ...]
    revision: int
    resync: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLeader(Response):
    """Surely not done: ask the leader. `leader` is its address, None if it is not known here. Ends a watch."""

    leader: str | None


class Problem(enum.Enum):
    """What may be concluded from a refusal."""

    UNAVAILABLE = "unavailable"
    """Surely not done; try again later (overloaded, no majority, disk full)."""
    UNKNOWN = "unknown"
    """It may have been done or may yet be: the leadership changed meanwhile. With a session, ask again."""
    INVALID = "invalid"
    """Surely not done, and never will be: the request is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Response):
    """Not done, or not known to be; `text` is for people."""

    problem: Problem
    text: str
