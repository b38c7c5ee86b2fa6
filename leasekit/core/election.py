"""One candidate's part in one election, as a pure state machine: ELECTION.md to the letter.

Events and a moment go in, a new state and actions come out (`leasekit.core.events` lists both). The model checker in
`tests/model` explores this very machine. The rooms beside this one hold the parts: `contest` the state, `claim` the
writes of a campaign, `judge` what follows from a look, `tenure` leading and letting go, `remains` cleaning up after.

The invariants that carry the rest: a request that is abandoned leaves a doubt behind, and a doubt is settled by a
write; a `leader` record on this lease is adopted only above every revision that was led at here, so that a leadership
that is over stays over.
"""

from __future__ import annotations

from leasekit.core import events as e
from leasekit.core import queue
from leasekit.core.claim import claim, claim_at_once, clean, enqueue, give_up, overtook
from leasekit.core.contest import Contest, Phase, Setup, Steps, Watching, doubting, look, without_lease
from leasekit.core.judge import hold_revoked, judge, revoke
from leasekit.core.queue import Holder
from leasekit.core.tenure import (
    abandon_release,
    check_office,
    lead,
    leader_seen,
    let_go,
    office_checked,
    repeat_release,
    resign_answered,
    transfer_answered,
    trust_ended,
)
from leasekit.store import Committed

__all__ = ["Contest", "Phase", "Setup", "Watching", "step"]


def step(contest: Contest, event: e.Event, ctx: e.Context) -> Steps:
    """The state after `event`, and what is to be done. Events that no longer matter change nothing.

    Raises ProtocolError when the store holds records that no leasekit wrote.
    """
    match event:
        case e.Campaign():
            fresh = contest._replace(once=event.once, leaderless_since=None, conflict_since=None, hold=None)
            return _begin(fresh, ctx)
        case e.LeaseReady():
            return _begin(contest, ctx) if contest.phase in (Phase.LEASING, Phase.RENEWING) else (contest, ())
        case e.Applied() | e.Refused() | e.Unavailable() | e.Unknown() | e.LeaseGone():
            return _answered(contest, event, ctx) if event.number == contest.number else (contest, ())
        case e.Seen():
            return leader_seen(contest, event, ctx) if contest.leads else _seen(contest, event, ctx)
        case e.Missed():
            return _missed(contest)
        case e.Wake():
            return _wake(contest, ctx)
        case e.TrustEnded():
            return _trust_ended(contest, event, ctx)
        case e.GiveUp():
            return _give_up(contest, ctx)
        case e.Resign() | e.Transfer():
            return let_go(contest, event) if contest.leads else (contest, ())


def _begin(contest: Contest, ctx: e.Context) -> Steps:
    """With a lease that is good for a claim: one round trip if nobody is about, or else the queue."""
    belief = ctx.belief
    if belief.lease_id is None or not belief.trusted(ctx.now):
        return contest._replace(phase=Phase.LEASING), (e.NeedLease(),)
    if belief.lease_id != contest.lease_id:
        # A new lease starts with no keys, so none of its records can be from an earlier leadership.
        contest = without_lease(contest)._replace(lease_id=belief.lease_id, led=0)
    contest = contest._replace(ttl_s=belief.ttl_s)
    if belief.too_short_to_claim(ctx.now):
        return contest._replace(phase=Phase.RENEWING), (e.RenewLease(),)
    if contest.candidate_revision is not None or contest.doubt_until is not None:
        return look(contest)
    if contest.led and not contest.left_alone and not contest.once and not contest.setup.compares_empty:
        # The store cannot say "nobody queues" in the claim itself. Who has just led and campaigns again would be elected
        # over all that wait, since it is a watch ahead of them: so one more round trip, and in turn.
        return enqueue(contest)
    return claim_at_once(contest, ctx)


