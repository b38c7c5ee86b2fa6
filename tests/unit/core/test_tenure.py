"""Leading, and letting go (ELECTION.md, rules 5 to 10)."""

from __future__ import annotations

import pytest

from leasekit.core import events as e
from leasekit.core import queue, records
from leasekit.core.contest import Phase
from leasekit.core.queue import NO_BASE
from leasekit.core.records import LeaderRecord, RequestRecord
from leasekit.errors import LossReason
from leasekit.store import Absent, At, Delete
from model.storage import CONSUL, ETCD, Kind
from support.contests import KEYS, TTL_S, Candidate, Desk, record

MINE = KEYS.candidate("a")


def leader() -> Candidate:
    candidate = Candidate()
    candidate.lead()
    return candidate


def transfer(candidate: Candidate, id: str = "b") -> e.Transfer:
    entry = candidate.desk.entry(KEYS.candidate(id))
    assert entry is not None
    return e.Transfer(entry, NO_BASE, 0.0)


# Losing.


def test_a_leader_watches_its_record_and_requests() -> None:
    assert leader().contest.watching.keys == {KEYS.leader, KEYS.request}


def test_a_record_that_is_gone_or_anothers_is_a_loss_at_once() -> None:
    candidate = leader()
    candidate.desk.elect("b", lease_id="B")
    candidate.see(KEYS.leader)
    assert candidate.only(e.Lost).reason is LossReason.SUPERSEDED
    assert candidate.only(e.Disown).remains.id == "a", "its candidate key is still there"
    assert candidate.is_at(Phase.IDLE)


def test_a_hold_is_a_revocation() -> None:
    candidate = leader()
    candidate.desk.hold(lease_id="A")
    candidate.see(KEYS.leader)
    assert candidate.only(e.Lost).reason is LossReason.REVOKED


def test_news_from_before_the_leadership_does_not_end_it() -> None:
    candidate = leader()
    assert candidate.contest.leader_revision is not None
    assert candidate.feed(e.Seen(KEYS.leader, None, candidate.contest.leader_revision)) == ()
    assert candidate.contest.leads


def test_its_own_record_told_again_does_not_end_it() -> None:
    candidate = leader()
    entry = candidate.desk.entry(KEYS.leader)
    assert candidate.feed(e.Seen(KEYS.leader, entry, candidate.desk.store.revision + 5)) == ()


def test_missed_changes_are_read() -> None:
    candidate = leader()
    candidate.feed(e.Missed())
    candidate.answered()
    assert candidate.is_at(Phase.LEADING)
    candidate.desk.elect("b", lease_id="B")
    candidate.feed(e.Missed())
    candidate.answered()
    assert candidate.only(e.Lost).reason is LossReason.SUPERSEDED


def test_while_missed_changes_cannot_be_read_it_leads_on() -> None:
    candidate = leader()
    candidate.feed(e.Missed())
    assert candidate.feed(e.Unavailable(candidate.contest.number)) == (e.Pause(),)
    assert candidate.contest.leads
    candidate.feed(e.Wake())
    candidate.answered()
    assert candidate.is_at(Phase.LEADING)


def test_a_passed_deadline_ends_it_and_leaves_the_keys_to_be_removed() -> None:
    candidate = leader()
    candidate.feed(e.TrustEnded(LossReason.DEADLINE, lease_gone=False))
    assert candidate.only(e.Lost).reason is LossReason.DEADLINE
    assert candidate.only(e.Disown).remains.led == candidate.contest.led


def test_a_lease_that_is_gone_takes_its_keys_along() -> None:
    candidate = leader()
    actions = candidate.feed(e.TrustEnded(LossReason.EXPIRED, lease_gone=True))
    assert actions == (e.Lost(LossReason.EXPIRED),)


# An operator's request.


def test_a_request_for_this_leadership_is_told() -> None:
    candidate = leader()
    request = RequestRecord(candidate.only(e.Elected).token, "transfer", "b")
    candidate.desk.put(KEYS.request, records.dump_request(request))
    assert candidate.see(KEYS.request) == (e.Asked(request),)
    assert candidate.contest.leads


def test_a_request_for_another_leadership_is_not() -> None:
    candidate = leader()
    request = RequestRecord(candidate.only(e.Elected).token - 1, "resign", None)
    candidate.desk.put(KEYS.request, records.dump_request(request))
    assert candidate.see(KEYS.request) == ()


def test_a_request_that_cannot_be_read_is_none() -> None:
    candidate = leader()
    candidate.desk.put(KEYS.request, b"?")
    assert candidate.see(KEYS.request) == ()


def test_a_request_that_was_missed_is_read() -> None:
    candidate = leader()
    request = RequestRecord(candidate.only(e.Elected).token, "resign", None)
    candidate.desk.put(KEYS.request, records.dump_request(request))
    candidate.feed(e.Missed())
    assert candidate.answered() == (e.Asked(request),)


# Resigning.


def test_a_resignation_deletes_both_keys_at_once() -> None:
    candidate = leader()
    candidate.feed(e.Resign())
    candidate.answered()
    assert candidate.actions == (e.Released(LossReason.RESIGNED, confirmed=True),)
    assert candidate.desk.store.entries == ()


def test_it_does_not_lead_any_more_once_it_resigns() -> None:
    candidate = leader()
    candidate.feed(e.Resign())
    assert not candidate.contest.leads


def test_a_resignation_does_not_touch_anothers_leadership() -> None:
    candidate = leader()
    candidate.feed(e.Resign())
    revision = candidate.desk.elect("b", lease_id="B")
    candidate.answered()
    assert candidate.only(e.Released).confirmed
    assert candidate.only(e.Disown), "whoever replaced the record left the candidate key"
    entry = candidate.desk.entry(KEYS.leader)
    assert entry is not None
    assert entry.revision == revision


