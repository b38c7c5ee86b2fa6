"""Changes for watches: all of them, in order, or None when some may be missing."""

from __future__ import annotations

from leasekit.backends.raft.kv.commands import Grant, OpenSession, Proposal, Revoke, Transact, encode
from leasekit.backends.raft.kv.history import History
from leasekit.backends.raft.kv.limits import OVERHEAD_BYTES
from leasekit.backends.raft.kv.machine import StateMachine
from leasekit.store import Changed, Entry, Put


def machine_with(*keys: str, history_max: int = 10_000) -> StateMachine:
    """One put for each key, at the indices from 2 on."""
    machine = StateMachine(history_max=history_max)
    machine.apply(1, encode(Proposal(0, 0, 0, OpenSession(b"n"))))
    for index, key in enumerate(keys, 2):
        machine.apply(index, encode(Proposal(1, index, 0, Transact((), (Put(key, b""),)))))
    return machine


def told(changes: tuple[Changed, ...] | None) -> list[tuple[str, int]] | None:
    return None if changes is None else [(change.key, change.revision) for change in changes]


def test_a_watch_is_told_what_came_after_its_revision() -> None:
    machine = machine_with("a", "a/1", "b", "a")
    assert told(machine.changes_since("a", False, 0)) == [("a", 2), ("a", 5)]
    assert told(machine.changes_since("a", True, 2)) == [("a/1", 3), ("a", 5)]
    assert told(machine.changes_since("a", True, 5)) == []


def test_a_revision_from_the_future_is_of_other_data() -> None:
    machine = machine_with("a")
    assert machine.changes_since("a", False, 2) == ()
    assert machine.changes_since("a", False, 3) is None
    machine.apply(3, b"")
    assert machine.changes_since("a", False, 3) == ()


def test_beyond_so_many_revisions_the_oldest_are_forgotten() -> None:
    machine = machine_with("a", "b", "c", history_max=2)
    assert machine.compacted == 2
    assert machine.changes_since("a", False, 1) is None
    assert told(machine.changes_since("", True, 2)) == [("b", 3), ("c", 4)]


def test_what_changes_no_key_takes_no_room_in_the_history() -> None:
    machine = machine_with("a", history_max=1)
    for index in range(3, 20):
        machine.apply(index, encode(Proposal(1, index, 0, Grant(5000) if index % 2 else Revoke("unknown"))))
    assert machine.compacted == 0
    assert told(machine.changes_since("", True, 0)) == [("a", 2)]


def test_beyond_so_many_bytes_the_oldest_are_forgotten() -> None:
    size_bytes = OVERHEAD_BYTES + 1 + 9
    history = History(size_max_bytes=2 * size_bytes)
    for revision in (3, 5, 8):
        history.record(revision, (Changed("k", Entry("k", b"x" * 9, 3, revision, None), revision),))
    assert history.compacted == 3
    assert told(history.since("k", False, 3)) == [("k", 5), ("k", 8)]
    history.record(9, (Changed("k", Entry("k", b"x" * 1000, 3, 9, None), 9),))
    assert history.compacted == 9
    assert told(history.since("k", False, 9)) == []
    assert history.since("k", False, 8) is None


def test_a_restored_member_knows_no_changes_before_its_snapshot() -> None:
    machine = machine_with("a", "b")
    other = machine_with("z", "z", "z", "z")
    other.restore(machine.freeze().encode(), 3)
    assert other.compacted == 3
    assert other.changes_since("", True, 2) is None
    assert other.changes_since("", True, 3) == ()
