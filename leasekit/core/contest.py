"""The state of one candidate in one election, and the few moves that all its phases share.

States are immutable and compare by value. At most one request of a contest is under way; one that is abandoned leaves
a *doubt* behind, since it may be applied later.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from leasekit.clock import Instant
from leasekit.core import events as e
from leasekit.core import queue
from leasekit.core.queue import NO_BASE, Base
from leasekit.core.records import CandidateRecord, Keys
from leasekit.core.remains import Remains
from leasekit.store import Compare, Op

Steps = tuple["Contest", tuple[e.Action, ...]]


class Phase(enum.Enum):
    """Where a contest stands."""

    IDLE = enum.auto()
    LEASING = enum.auto()
    RENEWING = enum.auto()
    CLAIMING_AT_ONCE = enum.auto()
    ENQUEUEING = enum.auto()
    LOOKING = enum.auto()
    WAITING = enum.auto()
    REVOKING = enum.auto()
    CLAIMING = enum.auto()
    CLEANING = enum.auto()
    LEADING = enum.auto()
    CHECKING = enum.auto()
    TRANSFERRING = enum.auto()
    RESIGNING = enum.auto()


WRITING = frozenset({Phase.CLAIMING_AT_ONCE, Phase.ENQUEUEING, Phase.CLAIMING, Phase.CLEANING})
"""Phases of a campaign in which a write is under way."""

DOUBT_MIN_S = 10.0
"""How long a write of unknown outcome is reckoned with at the least. Nothing bounds how long a server that stalls keeps
a request before it applies it, and twice a short ttl is soon over: a claim applied later than the doubt lasts would
leave a record that nobody owns, on a lease that lives on."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a contest is told once."""

    keys: Keys
    id: str
    host: str
    pid: int
    priority: int
    compares_empty: bool
    meta: tuple[tuple[str, object], ...] = field(default=(), hash=False)

    def record(self, ttl_s: float) -> CandidateRecord:
        """This candidate's record; `ttl_s` is what the store granted."""
        return CandidateRecord(self.id, self.host, self.pid, self.priority, ttl_s, dict(self.meta))


@dataclass(frozen=True, slots=True)
class Watching:
    """Keys to watch, each with the create revision it is known at (None: known absent), from `after` on."""

    known: tuple[tuple[str, int | None], ...] = ()
    after: int = 0

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(key for key, _ in self.known)


NOTHING = Watching()


@dataclass(frozen=True, slots=True)
class HoldSeen:
    """A forced resignation that this candidate carries on (rule 10). `free_at`: None until the revoke is acknowledged."""

    revision: int
    lease_id: str
    ttl_s: float
    free_at: Instant | None = None


class Contest(NamedTuple):
    """The state of one candidate in one election. Change it with `step` only.

    A named tuple, since it is replaced several times in each step, which takes a data class of this size thrice as long.
    """

    setup: Setup
    phase: Phase = Phase.IDLE
    once: bool = False
    number: int = 0
    """Of the newest request; the answer to any other is stale."""
    lease_id: str = ""
    ttl_s: float = 0.0
    base: Base = NO_BASE
    candidate_revision: int | None = None
    leader_revision: int | None = None
    """That of the leadership held, or being let go."""
    token: int | None = None
    led: int = 0
    left_alone: bool = False
    """Whether nobody else queued when it last resigned, as far as the resignation saw."""
    watching: Watching = NOTHING
    next_in_line: bool = False
    """Whether the claim needs no look before it: when what is watched is gone, it is this candidate's turn, unless one
    of a higher priority has come meanwhile."""
    wake_at: Instant | None = None
    leaderless_since: Instant | None = None
    conflict_since: Instant | None = None
    hold: HoldSeen | None = None
    claim_over: int | None = None
    """The revision of the hold that the claim under way replaces."""
    doubt_until: Instant | None = None
    """Until when a write of unknown outcome is reckoned with."""
    release: e.Resign | e.Transfer | None = None
    """How the leadership held is being let go."""
    transfer_in_doubt: bool = False

    # What is known of this state.

    @property
    def candidate_key(self) -> str:
        return self.setup.keys.candidate(self.setup.id)

    @property
    def leads(self) -> bool:
        """Whether the store was last known to have this candidate as the leader. Validity asks the clock as well."""
        return self.phase in (Phase.LEADING, Phase.CHECKING)

    def lease_trusted(self, ctx: e.Context) -> bool:
        """Whether the lease that this contest runs on may be trusted now."""
        return ctx.belief.lease_id == self.lease_id and ctx.belief.trusted(ctx.now)


# Moves that phases share.


def send(contest: Contest, phase: Phase, compares: tuple[Compare, ...], ops: tuple[Op, ...]) -> Steps:
    """Put a request under way; the answer to any earlier one is stale from now on."""
    number = contest.number + 1
    return contest._replace(phase=phase, number=number, wake_at=None), (e.Transact(number, compares, ops),)


def look(contest: Contest) -> Steps:
    """Read queue, leader and base in one round trip."""
    return send(contest, Phase.LOOKING, (), queue.look_ops(contest.setup.keys))


def doubting(contest: Contest, ctx: e.Context) -> Contest:
    """Reckon with a late application of the write under way, for twice the ttl or `DOUBT_MIN_S`."""
    return contest._replace(doubt_until=ctx.now.plus(max(2 * contest.ttl_s, DOUBT_MIN_S)))


def without_lease(contest: Contest) -> Contest:
    """The lease is gone, its keys with it, and no late write can succeed on it: nothing remains, nothing is in doubt."""
    return contest._replace(
        lease_id="",
        candidate_revision=None,
        leader_revision=None,
        token=None,
        doubt_until=None,
        transfer_in_doubt=False,
        watching=NOTHING,
        wake_at=None,
    )


def retired(contest: Contest) -> Contest:
    """Out of the election: no key is this contest's any more, and no answer counts."""
    return without_lease(contest)._replace(lease_id=contest.lease_id, phase=Phase.IDLE, number=contest.number + 1)


def remains(contest: Contest, ctx: e.Context) -> e.Disown:
    """What an ending contest may leave behind, to be removed."""
    # A campaign that ends before it has a lease of its own may still answer for an earlier one.
    patience = ctx.now.plus(2 * (contest.ttl_s or ctx.belief.ttl_s))
    return e.Disown(
        Remains(
            contest.setup.keys,
            contest.setup.id,
            contest.lease_id,
            give_up_at=patience,
            doubt_until=contest.doubt_until,
            led=contest.led,
        )
    )
