"""Transactions and leases, one rule at a time. The sweep over all of them together is in tests/property."""

from __future__ import annotations

import pytest

from leasekit.backends.raft.kv.commands import Command, Expire, Grant, OpenSession, Proposal, Renew, Revoke, Transact
from leasekit.backends.raft.kv.commands import encode as encoded
from leasekit.backends.raft.kv.leases import LeaseState
from leasekit.backends.raft.kv.limits import ANSWER_MAX_BYTES, OVERHEAD_BYTES
from leasekit.backends.raft.kv.machine import Applied, CannotApply, StateMachine
from leasekit.backends.raft.kv.outcomes import (
    Expired,
    Full,
    Granted,
    LeaseUnknown,
    Renewed,
    Revoked,
    TooLarge,
    Transacted,
)
from leasekit.store import Absent, At, Changed, Committed, Compare, Delete, Entry, Get, NoneUnder, Op, Put


class Log:
    """Applies commands of one session, opened by the first entry; each is acknowledged by the next."""

    def __init__(self, machine: StateMachine) -> None:
        self.machine = machine
        machine.apply(1, encoded(Proposal(0, 0, 0, OpenSession(b"n"))))

    def apply(self, command: Command) -> Applied:
        index = self.machine.applied + 1
        if isinstance(command, Expire):
            return self.machine.apply(index, encoded(Proposal(0, 0, 0, command)))
        return self.machine.apply(index, encoded(Proposal(1, index, index - 1, command)))

    def do(self, *ops: Op, given: tuple[Compare, ...] = ()) -> Applied:
        return self.apply(Transact(given, ops))


@pytest.fixture
def machine() -> StateMachine:
    return StateMachine()


@pytest.fixture
def log(machine: StateMachine) -> Log:
    return Log(machine)


def test_the_revision_of_a_key_is_the_index_of_its_last_put(machine: StateMachine, log: Log) -> None:
    assert log.do(Put("a", b"1")).outcome == Transacted(Committed(2))
    machine.apply(3, b"")
    log.do(Put("a", b"2"))
    assert machine.get("a") == Entry("a", b"2", 2, 4, None)


def test_a_key_that_was_deleted_is_created_anew(machine: StateMachine, log: Log) -> None:
    log.do(Put("a", b"1"))
    log.do(Delete("a"))
    assert machine.get("a") is None
    log.do(Put("a", b"2"))
    assert machine.get("a") == Entry("a", b"2", 4, 4, None)


def test_a_read_sees_the_writes_before_it_and_not_those_after(log: Log) -> None:
    log.do(Put("a/1", b"old"), Put("a/2", b"old"))
    applied = log.do(Put("a/0", b"new"), Delete("a/1"), Get("a/1"), Get("a/", True), Put("a/2", b"new"), Get("a/2"))
    new, old = Entry("a/0", b"new", 3, 3, None), Entry("a/2", b"old", 2, 2, None)
    assert applied.outcome == Transacted(Committed(3, ((), (new, old), (Entry("a/2", b"new", 2, 3, None),))))


def test_a_failed_compare_changes_nothing(machine: StateMachine, log: Log) -> None:
    log.do(Put("a/1", b"1"))
    failing: list[Compare] = [Absent("a/1"), At("a/1", 1), At("b", 2), NoneUnder("a/"), NoneUnder("")]
    for compare in failing:
        assert log.do(Put("b", b""), Delete("a/1"), given=(NoneUnder("c"), compare)) == Applied(Transacted(None))
    assert [entry.key for entry in machine.scan("")] == ["a/1"]


def test_compares_that_hold_let_it_through(machine: StateMachine, log: Log) -> None:
    log.do(Put("a/1", b"1"))
    log.do(Put("b", b""), given=(Absent("b"), At("a/1", 2), NoneUnder("a/2"), NoneUnder("b")))
    assert machine.get("b") is not None


