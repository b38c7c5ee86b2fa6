"""Exactly once: what a session keeps, what it forgets, and when it ends (thesis section 6.3)."""

from __future__ import annotations

from leasekit.backends.raft.kv.commands import Command, Grant, OpenSession, Proposal, Transact, encode
from leasekit.backends.raft.kv.limits import ANSWERS_KEPT_MAX, OVERHEAD_BYTES
from leasekit.backends.raft.kv.machine import Applied, StateMachine
from leasekit.backends.raft.kv.outcomes import (
    Forgotten,
    Full,
    Granted,
    SessionOpened,
    SessionUnknown,
    TooManyOutstanding,
    Transacted,
)
from leasekit.store import Absent, Committed, Get, Put

CLAIM = Transact((Absent("leader"),), (Put("leader", b"me"),))


def apply(machine: StateMachine, session: int, sequence: int, acknowledged: int, command: Command) -> Applied:
    return machine.apply(machine.applied + 1, encode(Proposal(session, sequence, acknowledged, command)))


def open_session(machine: StateMachine, nonce: bytes) -> int:
    outcome = apply(machine, 0, 0, 0, OpenSession(nonce)).outcome
    assert isinstance(outcome, SessionOpened)
    return outcome.session


def test_a_repeated_command_is_answered_alike_and_applied_once() -> None:
    machine = StateMachine()
    session = open_session(machine, b"n")
    won = apply(machine, session, 1, 0, CLAIM)
    assert won.outcome == Transacted(Committed(2))
    # Without a session this would be told that it lost the race, against itself.
    assert apply(machine, session, 1, 0, CLAIM) == Applied(Transacted(Committed(2)))
    assert apply(machine, session, 2, 0, Grant(5000)).outcome == Granted("4", 5000)
    assert apply(machine, session, 2, 0, Grant(5000)) == Applied(Granted("4", 5000))
    assert list(machine.leases) == ["4"]


def test_sequences_may_come_in_any_order() -> None:
    machine = StateMachine()
    session = open_session(machine, b"n")
    assert apply(machine, session, 9, 0, Grant(5000)).outcome == Granted("2", 5000)
    assert apply(machine, session, 3, 0, Grant(5000)).outcome == Granted("3", 5000)
    assert apply(machine, session, 9, 0, Grant(5000)).outcome == Granted("2", 5000)


def test_what_is_acknowledged_is_forgotten_and_never_applied_again() -> None:
    machine = StateMachine()
    session = open_session(machine, b"n")
    apply(machine, session, 1, 0, CLAIM)
    apply(machine, session, 3, 2, Grant(5000))
    assert apply(machine, session, 1, 0, CLAIM) == Applied(Forgotten())
    # Also one that never came before: it was given up by its client.
    assert apply(machine, session, 2, 0, Grant(5000)) == Applied(Forgotten())
    assert list(machine.leases) == ["3"]


def test_an_older_acknowledgement_that_comes_late_takes_nothing_back() -> None:
    machine = StateMachine()
    session = open_session(machine, b"n")
    apply(machine, session, 10, 9, Grant(5000))
    apply(machine, session, 11, 4, Grant(5000))
    assert apply(machine, session, 7, 4, Grant(5000)).outcome == Forgotten()


def test_acknowledging_a_long_way_ahead_costs_no_time() -> None:
    machine = StateMachine()
    session = open_session(machine, b"n")
    apply(machine, session, 1, 0, CLAIM)
    assert apply(machine, session, 2**62, 2**62 - 1, Grant(5000)).outcome == Granted("3", 5000)
    assert apply(machine, session, 1, 0, CLAIM).outcome == Forgotten()


