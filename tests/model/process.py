"""One process of the model: the real core, with the shell around it as `keeper` and `elector` do it, in miniature."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields, replace
from typing import Any

from leasekit.core import election
from leasekit.core import events as e
from leasekit.core.contest import Contest, Phase, Setup, Watching
from leasekit.core.lease import Belief
from leasekit.core.records import Keys
from leasekit.core.remains import Remains, Verdict
from leasekit.errors import LeasekitError, LossReason
from leasekit.store import Entry, Get
from model.aging import NOW, TICK_S, aged
from model.interning import Interner
from model.storage import Storage

KEYS = Keys("e")
TTL_S = 3 * TICK_S
"""So long that twice of it is more than the core's floor on a doubt, and all patience is as many ticks as it says."""


class Mode(enum.Enum):
    """Whether a process does anything."""

    RUNNING = enum.auto()
    PAUSED = enum.auto()
    CUT = enum.auto()
    DEAD = enum.auto()


@dataclass(frozen=True, slots=True)
class Tenure:
    """What the user of a leadership holds: `leasekit.tenure`. Valid is what believes *now*."""

    revision: int
    epoch: int
    seen_over: bool = False
    """Whether a look at it has ever said that it is over."""

    def believes(self, belief: Belief) -> bool:
        return self.epoch == belief.epoch and belief.trusted(NOW)


@dataclass(frozen=True, slots=True)
class InFlight:
    """A request under way. `answer`: it has arrived and was answered, but the process does not know yet."""

    action: e.Transact | e.Revoke
    answer: e.Answer | None = None

    @property
    def writes(self) -> bool:
        return isinstance(self.action, e.Revoke) or any(not isinstance(op, Get) for op in self.action.ops)


