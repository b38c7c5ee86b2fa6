"""How many wait behind the leader, read from requests that are made anyway."""

from __future__ import annotations

import pytest

from leasekit.core import events as e
from leasekit.core import queue
from leasekit.core.contest import Phase
from leasekit.store import Absent, Compare, Get, NoneUnder, Op, Put
from support.contests import KEYS, Candidate, Desk

LOOK = queue.look_ops(KEYS)


def waiting(desk: Desk, compares: tuple[Compare, ...], ops: tuple[Op, ...]) -> int | None:
    """What the candidate `me` learns from this transaction."""
    committed = desk.transact(compares, ops)
    assert committed is not None
    return queue.waiting(KEYS, "me", compares, ops, committed.reads)


def queued(*ids: str) -> Desk:
    desk = Desk()
    for id in ids:
        desk.queue_up(id, lease_id=id)
    return desk


def test_nobody_waits_where_nobody_queues() -> None:
    assert waiting(queued(), (), LOOK) == 0


def test_all_who_queue_wait_while_nobody_leads() -> None:
    assert waiting(queued("a", "b", "c"), (), LOOK) == 3


def test_the_leader_does_not_wait_behind_itself() -> None:
    desk = queued("a", "b", "c")
    desk.elect("a", lease_id="a")
    assert waiting(desk, (), LOOK) == 2


def test_a_leader_that_got_it_by_a_transfer_has_no_place_in_the_queue() -> None:
    desk = queued("b", "c")
    desk.elect("a", lease_id="a")
    assert waiting(desk, (), LOOK) == 2


def test_while_a_hold_stands_all_wait() -> None:
    desk = queued("b", "c")
    desk.hold(lease_id="a")
    assert waiting(desk, (), LOOK) == 2


def test_a_leader_record_that_cannot_be_read_leaves_its_candidate_counted() -> None:
    desk = queued("a", "b")
    desk.put(KEYS.leader, b"?", "a")
    assert waiting(desk, (), LOOK) == 2


def test_who_enqueues_counts_itself() -> None:
    desk = queued("a")
    desk.elect("a", lease_id="a")
    put = Put(KEYS.candidate("me"), b"{}", "a")
    assert waiting(desk, (Absent(put.key),), (put, *LOOK)) == 1


def test_who_claims_and_looks_along_does_not_count_itself() -> None:
    desk = queued("me", "b", "c")
    claim = (Put(KEYS.leader, b"{}", "me"), Get(KEYS.queue, prefix=True))
    assert waiting(desk, (Absent(KEYS.leader),), claim) == 2


def test_a_claim_that_compares_an_empty_queue_says_that_nobody_waits() -> None:
    put = Put(KEYS.leader, b"{}", "me")
    desk = Desk()
    desk.grant("me")
    assert waiting(desk, (NoneUnder(KEYS.queue),), (put,)) == 0


@pytest.mark.parametrize("ops", [(), (Get(KEYS.leader),)])
def test_a_request_that_does_not_read_the_queue_says_nothing(ops: tuple[Op, ...]) -> None:
    assert waiting(queued("a"), (), ops) is None


def test_what_the_state_machine_asks_for_shows_the_queue() -> None:
    """Its own requests, from the first to the last before it waits."""
    desk = queued("x", "y")
    desk.elect("x", lease_id="x")
    candidate = Candidate(desk, id="me", lease_id="M")
    seen: list[int | None] = []
    candidate.feed(e.Campaign())
    while not candidate.is_at(Phase.WAITING):
        request = candidate.request
        assert isinstance(request, e.Transact)
        answer = candidate.ask()
        if isinstance(answer, e.Applied):
            seen.append(queue.waiting(KEYS, "me", request.compares, request.ops, answer.committed.reads))
        candidate.feed(answer)
    assert seen == [2]