def test_changes_are_told_in_the_order_of_the_writes(log: Log) -> None:
    log.do(Put("b", b""))
    applied = log.do(Put("c", b"1"), Delete("b"), Delete("none"), Put("a", b"2"))
    assert applied.changes == (
        Changed("c", Entry("c", b"1", 3, 3, None), 3),
        Changed("b", None, 3),
        Changed("a", Entry("a", b"2", 3, 3, None), 3),
    )


def test_a_scan_is_in_key_order_and_knows_where_a_prefix_ends(machine: StateMachine, log: Log) -> None:
    keys = ["b", "a/\U0001f600", "a0", "a/2", "a", "a/\uffff", "a/10", "a."]
    for key in keys:
        log.do(Put(key, b""))
    assert [entry.key for entry in machine.scan("a/")] == ["a/10", "a/2", "a/\uffff", "a/\U0001f600"]
    assert [entry.key for entry in machine.scan("")] == sorted(keys, key=str.encode)
    assert machine.scan("c") == ()


def test_a_read_is_as_of_what_is_applied_and_never_writes(machine: StateMachine, log: Log) -> None:
    log.do(Put("a", b"1"))
    machine.apply(3, b"")
    entry = Entry("a", b"1", 2, 2, None)
    assert machine.read((At("a", 2),), (Get("a"), Get("b"))) == Committed(3, ((entry,), ()))
    assert machine.read((Absent("a"),), (Get("a"),)) is None
    with pytest.raises(ValueError, match="does not write"):
        machine.read((), (Get("a"), Delete("a")))


def test_a_lease_is_named_by_its_grant_and_renewed_by_index(machine: StateMachine, log: Log) -> None:
    granted = LeaseState("2", 5000, 2)
    assert log.apply(Grant(5000)) == Applied(Granted("2", 5000), granted=(granted,))
    renewed = LeaseState("2", 5000, 3)
    assert log.apply(Renew("2")) == Applied(Renewed(5000), granted=(renewed,))
    assert machine.leases == {"2": renewed}


def test_a_lease_takes_its_keys_along_in_key_order(machine: StateMachine, log: Log) -> None:
    log.apply(Grant(5000))
    log.do(Put("b", b"", "2"), Put("a", b"", "2"), Put("c", b""))
    gone = (Changed("a", None, 4), Changed("b", None, 4))
    assert log.apply(Revoke("2")) == Applied(Revoked(), gone, ended=("2",))
    assert [entry.key for entry in machine.scan("")] == ["c"]
    assert log.apply(Revoke("2")) == Applied(Revoked())
    assert log.apply(Renew("2")).outcome == LeaseUnknown("2")


def test_a_lease_with_very_many_keys_takes_them_all(machine: StateMachine, log: Log) -> None:
    log.apply(Grant(5000))
    for number in range(300):
        log.do(Put(f"{number:03}", b"", "2" if number % 3 else None))
    assert len(log.apply(Revoke("2")).changes) == 200
    assert [entry.key for entry in machine.scan("")] == [f"{number:03}" for number in range(0, 300, 3)]


def test_an_end_that_a_renewal_overtook_is_void(machine: StateMachine, log: Log) -> None:
    log.apply(Grant(5000))
    log.do(Put("a", b"", "2"))
    log.apply(Renew("2"))
    assert log.apply(Expire("2", 2)) == Applied(Expired(False))
    assert machine.get("a") is not None
    assert log.apply(Expire("2", 4)) == Applied(Expired(True), (Changed("a", None, 6),), ended=("2",))
    assert log.apply(Expire("2", 4)) == Applied(Expired(False))


def test_a_put_on_an_unknown_lease_applies_nothing(machine: StateMachine, log: Log) -> None:
    for lease_id in ("3", "02", "", "nonsense"):
        assert log.do(Put("a", b""), Put("b", b"", lease_id)) == Applied(LeaseUnknown(lease_id))
    assert machine.scan("") == ()


