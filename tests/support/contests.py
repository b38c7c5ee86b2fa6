"""One candidate of an election, driven by hand: the pure core, a model store and a clock that stands still."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from leasekit.clock import Instant
from leasekit.core import events as e
from leasekit.core import records
from leasekit.core.contest import Contest, Phase, Setup
from leasekit.core.election import step
from leasekit.core.lease import Belief
from leasekit.core.records import CandidateRecord, HoldRecord, Keys, LeaderRecord
from leasekit.errors import LeaseLost
from leasekit.store import Committed, Compare, Entry, Op, Put
from model.storage import ETCD, Kind, Shelf

KEYS = Keys("reports")
TTL_S = 30.0

A = TypeVar("A", bound=e.Action)


class Desk:
    """A store for candidates to contest."""

    def __init__(self, kind: Kind = ETCD) -> None:
        self.shelf = Shelf(kind)
        self.store = self.shelf.empty()

    def transact(self, compares: tuple[Compare, ...], ops: tuple[Op, ...]) -> Committed | None:
        self.store, committed = self.shelf.transact(self.store, compares, ops)
        return committed

    def grant(self, lease_id: str) -> None:
        self.store = self.shelf.granted(self.store, lease_id)

    def end(self, lease_id: str) -> None:
        self.store = self.shelf.ended(self.store, lease_id)

    def put(self, key: str, value: bytes, lease_id: str | None = None) -> int:
        """Returns the revision."""
        if lease_id is not None:
            self.grant(lease_id)
        committed = self.transact((), (Put(key, value, lease_id),))
        assert committed is not None
        return committed.revision

    def entry(self, key: str) -> Entry | None:
        return self.store.by_key.get(key)

    def queue_up(self, id: str, *, lease_id: str, priority: int = 0) -> int:
        """Another candidate enters the queue."""
        return self.put(KEYS.candidate(id), records.dump_candidate(record(id, priority)), lease_id)

    def elect(self, id: str, *, lease_id: str, base: int = 0) -> int:
        """Another becomes the leader."""
        leader = LeaderRecord.of(record(id), base=base, wall_s=0.0)
        return self.put(KEYS.leader, records.dump_leader(leader), lease_id)

    def hold(self, *, lease_id: str) -> int:
        """An operator puts a hold in place of the leader."""
        return self.put(KEYS.leader, records.dump_hold(HoldRecord(lease_id, TTL_S)))


def record(id: str, priority: int = 0) -> CandidateRecord:
    return CandidateRecord(id, "host", 1, priority, TTL_S)


@dataclass
class Candidate:
    """The candidate `a`, on lease `A`, and what its core asked for last."""

    desk: Desk = field(default_factory=Desk)
    id: str = "a"
    lease_id: str = "A"
    priority: int = 0
    ttl_s: float = TTL_S
    now_s: float = 100.0

    def __post_init__(self) -> None:
        empty = self.desk.shelf.kind.compares_empty
        self.contest = Contest(Setup(KEYS, self.id, "host", 1, self.priority, empty))
        self.actions: tuple[e.Action, ...] = ()
        self.request: e.Transact | e.Revoke | None = None
        self.desk.grant(self.lease_id)
        self.belief = Belief(0).granted(self.lease_id, self.ttl_s, sent_at=self.now, now=self.now)

    @property
    def now(self) -> Instant:
        return Instant(self.now_s, self.now_s)

    def is_at(self, phase: Phase) -> bool:
        """Whether the contest stands there."""
        return self.contest.phase is phase

    def feed(self, event: e.Event) -> tuple[e.Action, ...]:
        """Let the core take an event; returns what it asks for."""
        self.contest, self.actions = step(self.contest, event, e.Context(self.now, 0.0, self.belief))
        for action in self.actions:
            if isinstance(action, e.Transact | e.Revoke):
                self.request = action
        return self.actions

    def ask(self) -> e.Answer:
        """Carry out the request under way, without telling the core."""
        assert self.request is not None
        if isinstance(self.request, e.Revoke):
            self.desk.end(self.request.lease_id)
            return e.Applied(self.request.number, Committed(0))
        try:
            committed = self.desk.transact(self.request.compares, self.request.ops)
        except LeaseLost as lost:
            return e.LeaseGone(self.request.number, lost.lease_id)
        return e.Refused(self.request.number) if committed is None else e.Applied(self.request.number, committed)

    def answered(self) -> tuple[e.Action, ...]:
        """Carry out the request under way, and tell the core."""
        return self.feed(self.ask())

    def until(self, phase: Phase) -> None:
        """Requests are answered until it stands there."""
        for _ in range(10):
            if self.is_at(phase):
                return
            self.answered()
        raise AssertionError(f"it stands at {self.contest.phase} instead")

    def unanswered(self) -> tuple[e.Action, ...]:
        """The outcome of the request under way is unknown."""
        return self.feed(e.Unknown(self.contest.number))

    def renew(self) -> None:
        """The lease is fresh again."""
        self.desk.grant(self.lease_id)
        self.belief = self.belief.renewed(TTL_S, sent_at=self.now, now=self.now)

    def elapse(self, seconds: float) -> None:
        """Time passes, and the lease is renewed meanwhile."""
        while seconds > 0:
            self.now_s += min(seconds, TTL_S / 3)
            seconds -= TTL_S / 3
            self.renew()

    def see(self, key: str) -> tuple[e.Action, ...]:
        """The watch of a key tells what it is now."""
        return self.feed(e.Seen(key, self.desk.entry(key), self.desk.store.changed_at(key)))

    def only(self, kind: type[A]) -> A:
        """The one action of this kind that was asked for last."""
        (found,) = (action for action in self.actions if isinstance(action, kind))
        return found

    # Ways to well-known states.

    def lead(self) -> int:
        """Campaign and win at once; returns the revision."""
        self.feed(e.Campaign())
        self.until(Phase.LEADING)
        assert self.contest.leader_revision is not None
        return self.contest.leader_revision

    def wait(self) -> None:
        """Campaign, and queue behind whoever is there."""
        self.feed(e.Campaign())
        self.until(Phase.WAITING)
