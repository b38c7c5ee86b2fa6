"""Leading, and letting go (ELECTION.md, rules 6 to 10; cited by number)."""

from __future__ import annotations

from leasekit.core import events as e
from leasekit.core import queue, records
from leasekit.core.contest import Contest, Phase, Steps, Watching, doubting, remains, retired, send
from leasekit.core.queue import Holder
from leasekit.errors import LossReason, ProtocolError
from leasekit.store import At, Delete, Entry, Get, Op, Put


def lead(contest: Contest, revision: int, token: int) -> Contest:
    """In office since `revision`: watch `leader` and an operator's `request`."""
    keys = contest.setup.keys
    return contest._replace(
        phase=Phase.LEADING,
        leader_revision=revision,
        token=token,
        led=max(contest.led, revision),
        watching=Watching(((keys.leader, None), (keys.request, None)), revision),
        wake_at=None,
        leaderless_since=None,
        hold=None,
    )


def leader_seen(contest: Contest, event: e.Seen, ctx: e.Context) -> Steps:
    """A watched key changed while in office."""
    assert contest.leader_revision is not None
    keys = contest.setup.keys
    if event.revision <= contest.leader_revision:
        return contest, ()
    if event.key == keys.request:
        return _request_seen(contest, event.entry)
    if event.key != keys.leader or (event.entry is not None and event.entry.revision == contest.leader_revision):
        return contest, ()
    return _deposed(contest, event.entry, ctx)


def check_office(contest: Contest) -> Steps:
    """Changes may have been missed: read what is watched."""
    keys = contest.setup.keys
    return send(contest, Phase.CHECKING, (), (Get(keys.leader), Get(keys.request)))


def office_checked(contest: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    """The answer to `check_office`."""
    if not isinstance(answer, e.Applied):
        return contest, (e.Pause(),)
    leader, request = (entries[0] if entries else None for entries in answer.committed.reads)
    if leader is None or leader.revision != contest.leader_revision:
        return _deposed(contest, leader, ctx)
    return _request_seen(contest._replace(phase=Phase.LEADING), request)


def _request_seen(contest: Contest, entry: Entry | None) -> Steps:
    if entry is None:
        return contest, ()
    try:
        request = records.load_request(entry.value)
    except ProtocolError:
        return contest, ()
    return contest, ((e.Asked(request),) if request.token == contest.token else ())


def _deposed(contest: Contest, leader: Entry | None, ctx: e.Context) -> Steps:
    """`leader` is gone or another's: lost at once."""
    holder = queue.holder_of(leader, lease_id=contest.lease_id, id=contest.setup.id)
    reason = LossReason.REVOKED if holder is Holder.HOLD else LossReason.SUPERSEDED
    return retired(contest), (e.Lost(reason), remains(contest, ctx))


def trust_ended(contest: Contest, event: e.TrustEnded, ctx: e.Context) -> Steps:
    """The lease may not be trusted any more: over, whatever later replies say (rule 6)."""
    disown = () if event.lease_gone else (remains(contest, ctx),)
    return retired(contest), (e.Lost(event.reason), *disown)


# Letting go. Belief has ended before either is sent (rule 7).


def let_go(contest: Contest, release: e.Resign | e.Transfer) -> Steps:
    """Resign or transfer."""
    contest = contest._replace(release=release)
    return _resign(contest) if isinstance(release, e.Resign) else _transfer(contest, release)


def _resign(contest: Contest) -> Steps:
    """Rule 8."""
    assert contest.leader_revision is not None
    keys = contest.setup.keys
    ops: tuple[Op, ...] = (Delete(keys.leader), Delete(contest.candidate_key), Delete(keys.request))
    if not contest.setup.compares_empty:
        # Whether the next claim must queue first (`election._begin`).
        ops = (*ops, Get(keys.queue, prefix=True))
    return send(contest, Phase.RESIGNING, (At(keys.leader, contest.leader_revision),), ops)


def _transfer(contest: Contest, transfer: e.Transfer) -> Steps:
    """Rule 9."""
    assert contest.leader_revision is not None
    keys = contest.setup.keys
    compares = (At(keys.leader, contest.leader_revision), At(transfer.to.key, transfer.to.revision))
    target = records.load_candidate(transfer.to.value)
    value = queue.leader_value(target, transfer.base, transfer.wall_s, transfer.clock)
    ops = (
        Put(keys.leader, value, transfer.to.lease_id),
        Delete(contest.candidate_key),
        Delete(transfer.to.key),
        Delete(keys.request),  # answered
    )
    return send(contest, Phase.TRANSFERRING, (*compares, transfer.base.unchanged), ops)


def resign_answered(contest: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    """Refused means that `leader` is another's, or that a repeated request had been applied: nothing to do."""
    reason = LossReason.RESIGNED
    if contest.transfer_in_doubt and not isinstance(answer, e.Applied):
        reason = LossReason.TRANSFERRED
    unclear = isinstance(answer, e.Unavailable | e.Unknown)
    # Whoever replaced the record left our candidate key where it was. A doubt that is over by now may not have been
    # when the request was applied.
    clean = isinstance(answer, e.Applied) and contest.doubt_until is None
    disown = () if clean else (remains(contest, ctx),)
    left_alone = isinstance(answer, e.Applied) and answer.committed.reads == ((),)
    return retired(contest._replace(left_alone=left_alone)), (e.Released(reason, confirmed=not unclear), *disown)


def transfer_answered(contest: Contest, answer: e.Answer, ctx: e.Context) -> Steps:
    """Surely refused: resign instead. Unknown: repeat, which settles it (rule 12)."""
    match answer:
        case e.Applied():
            disown = (remains(contest, ctx),) if contest.doubt_until is not None else ()
            return retired(contest), (e.Released(LossReason.TRANSFERRED, confirmed=True), *disown)
        case e.Refused() | e.LeaseGone():
            return _resign(contest)
        case e.Unknown():
            return doubting(contest, ctx)._replace(transfer_in_doubt=True), (e.Pause(),)
        case e.Unavailable():
            return contest, (e.Pause(),)


def repeat_release(contest: Contest) -> Steps:
    """After a pause: send it again."""
    assert contest.release is not None
    if contest.phase is Phase.TRANSFERRING and isinstance(contest.release, e.Transfer):
        return _transfer(contest, contest.release)
    return _resign(contest)


def abandon_release(contest: Contest, ctx: e.Context) -> Steps:
    """No more time for it: what remains is looked after."""
    assert contest.release is not None
    reason = LossReason.RESIGNED if isinstance(contest.release, e.Resign) else LossReason.TRANSFERRED
    return retired(contest), (e.Released(reason, confirmed=False), remains(doubting(contest, ctx), ctx))
