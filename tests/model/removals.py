"""Ways to take a rule out of the core: what is patched, and by what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from leasekit.clock import Instant
from leasekit.core import claim, contest, election, judge, queue, records, remains, tenure
from leasekit.core import events as e
from leasekit.core.contest import Contest, Phase, Steps
from leasekit.core.lease import Belief
from leasekit.core.queue import Holder
from leasekit.core.remains import Remains, Verdict
from leasekit.store import Absent, At, Committed, Compare, Entry, Op
from model.process import KEYS

ROOMS = (claim, contest, election, judge, queue, remains, tenure)
A_KEY = KEYS.candidate("a")


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
            return state._replace(watching=replace(state.watching, known=known))

        return wait

    return instead("_wait", make, judge)


def applied(number: int) -> e.Answer:
    return e.Applied(number, Committed(0))


def looks_first(state: Contest) -> bool:
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


def only_gone_counts(state: Contest, event: e.Seen, *rest: Any) -> Steps:
    """`election._seen`, but a key that was deleted and created again is taken for the same."""
    if event.entry is not None and event.key != KEYS.leader:
        return state, ()
    seen: Steps = SEEN(state, event, *rest)
    return seen


SEEN: Any = election._seen


def never_out_of_turn(state: Contest, seen: queue.Look, holder: Holder, ctx: e.Context) -> Steps:
    return QUEUED(state._replace(leaderless_since=ctx.now), seen, holder, ctx)


QUEUED = judge._queued


def leader_in_between_unseen(state: Contest, event: e.Seen, *rest: Any) -> Steps:
    """`election._seen`, but one who waits for its time out of turn does not mind others being elected."""
    if event.key == KEYS.leader and state.leaderless_since is not None and len(state.watching.known) > 2:
        return state, ()
    seen: Steps = SEEN(state, event, *rest)
    return seen


def adopt_anything(state: Contest, leader: Entry, mine: Entry | None, ctx: e.Context) -> Steps:
    return ADOPT(state._replace(led=0), leader, mine, ctx)


ADOPT = judge._adopt


def mine_by_id(leader: Entry | None, *, lease_id: str, id: str) -> Holder:
    same_id = leader is not None and f'"id":"{id}"'.encode() in leader.value
    return Holder.ME if same_id else HOLDER_OF(leader, lease_id=lease_id, id=id)


HOLDER_OF = queue.holder_of


def token_of_creation(leader: Entry) -> int:
    return TOKEN_OF(replace(leader, revision=leader.create_revision))


TOKEN_OF = queue.token_of


def transfer_refused_is_done(state: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    taken = e.Applied(answer.number, Committed(0)) if isinstance(answer, e.Refused) else answer
    return TRANSFER_ANSWERED(state, taken, ctx)


TRANSFER_ANSWERED = tenure.transfer_answered


def any_request(state: Contest, entry: Entry | None) -> Steps:
    return state, () if entry is None else (e.Asked(records.load_request(entry.value)),)


def old_news_counts(state: Contest, event: e.Seen, ctx: e.Context) -> Steps:
    return LEADER_SEEN(state, replace(event, revision=event.revision + 1000), ctx)


LEADER_SEEN = tenure.leader_seen


def taken_for_revoked(state: Contest) -> Steps:
    """The hold is waited out without revoking the old lease."""
    assert state.hold is not None
    held = state._replace(hold=replace(state.hold, free_at=Instant(state.hold.ttl_s + 1, state.hold.ttl_s + 1)))
    return contest.look(held)


def free_at_once(state: Contest, ctx: e.Context) -> Contest:
    assert state.hold is not None
    return state._replace(hold=replace(state.hold, free_at=ctx.now))


def renewed_as_if_nothing_happened(belief: Belief, ttl_s: float, *, sent_at: Instant, now: Instant) -> Belief:
    fresh = belief.granted(belief.lease_id or "", ttl_s, sent_at=sent_at, now=now)
    return replace(fresh, epoch=belief.epoch)


def blind_to_leader(asked: Remains, reads: tuple[tuple[Entry, ...], ...], now: Instant) -> tuple[Remains, Verdict]:
    return LOOKED(asked, ((), reads[1]), now)


LOOKED = Remains.looked


def settled_in_doubt(asked: Remains, now: Instant) -> tuple[Remains, Verdict]:
    return asked, Verdict.SETTLED


def settled_after_doubt(asked: Remains, now: Instant) -> tuple[Remains, Verdict]:
    in_doubt = asked.doubt_until is not None and not now.reached(asked.doubt_until)
    return asked, Verdict.LATER if in_doubt else Verdict.SETTLED


def released_clean(state: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    after, actions = RESIGN_ANSWERED(state, answer, ctx)
    clean = isinstance(answer, e.Applied)
    return after, tuple(action for action in actions if not (clean and isinstance(action, e.Disown)))


RESIGN_ANSWERED = tenure.resign_answered


def forgetting_led(state: Contest, ctx: e.Context) -> e.Disown:
    return e.Disown(replace(REMAINS(state, ctx).remains, led=0))


REMAINS = contest.remains


def leaves_unlooked(state: Contest, ctx: e.Context, *, looked: bool = False) -> Steps:
    untouched = state.phase not in contest.WRITING and state.candidate_revision is None and state.doubt_until is None
    return GIVE_UP(state, ctx, looked=looked or untouched)


GIVE_UP = claim.give_up
