"""One look at an election: the order of the queue, and whose the leader record is."""

from __future__ import annotations

import pytest

from leasekit.core import queue, records
from leasekit.core.queue import Holder, Look
from leasekit.core.records import HoldRecord
from leasekit.errors import ProtocolError
from leasekit.store import Absent, At, Entry
from support.contests import KEYS, Desk, record


def look(desk: Desk) -> Look:
    committed = desk.transact((), queue.look_ops(KEYS))
    assert committed is not None
    return queue.read_look(committed.reads, committed.revision)


def holder(desk: Desk, *, lease_id: str = "A", id: str = "a") -> Holder:
    return queue.holder_of(desk.entry(KEYS.leader), lease_id=lease_id, id=id)


def test_first_come_first_served() -> None:
    desk = Desk()
    for id in ("z", "m", "b"):
        desk.queue_up(id, lease_id=id)
    assert [entry.key for entry in look(desk).queue] == [KEYS.candidate(id) for id in ("z", "m", "b")]


def test_higher_priority_stands_before_earlier_arrival() -> None:
    desk = Desk()
    for id, priority in (("z", 0), ("m", 5), ("b", -1), ("c", 5)):
        desk.queue_up(id, lease_id=id, priority=priority)
    assert [entry.key for entry in look(desk).queue] == [KEYS.candidate(id) for id in ("m", "c", "z", "b")]


def test_everybody_has_the_one_before_as_predecessor() -> None:
    desk = Desk()
    desk.queue_up("a", lease_id="A")
    desk.queue_up("b", lease_id="B")
    seen = look(desk)
    assert seen.predecessor(KEYS.candidate("a")) is None
    assert seen.predecessor(KEYS.candidate("b")) == desk.entry(KEYS.candidate("a"))
    assert seen.candidate(KEYS.candidate("c")) is None


def test_a_candidate_record_that_cannot_be_read_queues_at_priority_zero() -> None:
    desk = Desk()
    desk.queue_up("low", lease_id="A", priority=-1)
    desk.put(KEYS.candidate("garbled"), b"?", "B")
    assert look(desk).queue[0].key == KEYS.candidate("garbled")


def test_base_is_zero_until_it_is_written() -> None:
    desk = Desk()
    assert look(desk).base.value == 0
    assert look(desk).base.unchanged == Absent(records.BASE_KEY)
    revision = desk.put(records.BASE_KEY, records.dump_base(70))
    assert look(desk).base.value == 70
    assert look(desk).base.unchanged == At(records.BASE_KEY, revision)


def test_mine_is_judged_by_the_lease_and_among_those_that_share_it_by_the_id() -> None:
    desk = Desk()
    assert holder(desk) is Holder.NOBODY
    desk.elect("a", lease_id="A")
    assert holder(desk) is Holder.ME
    assert holder(desk, lease_id="B") is Holder.ANOTHER
    assert holder(desk, id="b") is Holder.ANOTHER


def test_a_hold_is_nobodys_leadership() -> None:
    desk = Desk()
    desk.hold(lease_id="A")
    assert holder(desk) is Holder.HOLD
    entry = desk.entry(KEYS.leader)
    assert entry is not None
    with pytest.raises(ProtocolError):
        queue.token_of(entry)


def test_a_leader_record_that_cannot_be_read_is_anothers() -> None:
    desk = Desk()
    desk.put(KEYS.leader, b"?", "A")
    assert holder(desk) is Holder.ANOTHER


def test_the_token_is_base_plus_modification_revision() -> None:
    value = records.dump_leader(records.LeaderRecord.of(record("a"), base=1000, wall_s=0.0))
    assert queue.token_of(Entry(KEYS.leader, value, create_revision=5, revision=9, lease_id="A")) == 1009


def test_a_hold_can_be_told_from_a_leader_by_its_record_alone() -> None:
    assert isinstance(records.load_leader(records.dump_hold(HoldRecord("A", 1.0))), HoldRecord)
