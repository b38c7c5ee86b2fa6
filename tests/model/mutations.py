"""Rules taken out of the core, one at a time. Each must bring a counterexample back.

A mutation is a way to patch the core (or a quirk of the modelled shell, or of the operator) and the smallest setting
found in which the rule matters. Not here, since their absence brings no wrong state within the model:

* Renewing first when a third of the ttl or less is left (4): it saves a claim that would come too late, no more.
* A claim over a hold compares the hold's revision (10c): its own candidate key and the lease already protect it.
* Revoking the lease when remains are not settled after 2 x ttl (11): the model's store answers sooner than that.
* Queueing to settle a doubt after a single try (12): what a late try leaves is found by `Remains` as well.
* Priority, the wait on an id that another lease holds, and two candidates of one process.

Unit tests in `tests/unit/core` hold these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from leasekit.clock import Instant
from leasekit.core import claim, contest, election, judge, queue, records, remains, tenure
from leasekit.core import events as e
from leasekit.core.contest import Contest, Phase, Steps
from leasekit.core.lease import Belief
from leasekit.core.queue import Holder
from leasekit.core.remains import Remains, Verdict
from leasekit.store import Absent, At, Committed, Compare, Delete, Entry, NoneUnder, Op
from model.moves import Menu
from model.process import KEYS, Quirks
from model.storage import CONSUL
from model.world import Setting

ROOMS = (claim, contest, election, judge, queue, remains, tenure)
A_KEY = KEYS.candidate("a")


@dataclass(frozen=True)
class Mutation:
    """A rule of ELECTION.md taken out, and where that shows."""

    rule: str
    removed: str
    setting: Setting
    patches: tuple[tuple[Any, str, Any], ...] = ()
    quirks: Quirks = field(default_factory=Quirks)
    operator: frozenset[str] = frozenset()
    """Additions to the wishes, for what an operator does wrong."""

    @property
    def name(self) -> str:
        return f"rule {self.rule}: {self.removed}"

    @property
    def mutated_setting(self) -> Setting:
        menu = replace(self.setting.menu, wishes=self.setting.menu.wishes | self.operator)
        return replace(self.setting, quirks=self.quirks, menu=menu)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this, the core is without the rule."""
        with ExitStack() as stack:
            for owner, name, value in self.patches:
                stack.enter_context(patch.object(owner, name, value))
            yield


Patches = tuple[tuple[Any, str, Any], ...]


def instead(name: str, make: Callable[[Any], Any], home: Any) -> Patches:
    """Replace a function of the core wherever its name is used."""
    old = getattr(home, name)
    new = make(old)
    return tuple((room, name, new) for room in ROOMS if getattr(room, name, None) is old)


def asking(phase: Phase, change: Callable[[tuple[Compare, ...], tuple[Op, ...]], tuple[Any, Any]]) -> Patches:
    """Change the transactions that are sent in a phase."""

    def make(old: Callable[..., Steps]) -> Callable[..., Steps]:
        def send(state: Contest, to: Phase, compares: tuple[Compare, ...], ops: tuple[Op, ...]) -> Steps:
            if to is phase:
                compares, ops = change(compares, ops)
            return old(state, to, compares, ops)

        return send

    return instead("send", make, contest)


def not_comparing(phase: Phase, drop: Callable[[Compare], bool]) -> Patches:
    """Leave compares out of a phase's transaction."""
    return asking(phase, lambda compares, ops: (tuple(one for one in compares if not drop(one)), ops))


def not_doing(phase: Phase, drop: Callable[[Op], bool]) -> Patches:
    """Leave operations out of a phase's transaction."""
    return asking(phase, lambda compares, ops: (compares, tuple(one for one in ops if not drop(one))))


def of_leader(compare: Compare) -> bool:
    return isinstance(compare, Absent | At) and compare.key == KEYS.leader


def of_candidate(compare: Compare) -> bool:
    return isinstance(compare, Absent | At) and compare.key.startswith(KEYS.queue)


def of_base(compare: Compare) -> bool:
    return isinstance(compare, Absent | At) and compare.key == records.BASE_KEY