@dataclass(frozen=True, slots=True)
class Chore:
    """A candidacy's remains on the lease; `due`: to be looked at now, otherwise after the next renewal."""

    remains: Remains
    due: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A process between two moves. Equal ones are one object: made by `ProcessTable` only."""

    name: str
    contest: Contest
    belief: Belief
    mode: Mode = Mode.RUNNING
    tenure: Tenure | None = None
    request: InFlight | None = None
    pausing: bool = False
    """A `Wake` will follow a `Pause`."""
    wants_lease: bool = False
    chores: tuple[Chore, ...] = ()
    led: int = 0
    """What the keeper remembers of this lease: the highest revision led at."""
    renewed_ago: int = 0
    """Ticks since the last renewal was sent; 1 for any more."""
    grants: int = 0
    told: tuple[tuple[str, int], ...] = ()
    """How far each watch has come, beyond `watching.after`."""
    late: e.Seen | None = None
    """A change that was told, but is not handled yet."""
    campaigns_left: int = 0

    @property
    def valid(self) -> bool:
        """Whether its user may believe in a leadership, at this moment."""
        return self.tenure is not None and self.tenure.believes(self.belief)

    def __str__(self) -> str:
        contest, tenure = self.contest, self.tenure
        parts = [self.name, self.mode.name.lower() if self.mode is not Mode.RUNNING else "", contest.phase.name]
        parts.append(f"lease {self.belief.lease_id}{'' if self.belief.trusted(NOW) else ' untrusted'}")
        parts.append(f"{'LEADS' if self.valid else 'led'} since {tenure.revision}" if tenure else "")
        parts.append("request answered" if self.request and self.request.answer else "")
        parts.append("request under way" if self.request and not self.request.answer else "")
        parts.append("in doubt" if contest.doubt_until else "")
        parts.append(f"{len(self.chores)} remains" if self.chores else "")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Quirks:
    """Faults that can be put into the modelled shell, for rules that the shell keeps rather than the core."""

    believes_while_releasing: bool = False
    """Rule 7."""
    claims_extend_deadline: bool = False
    """Rule 4."""
    forgets_led: bool = False
    """Rule 6."""
    drops_remains: bool = False
    """Rule 11."""


class ProcessTable:
    """Makes processes in a normal form, so that what makes no difference makes no state."""

    def __init__(self, quirks: Quirks, *, timed_looks: bool) -> None:
        self.quirks = quirks
        self.timed_looks = timed_looks
        self._make: Interner[Process] = Interner(Process)

    def first(self, name: str, *, compares_empty: bool, priority: int, campaigns: int) -> Process:
        """A process that has done nothing yet."""
        setup = Setup(KEYS, name.lower(), "host", 1, priority, compares_empty)
        return self._make(
            name, Contest(setup), Belief(0), Mode.RUNNING, None, None, False, False, (), 0, 0, 0, (), None, campaigns
        )

    def settle(self, draft: Draft, store: Storage) -> Process:
        """The process after a move that left the store like this."""
        belief, tenure = draft.belief, draft.tenure
        if tenure is not None:
            over = tenure.seen_over or not tenure.believes(belief)
            tenure = Tenure(tenure.revision, 0 if tenure.epoch == belief.epoch else -1, over)
        return self._make(
            draft.name,
            self._plain(draft, store),
            replace(belief, epoch=0) if belief.epoch else belief,
            draft.mode,
            tenure,
            draft.request,
            draft.pausing,
            draft.wants_lease,
            draft.chores,
            draft.led,
            draft.renewed_ago,
            draft.grants,
            draft.told,
            draft.late,
            draft.campaigns_left,
        )

    def _plain(self, draft: Draft, store: Storage) -> Contest:
        """The contest without what makes no difference to what it does next."""
        contest = draft.contest
        changes: dict[str, Any] = {"number": 0} if contest.number else {}
        if contest.phase is Phase.IDLE and (contest.leaderless_since or contest.conflict_since or contest.hold):
            # A new campaign begins by resetting these.
            changes.update(leaderless_since=None, conflict_since=None, hold=None)
        if contest.phase is Phase.WAITING:
            ends = (contest.leaderless_since, contest.conflict_since, contest.hold)
            if not self.timed_looks and contest.wake_at is not None and not any(ends):
                changes["wake_at"] = None
            changes["watching"], draft.told = seen_of(contest.watching, draft.told, store, exact=draft.late is not None)
        return contest._replace(**changes) if changes else contest

    def silenced(self, process: Process, mode: Mode) -> Process:
        """The same process, paused or cut off or going on."""
        values = (getattr(process, field.name) for field in fields(process))
        return self._make(*(mode if isinstance(value, Mode) else value for value in values))

    def aged(self, process: Process, store: Storage) -> Process:
        """One tick later. A process that runs has renewed its lease, if that is still trusted."""
        draft = Draft(process, self.quirks)
        draft.contest, draft.belief, draft.chores = aged(process.contest), aged(process.belief), aged(process.chores)
        draft.request = aged(process.request)
        if self.renews(process, store):
            draft.renewed()
        else:
            draft.renewed_ago = 1
        return self.settle(draft, store)

    def renews(self, process: Process, store: Storage) -> bool:
        """Whether a tick finds the process renewing."""
        lease_id = process.belief.lease_id
        trusted = aged(process.belief).trusted(NOW)
        return process.mode is Mode.RUNNING and trusted and lease_id is not None and store.lives(lease_id)


def seen_of(
    watching: Watching, told: tuple[tuple[str, int], ...], store: Storage, *, exact: bool
) -> tuple[Watching, tuple[tuple[str, int], ...]]:
    """The same watch, said by the changes it has told rather than by when it began: nothing else of it matters."""
    progress = dict(told)
    pending = {key for key in watching.keys if store.changed_at(key) > max(watching.after, progress.get(key, 0))}
    if exact or pending:
        return watching, told
    last = max((store.changed_at(key) for key in watching.keys), default=0)
    return replace(watching, after=last), ()


class Draft:
    """A process during a move."""

    def __init__(self, process: Process, quirks: Quirks) -> None:
        self.quirks = quirks
        self.name = process.name
        self.contest = process.contest
        self.belief = process.belief
        self.mode = process.mode
        self.tenure = process.tenure
        self.request = process.request
        self.pausing = process.pausing
        self.wants_lease = process.wants_lease
        self.chores = process.chores
        self.led = process.led
        self.renewed_ago = process.renewed_ago
        self.grants = process.grants
        self.told = process.told
        self.late = process.late
        self.campaigns_left = process.campaigns_left
        # What the move brought about, besides.
        self.elected: int = 0
        """The token of a leadership that began."""
        self.astray: tuple[e.Transact, ...] = ()
        """Writes that nobody waits for any more, but that may still be applied."""
        self.superseded: int = 0
        """The revision of a leadership that ended because its record was no longer there."""
        self.errors: list[str] = []

    # The elector.

    def feed(self, event: e.Event) -> None:
        """Let the core take an event, and carry out what it asks for."""
        before = self.contest
        try:
            contest, actions = election.step(before, event, e.Context(NOW, 0.0, self.belief))
        except (LeasekitError, AssertionError) as error:
            self.errors.append(f"{self.name}: the core raised {error!r} on {type(event).__name__}")
            return
        self.contest = contest
        if contest.number != before.number:
            self._abandon()
        if contest.watching != before.watching:
            self.told = ()
        if isinstance(event, e.Wake) or contest.phase is not before.phase:
            self.pausing = False
        if contest.phase not in (Phase.LEASING, Phase.RENEWING):
            self.wants_lease = False
        for action in actions:
            self._carry_out(action)
        if self.tenure is not None and not self.contest.leads and not self.quirks.believes_while_releasing:
            self.errors.append(f"{self.name}: its leadership ended without a word")

    def _abandon(self) -> None:
        """The request under way, if any, is not waited for any more."""
        request, self.request = self.request, None
        if request is not None and request.answer is None and request.writes and isinstance(request.action, e.Transact):
            self.astray = (*self.astray, request.action)

    def _carry_out(self, action: e.Action) -> None:
        match action:
            case e.Transact() | e.Revoke():
                self.request = InFlight(replace(action, number=0))
                self.contest = self.contest._replace(number=0)
            case e.Pause():
                self.pausing = True
            case e.NeedLease(unknown):
                if unknown is not None and unknown == self.belief.lease_id:
                    self.lose_lease()
                self.wants_lease = True
            case e.RenewLease():
                self.wants_lease = True
            case e.Elected():
                self._elected(action)
            case e.Lost(reason):
                if self.tenure is not None and reason is LossReason.SUPERSEDED:
                    self.superseded = self.tenure.revision
                self.led = self.contest.led
                self.tenure = None
            case e.Released():
                self.tenure = None
            case e.Asked(request):
                self._obey(request.token)
            case e.Disown(remains):
                if remains.lease_id == self.belief.lease_id and not self.quirks.drops_remains:
                    self.chores = (*self.chores, Chore(remains))
            case _:
                # The end of a campaign. It may fail, for a store may keep a dead process's lease for ever here.
                assert isinstance(action, e.NotElected | e.Failed)

    def _elected(self, elected: e.Elected) -> None:
        self.led = self.contest.led
        self.tenure = Tenure(elected.revision, self.belief.epoch)
        self.elected = elected.token
        if not self.tenure.believes(self.belief) or self.belief.lease_id != self.contest.lease_id:
            self.errors.append(f"{self.name}: elected on a lease that is not trusted")

    def _obey(self, token: int) -> None:
        """An operator's request reached the user, who stops the work and resigns."""
        if token != self.contest.token:
            self.errors.append(f"{self.name}: asked for token {token} to resign, leads with {self.contest.token}")
        self.let_go(e.Resign())

    def campaign(self, *, once: bool) -> None:
        """A new candidacy under the same id: what the old one left is its affair from now on."""
        mine = [chore.remains for chore in self.chores]
        earlier = mine[0] if mine else None
        self.chores = self.chores[1:]
        self.contest = self.contest._replace(
            led=0 if self.quirks.forgets_led else max(self.led, earlier.led if earlier else 0),
            lease_id=earlier.lease_id if earlier else self.contest.lease_id,
            doubt_until=earlier.doubt_until if earlier else None,
        )
        self.campaigns_left -= 1
        self.feed(e.Campaign(once))

    def let_go(self, event: e.Resign | e.Transfer) -> None:
        """Belief ends first (rule 7)."""
        if not self.quirks.believes_while_releasing:
            self.tenure = None
        self.feed(event)

    def answer(self, answer: e.Answer) -> None:
        """The outcome of the request under way."""
        request = self.request
        self.request = None
        claim = self.contest.phase in (Phase.CLAIMING, Phase.CLAIMING_AT_ONCE)
        if self.quirks.claims_extend_deadline and claim and isinstance(answer, e.Applied):
            self.belief = self.belief.renewed(TTL_S, sent_at=NOW, now=NOW)
        assert request is not None
        self.feed(answer)

    def arrived(self, answer: e.Answer) -> None:
        """The request under way was answered, but the process does not know yet."""
        assert self.request is not None
        self.request = InFlight(self.request.action, answer)

    # The keeper.

    def grant(self) -> str:
        """A new lease is there; returns its id."""
        self.grants += 1
        lease_id = f"{self.name}{self.grants}"
        self.led = 0
        self.renewed_ago = 0
        self._believe(self.belief.granted(lease_id, TTL_S, sent_at=NOW, now=NOW))
        return lease_id

    def renewed(self) -> None:
        """The store confirmed a renewal sent just now."""
        self.renewed_ago = 0
        self._believe(self.belief.renewed(TTL_S, sent_at=NOW, now=NOW))
        self.chores = tuple(Chore(chore.remains) for chore in self.chores)

    def check_deadline(self) -> None:
        self._believe(self.belief.checked(NOW))

    def _believe(self, belief: Belief) -> None:
        before, self.belief = self.belief, belief
        if before.lease_id == belief.lease_id and before.epoch != belief.epoch and before.deadline is not None:
            self.feed(e.TrustEnded(LossReason.DEADLINE, lease_gone=False))
        if belief.trusted(NOW) and self.wants_lease:
            self.wants_lease = False
            self.feed(e.LeaseReady())

    def lose_lease(self) -> None:
        """The store does not know the lease, or is about to be told to forget it."""
        reason = LossReason.REVOKED if self.belief.trusted(NOW) else LossReason.EXPIRED
        self.belief = self.belief.lost(reason)
        self.chores = ()
        self.feed(e.TrustEnded(reason, lease_gone=True))

    def concluded(self, index: int, remains: Remains, verdict: Verdict) -> None:
        """A request of `Remains` had this outcome."""
        chores = list(self.chores)
        del chores[index]
        if verdict in (Verdict.NOW, Verdict.LATER):
            chores.append(Chore(remains, due=verdict is Verdict.NOW))
        self.chores = tuple(chores)
        if verdict is Verdict.REVOKE and self.belief.lease_id is not None:
            self.lose_lease()

    def die(self) -> None:
        """Nothing is left of the process, save what it has sent."""
        self.mode = Mode.DEAD
        self._abandon()
        setup = self.contest.setup
        self.contest, self.belief, self.tenure = Contest(setup), Belief(0), None
        self.pausing, self.wants_lease, self.chores = False, False, ()
        self.led, self.renewed_ago, self.told, self.late = 0, 0, (), None

    # Watches.

    def see(self, key: str, entry: Entry | None, revision: int, *, later: bool) -> None:
        """A watch tells a change; `later`: it is not handled yet."""
        self.told = tuple(sorted((dict(self.told) | {key: revision}).items()))
        event = e.Seen(key, entry, revision)
        if later:
            self.late = event
        else:
            self.feed(event)
