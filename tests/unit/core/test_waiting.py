"""Waiting in the queue: what is watched, and what wakes (ELECTION.md, rules 2, 5, 6 and 9)."""

from __future__ import annotations

from leasekit.core import events as e
from leasekit.core import records
from leasekit.core.contest import Phase
from leasekit.core.records import LeaderRecord
from leasekit.errors import LossReason
from leasekit.store import Delete, Put
from support.contests import KEYS, TTL_S, Candidate, record

MINE = KEYS.candidate("a")


def behind(candidate: Candidate, *ids: str, leader: str = "b") -> None:
    """Somebody leads, others queue already."""
    candidate.desk.elect(leader, lease_id=leader.upper())
    for id in ids:
        candidate.desk.queue_up(id, lease_id=id.upper())
    candidate.wait()


def test_the_first_one_watches_leader_and_itself() -> None:
    candidate = Candidate()
    behind(candidate)
    assert candidate.contest.watching.keys == {KEYS.leader, MINE}


def test_the_others_watch_their_predecessor_and_themselves() -> None:
    candidate = Candidate()
    behind(candidate, "c", "d")
    assert candidate.contest.watching.keys == {KEYS.candidate("d"), MINE}


def test_the_watch_begins_at_the_revision_of_the_look() -> None:
    candidate = Candidate()
    behind(candidate)
    assert candidate.contest.watching.after == candidate.desk.store.revision


def test_a_predecessor_that_goes_makes_it_look() -> None:
    candidate = Candidate()
    behind(candidate, "c")
    candidate.desk.end("C")
    candidate.see(KEYS.candidate("c"))
    assert candidate.is_at(Phase.LOOKING)
    candidate.answered()
    assert candidate.contest.watching.keys == {KEYS.leader, MINE}


def test_a_predecessor_created_anew_has_gone_meanwhile() -> None:
    candidate = Candidate()
    behind(candidate, "c")
    candidate.desk.end("C")
    candidate.desk.queue_up("c", lease_id="C2")
    candidate.see(KEYS.candidate("c"))
    assert candidate.is_at(Phase.LOOKING)


def test_a_predecessor_that_is_only_written_anew_is_still_there() -> None:
    candidate = Candidate()
    behind(candidate, "c")
    candidate.desk.queue_up("c", lease_id="C")
    assert candidate.see(KEYS.candidate("c")) == ()
    assert candidate.is_at(Phase.WAITING)


def test_one_leader_after_another_does_not_concern_the_first_in_the_queue() -> None:
    candidate = Candidate()
    behind(candidate)
    candidate.desk.elect("d", lease_id="D")
    assert candidate.see(KEYS.leader) == ()


def test_changes_from_before_the_look_and_of_other_keys_are_ignored() -> None:
    candidate = Candidate()
    behind(candidate)
    assert candidate.feed(e.Seen(KEYS.leader, None, candidate.contest.watching.after)) == ()
    assert candidate.feed(e.Seen("something/else", None, 1000)) == ()


def test_one_s_own_key_gone_without_a_transfer_means_queueing_anew() -> None:
    candidate = Candidate()
    behind(candidate)
    candidate.desk.transact((), (Delete(MINE),))
    candidate.see(MINE)
    candidate.answered()
    assert candidate.is_at(Phase.ENQUEUEING)


def test_a_transfer_is_adopted_with_the_token_of_the_transfer() -> None:
    candidate = Candidate()
    candidate.desk.put(records.BASE_KEY, records.dump_base(500))
    behind(candidate, "c")
    leader = records.dump_leader(LeaderRecord.of(record("a"), base=500, wall_s=0.0))
    candidate.desk.transact((), (Put(KEYS.leader, leader, "A"), Delete(MINE)))
    candidate.see(MINE)
    candidate.answered()
    elected = candidate.only(e.Elected)
    assert elected.token == 500 + candidate.desk.store.revision


def test_a_transfer_to_a_lease_that_is_not_trusted_any_more_is_deleted() -> None:
    candidate = Candidate()
    behind(candidate)
    candidate.desk.elect("a", lease_id="A")
    candidate.see(KEYS.leader)
    candidate.now_s += TTL_S
    candidate.answered()
    assert candidate.is_at(Phase.CLEANING)
    candidate.answered()
    assert candidate.desk.entry(KEYS.leader) is None


def test_a_record_that_was_led_at_is_never_adopted_again() -> None:
    candidate = Candidate()
    revision = candidate.lead()
    candidate.feed(e.TrustEnded(LossReason.DEADLINE, lease_gone=False))
    assert candidate.contest.led == revision
    candidate.renew()
    candidate.feed(e.Campaign())
    candidate.until(Phase.CLEANING)
    candidate.until(Phase.LEADING)
    assert candidate.only(e.Elected).token > revision


def test_another_candidate_on_the_same_lease_leads_for_itself() -> None:
    """Two elections of one name in one process share the lease, not the leadership."""
    candidate = Candidate()
    candidate.desk.elect("twin", lease_id="A")
    candidate.wait()
    assert candidate.is_at(Phase.WAITING)