def _answered(contest: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    match contest.phase:
        case Phase.CLAIMING_AT_ONCE | Phase.ENQUEUEING | Phase.CLAIMING | Phase.CLEANING:
            return _write_answered(contest, answer, ctx)
        case Phase.LOOKING:
            if isinstance(answer, e.Applied):
                return judge(contest, queue.read_look(answer.committed.reads, answer.committed.revision), ctx)
            return contest, (e.Pause(),)
        case Phase.REVOKING:
            return look(hold_revoked(contest, ctx)) if isinstance(answer, e.Applied) else (contest, (e.Pause(),))
        case Phase.CHECKING:
            return office_checked(contest, answer, ctx)
        case Phase.TRANSFERRING:
            return transfer_answered(contest, answer, ctx)
        case Phase.RESIGNING:
            return resign_answered(contest, answer, ctx)
        case _:
            return contest, ()


def _write_answered(contest: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    """The answer to a write of the campaign."""
    match answer:
        case e.LeaseGone():
            return _released_by_store(contest, unknown=answer.lease_id)
        case e.Unknown():
            # Settled by a write, after a pause (rule 12).
            return doubting(contest, ctx), (e.Pause(),)
        case e.Unavailable():
            return contest, (e.Pause(),)
        case e.Applied() if contest.phase is Phase.ENQUEUEING:
            revision = answer.committed.revision
            enqueued = contest._replace(candidate_revision=revision)
            return judge(enqueued, queue.read_look(answer.committed.reads, revision), ctx)
        case e.Applied() if contest.phase is not Phase.CLEANING:
            return _won(contest, answer.committed, ctx)
        case e.Refused() if contest.phase is Phase.CLAIMING_AT_ONCE and not contest.once:
            return enqueue(contest)
        case _:
            return look(contest)


def _won(contest: Contest, committed: Committed, ctx: e.Context) -> Steps:
    """A claim was applied. It counts if the lease may still be trusted now that the reply is here (rule 4)."""
    revision = committed.revision
    if contest.phase is Phase.CLAIMING_AT_ONCE:
        contest = contest._replace(candidate_revision=revision)
    if not contest.lease_trusted(ctx) or overtook(contest, committed):
        # Nobody has believed in it.
        return clean(contest._replace(led=revision), revision)
    token = contest.base.value + revision
    over_hold = contest.phase is Phase.CLAIMING and contest.claim_over is not None
    return lead(contest, revision, token), (e.Elected(revision, token, over_hold),)


def _seen(contest: Contest, event: e.Seen, ctx: e.Context) -> Steps:
    """A watched key changed while waiting. Gone is also what was created anew: Consul merges the two (rule 2)."""
    known = dict(contest.watching.known)
    if contest.phase is not Phase.WAITING or event.key not in known or event.revision <= contest.watching.after:
        return contest, ()
    if contest.next_in_line and event.entry is None and event.key != contest.candidate_key:
        # Refused, it looks.
        return claim(contest, ctx)
    if event.key == contest.setup.keys.leader:
        holder = queue.holder_of(event.entry, lease_id=contest.lease_id, id=contest.setup.id)
        if holder is Holder.ANOTHER and contest.leaderless_since is None:
            return contest, ()
        # Somebody was elected in between, even if gone again: nobody is out of turn yet (rule 5).
        return look(contest._replace(leaderless_since=None))
    same = event.entry is not None and event.entry.create_revision == known[event.key]
    return (contest, ()) if same else look(contest)


def _missed(contest: Contest) -> Steps:
    if contest.phase is Phase.WAITING:
        return look(contest)
    return check_office(contest) if contest.phase is Phase.LEADING else (contest, ())


def _wake(contest: Contest, ctx: e.Context) -> Steps:
    """After a pause: repeat what was not answered. While waiting: look, though no watch said so (rule 5)."""
    match contest.phase:
        case Phase.CLAIMING_AT_ONCE:
            # In doubt, enqueueing settles it or finds it done; else simply try again.
            return enqueue(contest) if contest.doubt_until is not None else _begin(contest, ctx)
        case Phase.ENQUEUEING:
            return enqueue(contest)
        case Phase.CLAIMING:
            return claim(contest, ctx, over=contest.claim_over)
        case Phase.REVOKING:
            return revoke(contest)
        case Phase.LOOKING | Phase.CLEANING | Phase.WAITING:
            return look(contest)
        case Phase.CHECKING:
            return check_office(contest)
        case Phase.TRANSFERRING | Phase.RESIGNING:
            return repeat_release(contest)
        case _:
            return contest, ()


def _trust_ended(contest: Contest, event: e.TrustEnded, ctx: e.Context) -> Steps:
    if contest.leads:
        return trust_ended(contest, event, ctx)
    if contest.phase in (Phase.IDLE, Phase.LEASING) or not event.lease_gone:
        # A campaign may go on when a renewal comes through; its claims look at the lease themselves.
        return contest, ()
    if contest.phase in (Phase.TRANSFERRING, Phase.RESIGNING):
        return abandon_release(contest, ctx)
    return _released_by_store(contest, unknown=None)


def _released_by_store(contest: Contest, *, unknown: str | None) -> Steps:
    """The lease is gone: begin anew on another."""
    leasing = without_lease(contest)._replace(phase=Phase.LEASING, number=contest.number + 1)
    return leasing, (e.NeedLease(unknown),)


def _give_up(contest: Contest, ctx: e.Context) -> Steps:
    match contest.phase:
        case Phase.IDLE:
            return contest, ()
        case Phase.LEADING | Phase.CHECKING:
            return let_go(contest, e.Resign())
        case Phase.TRANSFERRING | Phase.RESIGNING:
            return abandon_release(contest, ctx)
        case _:
            return give_up(contest, ctx)
