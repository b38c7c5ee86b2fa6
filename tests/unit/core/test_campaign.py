"""A campaign's requests and what follows from their answers (ELECTION.md, rules 1, 3, 4 and 12)."""

from __future__ import annotations

import pytest

from leasekit.core import events as e
from leasekit.core import records
from leasekit.core.contest import Phase
from leasekit.errors import ConfigError, LossReason
from leasekit.store import Absent, At, NoneUnder
from model.storage import CONSUL
from support.contests import KEYS, TTL_S, Candidate, Desk


def compares(candidate: Candidate) -> set[object]:
    request = candidate.request
    assert isinstance(request, e.Transact)
    return set(request.compares)


def test_uncontended_one_round_trip_wins() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    candidate.answered()
    elected = candidate.only(e.Elected)
    leader = candidate.desk.entry(KEYS.leader)
    assert leader is not None
    assert (leader.lease_id, leader.revision) == ("A", elected.revision)
    assert elected.token == elected.revision
    assert candidate.desk.entry(KEYS.candidate("a")) is not None


def test_the_claim_at_once_compares_that_nobody_leads_and_nobody_queues() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    assert compares(candidate) == {
        Absent(KEYS.leader),
        Absent(KEYS.candidate("a")),
        NoneUnder(KEYS.queue),
        Absent(records.BASE_KEY),
    }


def test_a_store_that_cannot_compare_an_empty_queue_is_not_asked_to() -> None:
    candidate = Candidate(Desk(CONSUL))
    candidate.feed(e.Campaign())
    assert not any(isinstance(compare, NoneUnder) for compare in compares(candidate))


def test_without_a_trusted_lease_it_asks_for_one() -> None:
    candidate = Candidate()
    candidate.belief = candidate.belief.lost(LossReason.EXPIRED)
    assert candidate.feed(e.Campaign()) == (e.NeedLease(),)
    assert candidate.is_at(Phase.LEASING)


def test_with_little_of_the_lease_left_it_renews_first() -> None:
    candidate = Candidate()
    candidate.now_s += 0.7 * TTL_S
    assert candidate.feed(e.Campaign()) == (e.RenewLease(),)
    candidate.renew()
    candidate.feed(e.LeaseReady())
    assert candidate.is_at(Phase.CLAIMING_AT_ONCE)


def test_a_lease_that_nobody_asked_for_changes_nothing() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    before = candidate.contest
    assert candidate.feed(e.LeaseReady()) == ()
    assert candidate.contest == before


def test_refused_it_queues_and_learns_the_queue_in_the_same_round_trip() -> None:
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    candidate.feed(e.Campaign())
    candidate.answered()
    assert candidate.is_at(Phase.ENQUEUEING)
    candidate.answered()
    assert candidate.is_at(Phase.WAITING)
    assert candidate.desk.entry(KEYS.candidate("a")) is not None


def test_a_queued_claim_compares_leader_base_and_its_own_key_at_its_revision() -> None:
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    base = candidate.desk.put(records.BASE_KEY, records.dump_base(1000))
    candidate.wait()
    candidate.desk.end("B")
    candidate.see(KEYS.leader)
    candidate.until(Phase.CLAIMING)
    mine = candidate.desk.entry(KEYS.candidate("a"))
    assert mine is not None
    assert compares(candidate) == {
        Absent(KEYS.leader),
        At(KEYS.candidate("a"), mine.revision),
        At(records.BASE_KEY, base),
    }
    candidate.answered()
    assert candidate.only(e.Elected).token == 1000 + candidate.only(e.Elected).revision


def test_a_refused_claim_leaves_the_place_in_the_queue() -> None:
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    candidate.wait()
    candidate.desk.end("B")
    candidate.see(KEYS.leader)
    candidate.until(Phase.CLAIMING)
    candidate.desk.elect("c", lease_id="C")
    candidate.answered()
    candidate.until(Phase.WAITING)
    assert candidate.desk.entry(KEYS.candidate("a")) is not None


def test_a_request_left_for_an_earlier_leader_is_deleted_by_the_claim() -> None:
    candidate = Candidate()
    candidate.desk.put(KEYS.request, records.dump_request(records.RequestRecord(1, "resign", None)))
    candidate.lead()
    assert candidate.desk.entry(KEYS.request) is None


# Answers that say less.


