"""Who stands right behind the leader claims without a look, and lets go if that was not its turn."""

from __future__ import annotations

from leasekit.core import events as e
from leasekit.core.contest import Phase
from leasekit.store import Delete, Get
from support.contests import KEYS, Candidate

MINE = KEYS.candidate("a")
LEADERS = KEYS.candidate("b")


def next_to_b() -> Candidate:
    """B leads, the candidate stands behind it."""
    candidate = Candidate()
    candidate.desk.queue_up("b", lease_id="B")
    candidate.desk.elect("b", lease_id="B")
    candidate.wait()
    return candidate


def resigned(candidate: Candidate) -> None:
    candidate.desk.transact((), (Delete(KEYS.leader), Delete(LEADERS)))


def test_when_the_leader_has_gone_one_round_trip_wins() -> None:
    candidate = next_to_b()
    resigned(candidate)
    candidate.see(LEADERS)
    assert candidate.is_at(Phase.CLAIMING)
    candidate.answered()
    assert candidate.only(e.Elected).token == candidate.desk.store.revision


def test_a_leader_without_a_place_in_the_queue_is_followed_as_well() -> None:
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    candidate.wait()
    candidate.desk.end("B")
    candidate.see(KEYS.leader)
    assert candidate.is_at(Phase.CLAIMING)


def test_it_looks_first_where_somebody_else_stood_between() -> None:
    candidate = Candidate()
    candidate.desk.queue_up("b", lease_id="B")
    candidate.desk.elect("b", lease_id="B")
    candidate.desk.queue_up("c", lease_id="C")
    candidate.wait()
    candidate.desk.end("C")
    candidate.see(KEYS.candidate("c"))
    assert candidate.is_at(Phase.LOOKING)


def test_it_looks_first_where_a_hold_has_the_place() -> None:
    candidate = Candidate()
    candidate.desk.hold(lease_id="B")
    candidate.wait()
    candidate.desk.transact((), (Delete(KEYS.leader),))
    candidate.see(KEYS.leader)
    assert candidate.is_at(Phase.LOOKING)


def test_it_looks_where_its_own_place_is_gone() -> None:
    candidate = next_to_b()
    candidate.desk.transact((), (Delete(MINE),))
    candidate.see(MINE)
    assert candidate.is_at(Phase.LOOKING)


def test_a_leader_who_only_left_the_queue_still_leads() -> None:
    candidate = next_to_b()
    candidate.desk.transact((), (Delete(LEADERS),))
    candidate.see(LEADERS)
    candidate.answered()
    candidate.until(Phase.WAITING)
    assert candidate.contest.watching.keys == {KEYS.leader, MINE}


def test_whom_a_higher_priority_overtook_lets_go_unbelieved() -> None:
    candidate = next_to_b()
    candidate.desk.queue_up("c", lease_id="C", priority=1)
    resigned(candidate)
    candidate.see(LEADERS)
    assert candidate.answered() == (candidate.request,)
    assert candidate.is_at(Phase.CLEANING)
    candidate.answered()
    assert candidate.desk.entry(KEYS.leader) is None
    candidate.until(Phase.WAITING)
    assert candidate.contest.watching.keys >= {KEYS.candidate("c"), MINE}


def test_the_overtaken_claim_is_never_taken_up_again() -> None:
    candidate = next_to_b()
    candidate.desk.queue_up("c", lease_id="C", priority=1)
    resigned(candidate)
    candidate.see(LEADERS)
    candidate.answered()
    # The deletion gets lost, so the record is found at the next look.
    candidate.unanswered()
    candidate.feed(e.Wake())
    candidate.answered()
    assert candidate.is_at(Phase.CLEANING)


def test_a_claim_after_a_look_reads_nothing() -> None:
    candidate = Candidate()
    candidate.desk.queue_up("c", lease_id="C")
    candidate.wait()
    candidate.desk.end("C")
    candidate.see(KEYS.candidate("c"))
    candidate.answered()
    assert candidate.is_at(Phase.CLAIMING)
    assert not any(isinstance(op, Get) for op in candidate.only(e.Transact).ops)