def test_missed_changes_make_it_look() -> None:
    candidate = Candidate()
    behind(candidate)
    candidate.feed(e.Missed())
    assert candidate.is_at(Phase.LOOKING)


def test_it_looks_from_time_to_time_though_no_watch_said_so() -> None:
    candidate = Candidate()
    behind(candidate)
    assert candidate.contest.wake_at == candidate.now.plus(2 * TTL_S)
    candidate.feed(e.Wake())
    assert candidate.is_at(Phase.LOOKING)


# Out of turn.


def waits_behind_an_idler() -> Candidate:
    candidate = Candidate()
    candidate.desk.queue_up("idler", lease_id="I")
    candidate.wait()
    return candidate


def test_not_first_it_does_not_claim_though_nobody_leads() -> None:
    candidate = waits_behind_an_idler()
    candidate.elapse(1.9 * TTL_S)
    candidate.feed(e.Wake())
    candidate.answered()
    assert candidate.is_at(Phase.WAITING)


def test_after_twice_the_ttl_without_a_leader_it_claims_out_of_turn() -> None:
    candidate = waits_behind_an_idler()
    candidate.elapse(2 * TTL_S)
    candidate.feed(e.Wake())
    candidate.answered()
    assert candidate.is_at(Phase.CLAIMING)
    candidate.answered()
    assert candidate.contest.leads


def test_a_leader_in_between_starts_the_wait_anew() -> None:
    candidate = waits_behind_an_idler()
    candidate.elapse(1.5 * TTL_S)
    candidate.desk.elect("b", lease_id="B")
    candidate.see(KEYS.leader)
    candidate.answered()
    candidate.desk.end("B")
    candidate.elapse(TTL_S)
    candidate.feed(e.Wake())
    candidate.answered()
    assert candidate.is_at(Phase.WAITING)


# Forced resignation: the hold.


def test_the_first_revokes_the_old_lease_waits_it_out_and_claims_over_the_hold() -> None:
    candidate = Candidate()
    behind(candidate)
    candidate.desk.hold(lease_id="B")
    candidate.see(KEYS.leader)
    candidate.answered()
    assert candidate.actions == (e.Revoke(candidate.contest.number, "B"),)
    candidate.answered()
    candidate.answered()
    free_at = candidate.contest.wake_at
    assert free_at is not None
    assert free_at.boot_s > candidate.now_s + TTL_S
    candidate.elapse(candidate.now.until(free_at) - 0.01)
    candidate.feed(e.Wake())
    candidate.answered()
    assert candidate.is_at(Phase.WAITING), "the old leader may still believe"
    candidate.elapse(0.02)
    candidate.feed(e.Wake())
    candidate.answered()
    candidate.answered()
    assert candidate.only(e.Elected).over_hold


def test_the_wait_begins_when_the_revocation_is_acknowledged() -> None:
    candidate = Candidate()
    behind(candidate)
    candidate.desk.hold(lease_id="B")
    candidate.see(KEYS.leader)
    candidate.answered()
    assert candidate.unanswered() == (e.Pause(),)
    candidate.elapse(10 * TTL_S)
    candidate.feed(e.Wake())
    assert candidate.is_at(Phase.REVOKING)
    candidate.answered()
    candidate.answered()
    assert candidate.is_at(Phase.WAITING)


def test_those_behind_wait_for_the_first() -> None:
    candidate = Candidate()
    behind(candidate, "c")
    candidate.desk.hold(lease_id="B")
    candidate.feed(e.Missed())
    candidate.answered()
    assert candidate.is_at(Phase.WAITING)


def test_a_claim_over_a_hold_compares_its_revision() -> None:
    candidate = Candidate()
    behind(candidate)
    candidate.desk.hold(lease_id="B")
    candidate.see(KEYS.leader)
    for _ in range(3):
        candidate.answered()
    candidate.elapse(2 * TTL_S)
    candidate.feed(e.Wake())
    candidate.answered()
    candidate.desk.hold(lease_id="another")
    candidate.answered()
    assert not candidate.contest.leads


# Right behind the leader.


def right_behind_the_leader() -> Candidate:
    candidate = Candidate()
    candidate.desk.queue_up("b", lease_id="B")
    candidate.desk.elect("b", lease_id="B")
    candidate.wait()
    return candidate


def test_who_stands_right_behind_the_leader_is_elected_in_one_round_trip() -> None:
    candidate = right_behind_the_leader()
    candidate.desk.end("B")
    candidate.see(KEYS.candidate("b"))
    candidate.answered()
    assert candidate.only(e.Elected)


def test_it_gives_way_to_a_higher_priority_that_came_meanwhile() -> None:
    candidate = right_behind_the_leader()
    candidate.desk.queue_up("c", lease_id="C", priority=1)
    candidate.desk.end("B")
    candidate.see(KEYS.candidate("b"))
    candidate.answered()
    assert not candidate.contest.leads
    candidate.until(Phase.WAITING)
    assert candidate.desk.entry(KEYS.leader) is None
    assert KEYS.candidate("c") in candidate.contest.watching.keys