def without_disown(name: str, home: Any, *, kept: Callable[..., bool] = lambda *_: False) -> Patches:
    """A function of the core that forgets what it leaves behind."""

    def make(old: Callable[..., Steps]) -> Callable[..., Steps]:
        def forgetful(*args: Any, **options: Any) -> Steps:
            state, actions = old(*args, **options)
            if kept(*args):
                return state, actions
            return state, tuple(action for action in actions if not isinstance(action, e.Disown))

        return forgetful

    return instead(name, make, home)


def not_watching(drop: Callable[[Contest, str], bool]) -> Patches:
    """A candidate that waits without watching some keys."""

    def make(old: Callable[..., Contest]) -> Callable[..., Contest]:
        def wait(*args: Any) -> Contest:
            state = old(*args)
            known = tuple(item for item in state.watching.known if not drop(state, item[0]))
            return replace(state, watching=replace(state.watching, known=known))

        return wait

    return instead("_wait", make, judge)


def _applied(number: int) -> e.Answer:
    return e.Applied(number, Committed(0))


def _looks_first(state: Contest) -> bool:
    """Whether what it watches, or goes without, gives another reason to watch `leader`."""
    return len(state.watching.known) < 3 or state.leaderless_since is not None


def unknown_taken_for(kind: Callable[[int], e.Answer], *phases: Phase) -> Patches:
    """Concluding from a lost reply what does not follow from it."""

    def make(old: Callable[..., Steps]) -> Callable[..., Steps]:
        def answered(state: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
            if isinstance(answer, e.Unknown) and state.phase in phases:
                answer = kind(answer.number)
            return old(state, answer, ctx)

        return answered

    return instead("_answered", make, election)


def no_doubt(*phases: Phase) -> Patches:
    """A write under way when the campaign ends is not reckoned with."""

    def make(old: Callable[..., Contest]) -> Callable[..., Contest]:
        return lambda state, ctx: state if state.phase in phases else old(state, ctx)

    return ((claim, "doubting", make(contest.doubting)),)


# Rules in functions of their own shape.


def _only_gone_counts(state: Contest, event: e.Seen, *rest: Any) -> Steps:
    """`election._seen`, but a key that was deleted and created again is taken for the same."""
    if event.entry is not None and event.key != KEYS.leader:
        return state, ()
    seen: Steps = SEEN(state, event, *rest)
    return seen


SEEN: Any = election._seen


def _never_out_of_turn(state: Contest, seen: queue.Look, holder: Holder, ctx: e.Context) -> Steps:
    return QUEUED(replace(state, leaderless_since=ctx.now), seen, holder, ctx)


QUEUED = judge._queued


def _leader_in_between_unseen(state: Contest, event: e.Seen, *rest: Any) -> Steps:
    """`election._seen`, but one who waits for its time out of turn does not mind others being elected."""
    if event.key == KEYS.leader and state.leaderless_since is not None and len(state.watching.known) > 2:
        return state, ()
    seen: Steps = SEEN(state, event, *rest)
    return seen


def _adopt_anything(state: Contest, leader: Entry, mine: Entry | None, ctx: e.Context) -> Steps:
    return ADOPT(replace(state, led=0), leader, mine, ctx)


ADOPT = judge._adopt


def _mine_by_id(leader: Entry | None, *, lease_id: str, id: str) -> Holder:
    same_id = leader is not None and f'"id":"{id}"'.encode() in leader.value
    return Holder.ME if same_id else HOLDER_OF(leader, lease_id=lease_id, id=id)


HOLDER_OF = queue.holder_of


def _token_of_creation(leader: Entry) -> int:
    return TOKEN_OF(replace(leader, revision=leader.create_revision))


TOKEN_OF = queue.token_of


def _transfer_refused_is_done(state: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    taken = e.Applied(answer.number, Committed(0)) if isinstance(answer, e.Refused) else answer
    return TRANSFER_ANSWERED(state, taken, ctx)


TRANSFER_ANSWERED = tenure.transfer_answered


def _any_request(state: Contest, entry: Entry | None) -> Steps:
    return state, () if entry is None else (e.Asked(records.load_request(entry.value)),)


def _old_news_counts(state: Contest, event: e.Seen, ctx: e.Context) -> Steps:
    return LEADER_SEEN(state, replace(event, revision=event.revision + 1000), ctx)


LEADER_SEEN = tenure.leader_seen


def _taken_for_revoked(state: Contest) -> Steps:
    """The hold is waited out without revoking the old lease."""
    assert state.hold is not None
    held = replace(state, hold=replace(state.hold, free_at=Instant(state.hold.ttl_s + 1, state.hold.ttl_s + 1)))
    return contest.look(held)


def _free_at_once(state: Contest, ctx: e.Context) -> Contest:
    assert state.hold is not None
    return replace(state, hold=replace(state.hold, free_at=ctx.now))


def _renewed_as_if_nothing_happened(belief: Belief, ttl_s: float, *, sent_at: Instant, now: Instant) -> Belief:
    fresh = belief.granted(belief.lease_id or "", ttl_s, sent_at=sent_at, now=now)
    return replace(fresh, epoch=belief.epoch)


def _blind_to_leader(asked: Remains, reads: tuple[tuple[Entry, ...], ...], now: Instant) -> tuple[Remains, Verdict]:
    return LOOKED(asked, ((), reads[1]), now)


LOOKED = Remains.looked


def _settled_in_doubt(asked: Remains, now: Instant) -> tuple[Remains, Verdict]:
    return asked, Verdict.SETTLED


def _settled_after_doubt(asked: Remains, now: Instant) -> tuple[Remains, Verdict]:
    in_doubt = asked.doubt_until is not None and not now.reached(asked.doubt_until)
    return asked, Verdict.LATER if in_doubt else Verdict.SETTLED


def _released_clean(state: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    after, actions = RESIGN_ANSWERED(state, answer, ctx)
    clean = isinstance(answer, e.Applied)
    return after, tuple(action for action in actions if not (clean and isinstance(action, e.Disown)))


RESIGN_ANSWERED = tenure.resign_answered


def _forgetting_led(state: Contest, ctx: e.Context) -> e.Disown:
    return e.Disown(replace(REMAINS(state, ctx).remains, led=0))


REMAINS = contest.remains


def _leaves_unlooked(state: Contest, ctx: e.Context, *, looked: bool = False) -> Steps:
    untouched = state.phase not in contest.WRITING and state.candidate_revision is None and state.doubt_until is None
    return GIVE_UP(state, ctx, looked=looked or untouched)


GIVE_UP = claim.give_up


def setting(
    *,
    faults: str = "",
    wishes: str = "",
    faults_max: int = 1,
    wishes_max: int = 1,
    faulty: str = "ABC",
    wishing: str = "ABC",
    **options: Any,
) -> Setting:
    """A setting with these faults and wishes, of these processes."""
    menu = Menu(
        faults=frozenset(filter(None, faults.split(", "))),
        wishes=frozenset(filter(None, wishes.split(", "))),
        faulty=frozenset(faulty),
        wishing=frozenset(wishing),
    )
    return Setting(faults=faults_max if faults else 0, wishes=wishes_max if wishes else 0, menu=menu, **options)


PAUSE = setting(faults="pause", campaigns=1)
LATE = setting(faults="applied late", wishes="give up", campaigns=1)
LATE_RESIGN = setting(faults="applied late", wishes="give up, resign", wishes_max=2, campaigns=1, faulty="A")
TRANSFER = setting(wishes="transfer", campaigns=1)
TRANSFER_OF_THREE = replace(TRANSFER, processes=3)
FORCE = setting(wishes="force", campaigns=1)
CLAIMS = (Phase.CLAIMING, Phase.CLAIMING_AT_ONCE)

MUTATIONS = (
    Mutation(
        "2",
        "one's own key is not watched",
        TRANSFER_OF_THREE,
        not_watching(lambda state, key: key == state.candidate_key),
    ),
    Mutation(
        "2",
        "the predecessor's key is not watched",
        setting(wishes="give up", processes=3, campaigns=1),
        not_watching(lambda state, key: key not in (state.candidate_key, KEYS.leader)),
    ),
    Mutation(
        "2",
        "leader is not watched",
        setting(wishes="transfer, resign", wishes_max=2, processes=3, campaigns=1),
        not_watching(lambda state, key: key == KEYS.leader),
    ),
    Mutation(
        "2",
        "a key created again is taken for the same",
        setting(wishes="resign", store=CONSUL),
        ((election, "_seen", _only_gone_counts),),
    ),
    Mutation(
        "3",
        "a claim does not compare that leader is absent",
        setting(faults="pause", wishes="resign", faulty="B", wishing="A"),
        not_comparing(Phase.CLAIMING, of_leader),
    ),
    Mutation(
        "3",
        "a claim at once does not compare that leader is absent",
        setting(campaigns=1),
        not_comparing(Phase.CLAIMING_AT_ONCE, lambda compare: of_leader(compare) or isinstance(compare, NoneUnder)),
    ),
    Mutation(
        "3",
        "a claim does not compare one's own candidate key",
        setting(faults="applied late", wishes="resign, give up", wishes_max=2, faulty="B"),
        not_comparing(Phase.CLAIMING, of_candidate),
    ),
    Mutation(
        "3",
        "a claim at once does not compare that nobody queues",
        setting(wishes="resign"),
        not_comparing(Phase.CLAIMING_AT_ONCE, lambda compare: isinstance(compare, NoneUnder)),
    ),
    Mutation(
        "3",
        "a claim does not compare base",
        setting(faults="pause", wishes="rebase, resign", wishes_max=2, campaigns=1, faulty="A", wishing="B"),
        not_comparing(Phase.CLAIMING_AT_ONCE, of_base),
    ),
    Mutation("4", "a claim extends the deadline", PAUSE, quirks=Quirks(claims_extend_deadline=True)),
    Mutation(
        "3",
        "who claims before it looks does not mind those who stand ahead",
        setting(wishes="resign", campaigns=1, idler=True),
        instead("overtook", lambda _old: lambda *_: False, claim),
    ),
    Mutation(
        "4",
        "the deadline is not looked at when the reply comes",
        PAUSE,
        ((Contest, "lease_trusted", lambda state, ctx: True),),
    ),
    Mutation(
        "5", "nobody claims out of turn", setting(idler=True, campaigns=1), ((judge, "_queued", _never_out_of_turn),)
    ),
    Mutation(
        "5",
        "who waits out of turn does not mind others being elected",
        setting(wishes="resign", campaigns=1, idler=True),
        ((election, "_seen", _leader_in_between_unseen),),
    ),
    Mutation(
        "11",
        "what ended candidacies left is not kept",
        setting(wishes="give up", campaigns=1),
        quirks=Quirks(drops_remains=True),
    ),
    Mutation(
        "6",
        "a record that was led at is adopted again",
        setting(faults="pause"),
        ((judge, "_adopt", _adopt_anything),),
    ),
    Mutation(
        "6", "a new campaign does not learn what was led at", setting(faults="pause"), quirks=Quirks(forgets_led=True)
    ),
    Mutation(
        "6",
        "a record that is being deleted is adopted",
        setting(faults="pause", wishes="give up", faulty="A", wishing="A"),
        instead("remains", lambda _old: _forgetting_led, contest),
    ),
    Mutation(
        "6",
        "a change from before the leadership ends it",
        setting(
            faults="told late",
            faulty="C",
            wishes="transfer, resign",
            wishes_max=2,
            processes=3,
            campaigns=1,
            timed_looks=True,
        ),
        instead("leader_seen", lambda _old: _old_news_counts, tenure),
    ),
    Mutation(
        "7",
        "belief goes on until the store has confirmed a resignation",
        setting(faults="pause", wishes="resign", campaigns=1),
        quirks=Quirks(believes_while_releasing=True),
    ),
    Mutation(
        "8",
        "a resignation does not compare leader",
        setting(faults="cut", wishes="resign", campaigns=1),
        not_comparing(Phase.RESIGNING, of_leader),
    ),
    Mutation(
        "9",
        "a transfer does not compare leader",
        setting(faults="cut", wishes="transfer", campaigns=1, processes=3, faulty="A", wishing="A"),
        not_comparing(Phase.TRANSFERRING, of_leader),
    ),
    Mutation(
        "9",
        "a transfer does not compare the target's key",
        setting(wishes="transfer, give up", wishes_max=2, campaigns=1),
        not_comparing(Phase.TRANSFERRING, of_candidate),
    ),
    Mutation(
        "9",
        "a transfer leaves the old leader's candidate key",
        TRANSFER,
        not_doing(Phase.TRANSFERRING, lambda op: isinstance(op, Delete) and op.key == A_KEY),
    ),
    Mutation(
        "9",
        "a transfer leaves the target's candidate key",
        TRANSFER,
        not_doing(Phase.TRANSFERRING, lambda op: isinstance(op, Delete) and op.key != A_KEY and op.key != KEYS.request),
    ),
    Mutation(
        "9",
        "a refused transfer is taken for done",
        setting(wishes="transfer, give up", wishes_max=2, campaigns=1),
        instead("transfer_answered", lambda _old: _transfer_refused_is_done, tenure),
    ),
    Mutation("9", "the token is made of the create revision", TRANSFER, ((queue, "token_of", _token_of_creation),)),
    Mutation(
        "10",
        "a request for another leadership is obeyed",
        setting(wishes="request", wishes_max=2, campaigns=1),
        ((tenure, "_request_seen", _any_request),),
    ),
    Mutation("10", "leader is deleted, and no hold put in its place", FORCE, operator=frozenset({"no hold"})),
    Mutation(
        "10",
        "the old lease is not revoked",
        setting(faults="told late", wishes="force", campaigns=1),
        instead("revoke", lambda _old: _taken_for_revoked, judge),
    ),
    Mutation("10", "the hold is not waited out", FORCE, instead("hold_revoked", lambda _old: _free_at_once, judge)),
    Mutation(
        "11",
        "after a passed deadline a renewal keeps the record alive",
        setting(faults="pause", campaigns=1),
        without_disown("trust_ended", tenure),
    ),
    Mutation("11", "a claim under way at the end is forgotten", LATE, no_doubt(*CLAIMS)),
    Mutation(
        "11",
        "an enqueue under way at the end is forgotten",
        LATE,
        no_doubt(Phase.ENQUEUEING),
    ),
    Mutation(
        "11",
        "who withdrew does not look for a record transferred to it",
        setting(wishes="transfer, give up", wishes_max=2, campaigns=1),
        ((Remains, "looked", _blind_to_leader),),
    ),
    Mutation(
        "11",
        "a resignation without an answer is forgotten",
        setting(faults="applied late", wishes="resign", campaigns=1),
        without_disown("resign_answered", tenure),
    ),
    Mutation(
        "11",
        "a transfer that was given up is forgotten",
        setting(faults="applied late", wishes="transfer", campaigns=1),
        without_disown("abandon_release", tenure),
    ),
    Mutation(
        "11",
        "a campaign given up before it looked forgets what it took over",
        setting(wishes="give up", wishes_max=2, wishing="B"),
        instead("give_up", lambda _old: _leaves_unlooked, claim),
    ),
    Mutation(
        "12",
        "a clean look settles a doubt",
        LATE,
        ((Remains, "_clean", _settled_in_doubt),),
    ),
    Mutation(
        "12",
        "a look that began in doubt settles it when the doubt is over",
        setting(faults="applied late, pause", faults_max=2, wishes="give up", processes=1, campaigns=1),
        ((Remains, "_clean", _settled_after_doubt),),
    ),
    Mutation(
        "12",
        "a resignation settles the doubt about a claim before it",
        setting(faults="applied late", wishes="resign", processes=1, campaigns=1),
        instead("resign_answered", lambda _old: _released_clean, tenure),
    ),
    Mutation(
        "12",
        "in doubt about a claim, leader is watched by the first one only",
        setting(faults="applied late", wishes="resign", campaigns=1, idler=True),
        not_watching(
            lambda state, key: key == KEYS.leader and state.doubt_until is not None and not _looks_first(state)
        ),
    ),
    Mutation(
        "12", "a claim without an answer is taken for refused", LATE_RESIGN, unknown_taken_for(e.Refused, *CLAIMS)
    ),
    Mutation(
        "12", "a claim without an answer is taken for not sent", LATE_RESIGN, unknown_taken_for(e.Unavailable, *CLAIMS)
    ),
    Mutation(
        "12",
        "an enqueue without an answer is taken for not sent",
        LATE,
        unknown_taken_for(e.Unavailable, Phase.ENQUEUEING),
    ),
    Mutation(
        "12",
        "a transfer without an answer is taken for done",
        setting(faults="applied late", wishes="transfer", campaigns=1),
        unknown_taken_for(_applied, Phase.TRANSFERRING),
    ),
    Mutation(
        "Records",
        "mine is judged by the id",
        setting(faults="crash", campaigns=2),
        instead("holder_of", lambda _old: _mine_by_id, queue),
    ),
    Mutation(
        "Time",
        "a renewal after the deadline goes on with the same trust",
        setting(faults="pause", campaigns=1),
        ((Belief, "renewed", _renewed_as_if_nothing_happened),),
    ),
)
