"""The writes of a campaign: enqueue and claim (ELECTION.md, rules 1, 3 and 4)."""

from __future__ import annotations

from leasekit.core import events as e
from leasekit.core import queue, records
from leasekit.core.contest import WRITING, Contest, Phase, Steps, doubting, remains, retired, send
from leasekit.store import Absent, At, Committed, Delete, Get, NoneUnder, Op, Put


def claim_at_once(contest: Contest, ctx: e.Context) -> Steps:
    """Rule 3, uncontended: nobody leads and nobody queues, so one round trip does it all."""
    keys = contest.setup.keys
    empty = (NoneUnder(keys.queue),) if contest.setup.compares_empty else ()
    compares = (Absent(keys.leader), Absent(contest.candidate_key), *empty, contest.base.unchanged)
    ops: tuple[Op, ...] = (_put_candidate(contest), *_take_office(contest, ctx))
    return send(contest, Phase.CLAIMING_AT_ONCE, compares, ops)


def enqueue(contest: Contest) -> Steps:
    """Rule 1, with a look in the same round trip."""
    ops: tuple[Op, ...] = (_put_candidate(contest), *queue.look_ops(contest.setup.keys))
    return send(contest, Phase.ENQUEUEING, (Absent(contest.candidate_key),), ops)


def claim(contest: Contest, ctx: e.Context, *, over: int | None = None) -> Steps:
    """Rules 3, 5 and 10c: nobody leads, or (`over`) a hold at that revision has run out.

    Who was next in line has not looked since. It looks in the same round trip, and `overtook` says what follows.
    """
    assert contest.candidate_revision is not None
    if ctx.belief.too_short_to_claim(ctx.now):
        return contest._replace(phase=Phase.RENEWING), (e.RenewLease(),)
    leader = contest.setup.keys.leader
    compares = (
        Absent(leader) if over is None else At(leader, over),
        At(contest.candidate_key, contest.candidate_revision),
        contest.base.unchanged,
    )
    ops = _take_office(contest, ctx)
    if contest.next_in_line:
        ops = (*ops, Get(contest.setup.keys.queue, prefix=True))
    return send(contest._replace(claim_over=over), Phase.CLAIMING, compares, ops)


def overtook(contest: Contest, committed: Committed) -> bool:
    """Whether a claim that was applied came before somebody's turn: one of a higher priority had come since the look."""
    if contest.phase is not Phase.CLAIMING or not contest.next_in_line:
        return False
    (waiting,) = committed.reads
    return queue.in_order(waiting)[0].key != contest.candidate_key


def clean(contest: Contest, revision: int) -> Steps:
    """Delete a `leader` record on this lease that stands for no leadership of ours."""
    leader = contest.setup.keys.leader
    return send(contest, Phase.CLEANING, (At(leader, revision),), (Delete(leader),))


def give_up(contest: Contest, ctx: e.Context, *, looked: bool = False) -> Steps:
    """End the campaign. What it wrote, may yet have written, or took over from an earlier one is disowned.

    `looked`: what is known of its keys was just read. Otherwise an earlier candidacy's may be there, unknown to us.
    """
    if contest.phase in WRITING:
        contest = doubting(contest, ctx)
    known_gone = looked and contest.candidate_revision is None and contest.doubt_until is None
    may_remain = contest.lease_id != "" and not known_gone
    disown = (remains(contest, ctx),) if may_remain else ()
    return retired(contest), (*disown, e.NotElected())


def _put_candidate(contest: Contest) -> Put:
    value = records.dump_candidate(contest.setup.record(contest.ttl_s))
    return Put(contest.candidate_key, value, contest.lease_id)


def _take_office(contest: Contest, ctx: e.Context) -> tuple[Op, ...]:
    keys = contest.setup.keys
    value = queue.leader_value(contest.setup.record(contest.ttl_s), contest.base, ctx.wall_s, ctx.clock)
    # A request that is still there was for an earlier leadership.
    return Put(keys.leader, value, contest.lease_id), Delete(keys.request)