def test_a_put_moves_the_key_from_its_former_lease(machine: StateMachine, log: Log) -> None:
    log.apply(Grant(5000))
    log.apply(Grant(5000))
    log.do(Put("moved", b"", "2"), Put("freed", b"", "2"), Put("kept", b"", "2"))
    log.do(Put("moved", b"", "3"), Put("freed", b""))
    log.apply(Revoke("2"))
    assert [entry.key for entry in machine.scan("")] == ["freed", "moved"]
    log.apply(Revoke("3"))
    assert [entry.key for entry in machine.scan("")] == ["freed"]


def test_a_key_that_was_deleted_and_put_free_does_not_end_with_its_first_lease(machine: StateMachine, log: Log) -> None:
    log.apply(Grant(5000))
    log.do(Put("a", b"", "2"))
    log.do(Delete("a"))
    log.do(Put("a", b""))
    assert log.apply(Revoke("2")).changes == ()
    assert machine.get("a") is not None


def test_a_full_store_refuses_growth_and_lets_all_else_go_on() -> None:
    machine = StateMachine(capacity_bytes=3 * OVERHEAD_BYTES + 10)
    log = Log(machine)
    log.apply(Grant(5000))
    log.do(Put("a", b"1234", "2"))
    log.do(Put("b", b"1234"))
    assert machine.size_bytes == 3 * OVERHEAD_BYTES + 10
    assert log.do(Put("a", b"12345", "2")) == Applied(Full())
    assert log.do(Put("c", b"")) == Applied(Full())
    assert log.apply(Grant(5000)) == Applied(Full())
    assert log.do(Put("a", b"4321", "2")).outcome == Transacted(Committed(8))
    assert log.do(Delete("b"), Put("c", b"12")).outcome == Transacted(Committed(9))
    assert log.apply(Renew("2")).outcome == Renewed(5000)
    assert log.apply(Revoke("2")).outcome == Revoked()
    assert machine.size_bytes == OVERHEAD_BYTES + 3
    assert log.do(Put("a", b"1" * OVERHEAD_BYTES)).outcome == Transacted(Committed(12))


def test_a_store_over_its_capacity_takes_what_makes_it_smaller() -> None:
    log = Log(StateMachine())
    log.do(Put("a", b"1" * 100))
    smaller = StateMachine(capacity_bytes=10)
    smaller.restore(log.machine.freeze().encode(), 2)
    log.machine = smaller
    assert log.do(Put("a", b"1" * 101)).outcome == Full()
    assert log.do(Put("a", b"1" * 99)).outcome == Transacted(Committed(4))


def test_a_refused_transaction_leaves_no_trace() -> None:
    machine = StateMachine(capacity_bytes=2 * OVERHEAD_BYTES + 2)
    log = Log(machine)
    log.do(Put("a", b""))
    before = machine.scan("")
    assert log.do(Put("b", b""), Delete("c"), Put("d", b"")) == Applied(Full())
    assert machine.scan("") == before
    assert machine.changes_since("", True, 2) == ()


def test_a_transaction_that_reads_too_much_is_refused_where_a_plain_read_is_not(
    machine: StateMachine, log: Log
) -> None:
    count = ANSWER_MAX_BYTES // 1_000_000 + 1
    for number in range(count):
        log.do(Put(f"a/{number}", b"x" * 1_000_000))
    assert log.do(Put("b", b""), Get("a/", True)) == Applied(TooLarge())
    assert machine.get("b") is None
    read = machine.read((), (Get("a/", True),))
    assert read is not None and len(read.reads[0]) == count


@pytest.mark.parametrize("data", [b"\x02\x90", b"\x01", b"nonsense"])
def test_what_cannot_be_applied_stops_the_member_and_changes_nothing(machine: StateMachine, data: bytes) -> None:
    with pytest.raises(CannotApply):
        machine.apply(1, data)
    assert machine.applied == 0


@pytest.mark.parametrize("index", [0, 1, 3])
def test_an_entry_out_of_order_is_never_applied(machine: StateMachine, index: int) -> None:
    machine.apply(1, b"")
    with pytest.raises(CannotApply, match="does not follow"):
        machine.apply(index, b"")
    assert machine.applied == 1