def test_a_session_with_too_much_outstanding_is_refused_until_it_acknowledges() -> None:
    machine = StateMachine()
    session = open_session(machine, b"n")
    for sequence in range(1, ANSWERS_KEPT_MAX + 1):
        apply(machine, session, sequence, 0, Transact((), ()))
    refused = ANSWERS_KEPT_MAX + 1
    assert apply(machine, session, refused, 0, CLAIM) == Applied(TooManyOutstanding())
    assert machine.get("leader") is None
    # Repeats of what is kept are still answered.
    assert apply(machine, session, 1, 0, Transact((), ())).outcome == Transacted(Committed(2))
    assert isinstance(apply(machine, session, refused, 1, CLAIM).outcome, Transacted)
    assert machine.get("leader") is not None


def test_a_refusal_for_want_of_room_is_kept_like_any_other_outcome() -> None:
    machine = StateMachine(capacity_bytes=OVERHEAD_BYTES + 10)
    session = open_session(machine, b"n")
    apply(machine, session, 1, 0, CLAIM)
    assert apply(machine, session, 2, 1, Grant(5000)).outcome == Full()
    apply(machine, session, 3, 1, Transact((), (Put("leader", b""),)))
    assert apply(machine, session, 2, 1, Grant(5000)).outcome == Full()
    assert not machine.leases


def test_an_unknown_session_applies_nothing() -> None:
    machine = StateMachine()
    session = open_session(machine, b"n")
    assert apply(machine, session + 1, 1, 0, CLAIM) == Applied(SessionUnknown())
    assert machine.get("leader") is None


def test_opening_again_with_the_same_nonce_gives_the_same_session() -> None:
    machine = StateMachine()
    session = open_session(machine, b"n")
    apply(machine, session, 1, 0, CLAIM)
    assert open_session(machine, b"other") != session
    assert open_session(machine, b"n") == session
    assert apply(machine, session, 1, 0, CLAIM).outcome == Transacted(Committed(2))


def test_one_session_too_many_ends_the_one_that_was_longest_not_used() -> None:
    machine = StateMachine(sessions_max=3)
    first, second, third = (open_session(machine, nonce) for nonce in (b"1", b"2", b"3"))
    apply(machine, first, 1, 0, CLAIM)
    # A repeat is use as well, and so is opening once more.
    apply(machine, second, 1, 0, Grant(5000))
    open_session(machine, b"3")
    apply(machine, first, 1, 0, CLAIM)
    fourth = open_session(machine, b"4")
    assert apply(machine, second, 1, 0, Grant(5000)).outcome == SessionUnknown()
    for session in (first, third, fourth):
        assert apply(machine, session, 5, 4, Transact((), ())).outcome != SessionUnknown()
    assert open_session(machine, b"2") not in (first, second, third, fourth)


def test_what_kept_answers_have_read_counts_until_it_is_forgotten() -> None:
    machine = StateMachine(sessions_max=1)
    session = open_session(machine, b"n")
    apply(machine, session, 1, 0, Transact((), (Put("key", b"x" * 97),)))
    alone = machine.size_bytes
    apply(machine, session, 2, 1, Transact((), (Get("key"), Get("", True))))
    assert machine.size_bytes == alone + 200
    apply(machine, session, 3, 1, Transact((), (Get("key"),)))
    assert machine.size_bytes == alone + 300
    apply(machine, session, 4, 2, Transact((), ()))
    assert machine.size_bytes == alone + 100
    open_session(machine, b"another")
    assert machine.size_bytes == alone


def test_answers_that_are_not_acknowledged_may_not_fill_the_store_beyond_its_capacity() -> None:
    machine = StateMachine(capacity_bytes=OVERHEAD_BYTES + 200)
    session = open_session(machine, b"n")
    apply(machine, session, 1, 0, Transact((), (Put("key", b"x" * 97),)))
    assert isinstance(apply(machine, session, 2, 1, Transact((), (Get("key"),))).outcome, Transacted)
    assert apply(machine, session, 3, 1, Transact((), (Get("key"),))).outcome == Full()
    assert isinstance(apply(machine, session, 4, 3, Transact((), (Get("key"),))).outcome, Transacted)
