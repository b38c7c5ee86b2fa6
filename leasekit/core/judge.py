"""What to do after a look at the election: adopt, claim, or wait for the right thing (rules 2, 3, 5, 6, 10)."""

from __future__ import annotations

from dataclasses import replace

from leasekit.clock import Instant
from leasekit.core import events as e
from leasekit.core import queue, records
from leasekit.core.claim import claim, claim_at_once, clean, enqueue, give_up
from leasekit.core.contest import Contest, HoldSeen, Phase, Steps, Watching
from leasekit.core.lease import DRIFT, MARGIN_FLOOR_S
from leasekit.core.queue import Holder, Look
from leasekit.core.records import HoldRecord
from leasekit.core.tenure import lead
from leasekit.errors import ConfigError, ProtocolError
from leasekit.store import Entry


def judge(contest: Contest, seen: Look, ctx: e.Context) -> Steps:
    """Decide on what was just read."""
    contest = contest._replace(base=seen.base, next_in_line=False)
    mine = seen.candidate(contest.candidate_key)
    holder = queue.holder_of(seen.leader, lease_id=contest.lease_id, id=contest.setup.id)
    if holder is Holder.ME:
        assert seen.leader is not None
        return _adopt(contest, seen.leader, mine, ctx)
    if mine is not None and mine.lease_id != contest.lease_id:
        return _id_taken(contest, mine, ctx)
    contest = contest._replace(candidate_revision=mine.revision if mine else None, conflict_since=None)
    if contest.once and (holder is not Holder.NOBODY or _somebody_ahead(contest, seen)):
        return give_up(contest, ctx, looked=True)
    if mine is None:
        # A single try queues only to settle a doubt, for its key would make others wait.
        return claim_at_once(contest, ctx) if contest.once and contest.doubt_until is None else enqueue(contest)
    return _queued(contest, seen, holder, ctx)


def _adopt(contest: Contest, leader: Entry, mine: Entry | None, ctx: e.Context) -> Steps:
    """The record is on this lease: a transfer to us, a claim whose reply was lost, or a leadership that is over."""
    own = mine if mine is not None and mine.lease_id == contest.lease_id else None
    contest = contest._replace(candidate_revision=own.revision if own else None)
    if leader.revision <= contest.led or not contest.lease_trusted(ctx):
        return clean(contest._replace(led=max(contest.led, leader.revision)), leader.revision)
    token = queue.token_of(leader)
    return lead(contest, leader.revision, token), (e.Elected(leader.revision, token),)


def _somebody_ahead(contest: Contest, seen: Look) -> bool:
    return bool(seen.queue) and seen.queue[0].key != contest.candidate_key


def _id_taken(contest: Contest, mine: Entry, ctx: e.Context) -> Steps:
    """The id is held by another lease: perhaps by this process's former life. Wait until that must have ended."""
    if contest.once:
        return give_up(contest, ctx)
    since = contest.conflict_since or ctx.now
    try:
        ttl_s = records.load_candidate(mine.value).ttl_s
    except ProtocolError:
        ttl_s = contest.ttl_s
    # Twice the ttl, for that long Consul keeps the keys of a dead session.
    until = since.plus(2 * ttl_s + 1.0)
    if ctx.now.reached(until):
        error = ConfigError(
            "id",
            f"{contest.setup.id!r} is in use by another process in election {contest.setup.keys.election!r}: "
            f"give each process an id of its own, or give none to have one made",
        )
        over, actions = give_up(contest, ctx)
        return over, (*(action for action in actions if not isinstance(action, e.NotElected)), e.Failed(error))
    watching = Watching(((mine.key, mine.create_revision),), mine.revision)
    return contest._replace(phase=Phase.WAITING, conflict_since=since, wake_at=until, watching=watching), ()


def _queued(contest: Contest, seen: Look, holder: Holder, ctx: e.Context) -> Steps:
    """In the queue. First and nobody leads: claim. Otherwise watch what stands in the way."""
    first = seen.predecessor(contest.candidate_key) is None
    patience_s = 2 * contest.ttl_s
    if holder is not Holder.NOBODY:
        contest = contest._replace(leaderless_since=None)
        if holder is Holder.HOLD and first:
            return _wait_out_hold(contest, seen, ctx)
        return _wait(contest, seen, ctx.now.plus(patience_s)), ()
    leaderless_since = contest.leaderless_since or ctx.now
    contest = contest._replace(leaderless_since=leaderless_since)
    out_of_turn_at = leaderless_since.plus(patience_s)
    if first or ctx.now.reached(out_of_turn_at):
        return claim(contest, ctx)
    return _wait(contest, seen, out_of_turn_at), ()


def _wait(contest: Contest, seen: Look, wake_at: Instant) -> Contest:
    """Watch one's own key and the predecessor's; the first one watches `leader` (rule 2)."""
    own = seen.candidate(contest.candidate_key)
    ahead = seen.predecessor(contest.candidate_key)
    assert own is not None
    known: list[tuple[str, int | None]] = [(own.key, own.create_revision)]
    if ahead is not None:
        known.append((ahead.key, ahead.create_revision))
    # In doubt about a claim, the record may become ours although others stand ahead. And that nobody leads for long
    # (rule 5) is known only by watching: at two looks with nobody in office, there may have been leaders in between.
    if ahead is None or contest.doubt_until is not None or contest.leaderless_since is not None:
        known.append((contest.setup.keys.leader, seen.leader.create_revision if seen.leader else None))
    watching = Watching(tuple(known), seen.revision)
    next_in_line = contest.doubt_until is None and _next_in_line(seen, ahead)
    return contest._replace(phase=Phase.WAITING, watching=watching, next_in_line=next_in_line, wake_at=wake_at)


def _next_in_line(seen: Look, ahead: Entry | None) -> bool:
    """Whether nobody but the leader stands ahead, so that the place is free when the watched key is gone."""
    if seen.leader is None or seen.leader.lease_id is None:  # nobody, or a hold
        return False
    return ahead is None or (ahead is seen.queue[0] and ahead.lease_id == seen.leader.lease_id)


def _wait_out_hold(contest: Contest, seen: Look, ctx: e.Context) -> Steps:
    """Rule 10 b and c: have the old lease revoked, wait until nobody can trust it any more, then claim over the hold."""
    assert seen.leader is not None
    record = records.load_leader(seen.leader.value)
    assert isinstance(record, HoldRecord)
    hold = contest.hold
    if hold is None or hold.revision != seen.leader.revision or hold.free_at is None:
        hold = HoldSeen(seen.leader.revision, record.lease_id, record.ttl_s)
        return revoke(contest._replace(hold=hold))
    if ctx.now.reached(hold.free_at):
        return claim(contest, ctx, over=hold.revision)
    return _wait(contest, seen, hold.free_at), ()


def revoke(contest: Contest) -> Steps:
    """Ask the store to revoke the lease that the hold names; revoking one that is gone is acknowledged as well."""
    assert contest.hold is not None
    number = contest.number + 1
    revoking = contest._replace(phase=Phase.REVOKING, number=number, wake_at=None)
    return revoking, (e.Revoke(number, contest.hold.lease_id),)


def hold_revoked(contest: Contest, ctx: e.Context) -> Contest:
    """The old lease is surely revoked as of now: its last renewal was earlier, so it is trusted for a ttl at most."""
    assert contest.hold is not None
    free_at = ctx.now.plus(contest.hold.ttl_s * (1 + DRIFT) + MARGIN_FLOOR_S)
    return contest._replace(hold=replace(contest.hold, free_at=free_at))