def test_a_claim_that_may_have_been_applied_is_found_done() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    candidate.ask()
    assert candidate.unanswered() == (e.Pause(),)
    candidate.feed(e.Wake())
    assert candidate.is_at(Phase.ENQUEUEING)
    candidate.answered()
    candidate.answered()
    elected = candidate.only(e.Elected)
    leader = candidate.desk.entry(KEYS.leader)
    assert leader is not None
    assert elected.token == elected.revision == leader.revision


def test_a_claim_that_was_not_applied_is_settled_by_a_place_in_the_queue() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    late = candidate.request
    candidate.unanswered()
    candidate.feed(e.Wake())
    candidate.answered()
    assert isinstance(late, e.Transact)
    assert candidate.desk.transact(late.compares, late.ops) is None, "applied late, it must not win any more"
    candidate.answered()
    assert candidate.only(e.Elected).revision == candidate.desk.store.revision


def test_a_claim_that_surely_was_not_applied_is_sent_again() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    assert candidate.feed(e.Unavailable(candidate.contest.number)) == (e.Pause(),)
    candidate.feed(e.Wake())
    assert candidate.is_at(Phase.CLAIMING_AT_ONCE)
    assert candidate.contest.doubt_until is None


@pytest.mark.parametrize("answer", [e.Refused, e.Unavailable, e.Unknown])
def test_the_answer_to_an_abandoned_request_is_stale(answer: type[e.Refused | e.Unavailable | e.Unknown]) -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    stale = candidate.contest.number
    candidate.answered()
    before = candidate.contest
    assert candidate.feed(answer(stale)) == ()
    assert candidate.contest == before


def test_a_lease_that_the_store_disowns_is_granted_anew() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    candidate.desk.end("A")
    candidate.answered()
    assert candidate.actions == (e.NeedLease("A"),)
    assert candidate.is_at(Phase.LEASING)


def test_a_claim_whose_reply_comes_after_the_deadline_is_not_won() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign())
    answer = candidate.ask()
    candidate.now_s += TTL_S
    candidate.feed(answer)
    assert candidate.is_at(Phase.CLEANING)
    candidate.answered()
    assert candidate.desk.entry(KEYS.leader) is None


def test_a_deadline_that_passes_does_not_end_a_campaign() -> None:
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    candidate.wait()
    before = candidate.contest
    assert candidate.feed(e.TrustEnded(LossReason.DEADLINE, lease_gone=False)) == ()
    assert candidate.contest == before


def test_a_revoked_lease_begins_the_campaign_anew() -> None:
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    candidate.wait()
    assert candidate.feed(e.TrustEnded(LossReason.REVOKED, lease_gone=True)) == (e.NeedLease(None),)
    assert candidate.contest.candidate_revision is None


# A single try.


def test_a_try_that_is_refused_gives_up_without_queueing() -> None:
    candidate = Candidate()
    candidate.desk.elect("b", lease_id="B")
    candidate.feed(e.Campaign(once=True))
    candidate.answered()
    candidate.answered()
    assert candidate.actions == (e.NotElected(),)
    assert candidate.is_at(Phase.IDLE)


def test_a_try_wins_where_nobody_leads() -> None:
    candidate = Candidate()
    candidate.feed(e.Campaign(once=True))
    candidate.answered()
    assert candidate.only(e.Elected)


def test_a_try_gives_way_to_those_who_queue() -> None:
    candidate = Candidate()
    candidate.desk.queue_up("b", lease_id="B")
    candidate.feed(e.Campaign(once=True))
    candidate.answered()
    candidate.answered()
    assert candidate.actions == (e.NotElected(),)


# An id that another process holds.


def test_an_id_held_by_another_lease_is_waited_for_and_then_refused() -> None:
    candidate = Candidate()
    candidate.desk.queue_up("a", lease_id="another")
    candidate.wait()
    candidate.elapse(2 * TTL_S + 1.1)
    candidate.feed(e.Wake())
    candidate.answered()
    assert isinstance(candidate.only(e.Failed).error, ConfigError)
    assert candidate.is_at(Phase.IDLE)
    assert candidate.desk.entry(KEYS.candidate("a")) is not None, "it is another's"


def test_an_id_held_by_a_former_life_is_taken_over_when_that_ends() -> None:
    candidate = Candidate()
    candidate.desk.queue_up("a", lease_id="former")
    candidate.wait()
    candidate.desk.end("former")
    candidate.see(KEYS.candidate("a"))
    candidate.until(Phase.LEADING)


def test_giving_up_when_nothing_was_begun_says_nothing() -> None:
    candidate = Candidate()
    assert candidate.feed(e.GiveUp()) == ()
