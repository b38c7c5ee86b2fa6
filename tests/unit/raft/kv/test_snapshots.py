"""Snapshots: the same state gives the same bytes, and a member that was restored goes on as the others do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from leasekit.backends.raft.kv.commands import Command, Grant, OpenSession, Proposal, Transact, encode
from leasekit.backends.raft.kv.leases import LeaseState
from leasekit.backends.raft.kv.machine import StateMachine
from leasekit.backends.raft.kv.sessions import Session
from leasekit.backends.raft.kv.snapshot import Frozen, MalformedSnapshot
from leasekit.store import Entry, Get, Put
from support.binaries import REPOSITORY
from support.kv_workload import digest, workload


def apply_all(machine: StateMachine, log: list[bytes]) -> list[object]:
    return [machine.apply(machine.applied + 1, data) for data in log]


def small_machine() -> StateMachine:
    machine = StateMachine()
    commands: list[Command] = [Grant(5000), Transact((), (Put("a", b"1", "2"), Put("b", b"2"), Get("a")))]
    machine.apply(1, encode(Proposal(0, 0, 0, OpenSession(b"n"))))
    for index, command in enumerate(commands, 2):
        machine.apply(index, encode(Proposal(1, index, 0, command)))
    return machine


@pytest.mark.parametrize("at", [0, 1, 20, 700, 1500, 2999])
def test_a_restored_member_goes_on_as_the_others_do(at: int) -> None:
    log = workload(1)
    machine, restored = StateMachine(sessions_max=15), StateMachine(sessions_max=15)
    apply_all(machine, log[:at])
    restored.restore(machine.freeze().encode(), at)
    assert restored.freeze().encode() == machine.freeze().encode()
    assert apply_all(restored, log[at:]) == apply_all(machine, log[at:])
    assert restored.freeze().encode() == machine.freeze().encode()
    assert restored.leases == machine.leases
    assert restored.size_bytes == machine.size_bytes


def test_what_happens_after_freezing_is_not_in_the_snapshot() -> None:
    log = workload(2)
    machine = StateMachine(sessions_max=15)
    apply_all(machine, log[:1000])
    at_once = machine.freeze().encode()
    frozen = machine.freeze()
    apply_all(machine, log[1000:])
    assert frozen.encode() == at_once


def test_every_interpreter_makes_the_same_of_the_same_log() -> None:
    # Sets and dicts of strings are where an order may come from the interpreter's own seed.
    digests = {
        subprocess.run(
            [sys.executable, "-m", "support.kv_workload", "7"],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY / "tests")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    }
    assert digests == {digest(workload(7))}


def test_a_member_of_another_state_becomes_the_snapshot() -> None:
    machine, other = small_machine(), StateMachine(sessions_max=15)
    apply_all(other, workload(3)[:500])
    other.restore(machine.freeze().encode(), machine.applied)
    assert other.freeze().encode() == machine.freeze().encode()


def test_nothing_at_all_is_the_state_before_all_entries() -> None:
    machine = small_machine()
    machine.restore(b"", 0)
    assert machine.freeze().encode() == StateMachine().freeze().encode()
    assert machine.apply(1, b"").outcome is None


def test_every_cut_of_a_snapshot_is_refused_and_leaves_the_member_as_it_was() -> None:
    encoded = small_machine().freeze().encode()
    other = StateMachine()
    before = other.freeze().encode()
    for wrong in [encoded[:length] for length in range(len(encoded))] + [encoded + b"\x00", b"\x02" + encoded[1:]]:
        with pytest.raises(MalformedSnapshot):
            other.restore(wrong, 3)
        assert other.freeze().encode() == before and other.applied == 0


@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_snapshot_of_another_index_is_refused(index: int) -> None:
    with pytest.raises(MalformedSnapshot, match="as of 3"):
        StateMachine().restore(small_machine().freeze().encode(), index)


FREE, BOUND = Entry("a", b"", 1, 1, None), Entry("a", b"", 1, 1, "2")


@pytest.mark.parametrize(
    "frozen",
    [
        Frozen(3, ["b", "a"], {"b": Entry("b", b"", 1, 1, None), "a": FREE}, [], []),
        Frozen(3, ["a", "a"], {"a": FREE}, [], []),
        Frozen(3, ["a"], {"a": BOUND}, [LeaseState("1", 5000, 1)], []),
        Frozen(3, [], {}, [], [(1, Session(b"n")), (1, Session(b"m"))]),
        Frozen(3, [], {}, [], [(1, Session(b"n")), (2, Session(b"n"))]),
    ],
    ids=["order", "twice", "lease", "session", "nonce"],
)
def test_a_snapshot_that_contradicts_itself_is_refused(frozen: Frozen) -> None:
    with pytest.raises(MalformedSnapshot):
        StateMachine().restore(frozen.encode(), 3)