@pytest.mark.parametrize("answer", [e.Unknown, e.Unavailable])
def test_a_resignation_without_an_answer_is_looked_after(answer: type[e.Unknown | e.Unavailable]) -> None:
    candidate = leader()
    candidate.feed(e.Resign())
    candidate.feed(answer(candidate.contest.number))
    assert not candidate.only(e.Released).confirmed
    assert candidate.only(e.Disown)


def test_a_resignation_that_is_given_up_leaves_a_doubt() -> None:
    candidate = leader()
    candidate.feed(e.Resign())
    candidate.feed(e.GiveUp())
    assert not candidate.only(e.Released).confirmed
    assert candidate.only(e.Disown).remains.doubt_until is not None


def test_giving_up_while_leading_resigns() -> None:
    candidate = leader()
    candidate.feed(e.GiveUp())
    assert candidate.is_at(Phase.RESIGNING)


def test_who_does_not_lead_cannot_resign() -> None:
    assert Candidate().feed(e.Resign()) == ()


# Transferring.


@pytest.mark.parametrize("kind", [ETCD, CONSUL])
def test_a_transfer_hands_the_record_to_the_targets_lease_and_signals_it(kind: Kind) -> None:
    candidate = Candidate(Desk(kind))
    before = candidate.lead()
    candidate.desk.queue_up("b", lease_id="B")
    candidate.feed(transfer(candidate))
    candidate.answered()
    assert candidate.actions == (e.Released(LossReason.TRANSFERRED, confirmed=True),)
    (entry,) = candidate.desk.store.entries
    assert (entry.key, entry.lease_id) == (KEYS.leader, "B")
    assert queue.token_of(entry) > before


def test_a_transfer_compares_leader_the_targets_key_and_base() -> None:
    candidate = leader()
    target = candidate.desk.queue_up("b", lease_id="B")
    candidate.feed(transfer(candidate))
    assert isinstance(candidate.request, e.Transact)
    assert candidate.contest.leader_revision is not None
    assert set(candidate.request.compares) == {
        At(KEYS.leader, candidate.contest.leader_revision),
        At(KEYS.candidate("b"), target),
        Absent(records.BASE_KEY),
    }


def test_a_transfer_to_one_who_went_resigns_instead() -> None:
    candidate = leader()
    candidate.desk.queue_up("b", lease_id="B")
    event = transfer(candidate)
    candidate.desk.end("B")
    candidate.feed(event)
    candidate.answered()
    assert candidate.is_at(Phase.RESIGNING)
    candidate.answered()
    assert candidate.only(e.Released).reason is LossReason.RESIGNED
    assert candidate.desk.store.entries == ()


def test_a_transfer_to_a_lease_that_is_dead_resigns_instead() -> None:
    candidate = leader()
    candidate.desk.queue_up("b", lease_id="B")
    candidate.feed(transfer(candidate))
    candidate.feed(e.LeaseGone(candidate.contest.number, "B"))
    assert candidate.is_at(Phase.RESIGNING)


def test_a_transfer_without_an_answer_is_repeated_and_found_done() -> None:
    candidate = leader()
    candidate.desk.queue_up("b", lease_id="B")
    candidate.feed(transfer(candidate))
    candidate.ask()
    assert candidate.unanswered() == (e.Pause(),)
    candidate.feed(e.Wake())
    assert candidate.is_at(Phase.TRANSFERRING)
    candidate.answered()
    candidate.answered()
    assert candidate.only(e.Released) == e.Released(LossReason.TRANSFERRED, confirmed=True)
    entry = candidate.desk.entry(KEYS.leader)
    assert entry is not None
    assert entry.lease_id == "B"


def test_a_lease_lost_while_letting_go_ends_it_unconfirmed() -> None:
    candidate = leader()
    candidate.feed(e.Resign())
    candidate.feed(e.TrustEnded(LossReason.REVOKED, lease_gone=True))
    assert not candidate.only(e.Released).confirmed
    assert candidate.is_at(Phase.IDLE)


def test_a_passed_deadline_does_not_stop_letting_go() -> None:
    """Belief has ended already, and the record still stands in the way of the next leader."""
    candidate = leader()
    candidate.feed(e.Resign())
    candidate.now_s += TTL_S
    assert candidate.feed(e.TrustEnded(LossReason.DEADLINE, lease_gone=False)) == ()
    candidate.answered()
    assert candidate.desk.store.entries == ()


def test_whoever_resigns_may_campaign_again() -> None:
    candidate = leader()
    first = candidate.only(e.Elected).token
    candidate.feed(e.Resign())
    candidate.answered()
    assert candidate.lead() > first


def test_a_leader_deleted_by_hand_is_lost_and_its_place_in_the_queue_given_up() -> None:
    candidate = leader()
    candidate.desk.transact((), (Delete(KEYS.leader),))
    candidate.see(KEYS.leader)
    assert candidate.only(e.Lost)
    request = candidate.only(e.Disown).remains.request()
    committed = candidate.desk.transact(*request)
    assert committed is not None
    found, _ = candidate.only(e.Disown).remains.looked(committed.reads, candidate.now)
    assert [key for key, _ in found.found or ()] == [MINE]


def test_the_record_of_a_target_says_what_the_target_is() -> None:
    candidate = leader()
    candidate.desk.queue_up("b", lease_id="B")
    candidate.feed(transfer(candidate))
    candidate.answered()
    entry = candidate.desk.entry(KEYS.leader)
    assert entry is not None
    assert records.load_leader(entry.value) == LeaderRecord.of(record("b"), base=0, wall_s=0.0)
