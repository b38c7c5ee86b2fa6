"""What a leader knows of another member, and what it may send to it."""

from __future__ import annotations

import pytest

from leasekit.backends.raft.core.progress import Progress, State
from leasekit.backends.raft.core.types import Snapshot, SnapshotMeta


def _replicating(match: int = 5, max_inflight: int = 3) -> Progress:
    peer = Progress(match + 1, max_inflight)
    peer.matched(match)
    assert peer.state is State.REPLICATE
    return peer


def _sending_snapshot(index: int = 10, size: int = 100) -> Progress:
    peer = Progress(6, 3)
    peer.begin_snapshot(Snapshot(SnapshotMeta(index, 1), b"x" * size))
    peer.sent_piece()
    return peer


def test_a_probe_is_sent_once_until_it_is_answered() -> None:
    peer = Progress(6, 3)
    assert peer.may_send
    peer.sent(7)
    assert not peer.may_send
    assert peer.next == 6
    peer.matched(7)
    assert (peer.state, peer.match, peer.next, peer.may_send) == (State.REPLICATE, 7, 8, True)


def test_a_refused_probe_goes_back_and_never_behind_what_is_known_to_be_there() -> None:
    peer = Progress(10, 3)
    peer.matched(4)
    peer.probe(10)
    peer.sent(12)
    assert peer.rejected(9, 7)
    assert (peer.next, peer.may_send) == (8, True)
    assert peer.rejected(7, 0)
    assert peer.next == 5


def test_each_refusal_makes_a_probe_go_back_by_one_at_least() -> None:
    peer = Progress(10, 3)
    peer.rejected(9, 9)
    assert peer.next == 9


@pytest.mark.parametrize("previous", [3, 8, 10])
def test_an_old_refusal_of_a_probe_is_ignored(previous: int) -> None:
    peer = Progress(10, 3)
    peer.sent(12)
    assert not peer.rejected(previous, 1)
    assert (peer.next, peer.may_send) == (10, False)


def test_entries_go_out_without_waiting_up_to_the_window() -> None:
    peer = _replicating()
    for last in (6, 7, 8):
        assert peer.may_send
        peer.sent(last)
    assert (peer.next, peer.may_send) == (9, False)
    peer.matched(7)
    assert peer.may_send


def test_an_empty_request_takes_no_place_in_the_window() -> None:
    peer = _replicating()
    for _ in range(10):
        peer.sent(5)
    assert peer.may_send
    assert peer.next == 6


def test_a_refusal_while_replicating_goes_back_to_what_is_there() -> None:
    peer = _replicating()
    peer.sent(9)
    assert peer.rejected(9, 2)
    assert (peer.state, peer.next) == (State.PROBE, 6)


@pytest.mark.parametrize("state", [State.REPLICATE, State.PROBE])
def test_a_refusal_of_what_was_acknowledged_sends_nothing_at_once(state: State) -> None:
    """From a member that came back without its disk it would come again and again, as fast as the network goes."""
    peer = _replicating()
    if state is State.PROBE:
        peer.probe(6)
        peer.sent(9)
    assert not peer.rejected(5, 0)
    assert peer.state is state
    assert state is State.REPLICATE or not peer.may_send


def test_what_was_acknowledged_is_never_forgotten() -> None:
    peer = _replicating(match=5)
    assert not peer.matched(3)
    assert (peer.match, peer.next) == (5, 6)


# Losses.


@pytest.mark.parametrize("lost", ["probe", "piece"])
def test_what_was_lost_is_sent_again_after_the_answer_to_a_later_heartbeat(lost: str) -> None:
    peer = Progress(6, 3) if lost == "probe" else _sending_snapshot()
    if lost == "probe":
        peer.sent(7)
    peer.answered_heartbeat(3, 10)
    assert not peer.may_send, "that heartbeat was sent before the request: its answer tells nothing"
    peer.check_by(4)
    peer.check_by(5)
    peer.answered_heartbeat(3, 10)
    assert not peer.may_send
    peer.answered_heartbeat(4, 10)
    assert peer.may_send


def test_on_a_link_slower_than_the_heartbeats_nothing_is_sent_twice() -> None:
    """Answers come in the order of the requests, each several heartbeats late."""
    peer = _sending_snapshot(size=1000)
    sent = 1
    for heartbeat in range(1, 40):
        peer.check_by(heartbeat)
        if heartbeat % 4 == 0:
            peer.received_piece(10, peer.offset + 10)
            assert peer.may_send
            peer.sent_piece()
            sent += 1
        if heartbeat > 3:
            peer.answered_heartbeat(heartbeat - 3, 10)
            assert not peer.may_send
    assert sent == 10


def test_lost_entries_are_noticed_though_nothing_more_is_to_be_sent() -> None:
    peer = _replicating()
    peer.sent(6)
    peer.check_by(1)
    peer.answered_heartbeat(1, 6)
    assert peer.remind
    peer.sent(6)
    assert not peer.remind


def test_nothing_is_asked_of_a_member_that_has_everything() -> None:
    peer = _replicating(match=5)
    peer.check_by(1)
    peer.answered_heartbeat(1, 5)
    assert not peer.remind


def test_a_full_window_whose_answers_were_lost_opens_by_one() -> None:
    peer = _replicating()
    for last in (6, 7, 8):
        peer.sent(last)
    for heartbeat in (1, 2, 3):
        peer.check_by(heartbeat)
        peer.answered_heartbeat(heartbeat, 20)
        assert peer.may_send
        peer.sent(peer.next)
        assert not peer.may_send


# Snapshots.


def test_a_repeated_answer_brings_no_piece_twice() -> None:
    """Otherwise each would be sent once more from then on, for as long as the transfer lasts."""
    peer = _sending_snapshot()
    peer.received_piece(10, 20)
    assert peer.may_send
    peer.sent_piece()
    for offset in (20, 0, 20):
        peer.received_piece(10, offset)
        assert not peer.may_send
    peer.received_piece(10, 40)
    assert (peer.offset, peer.may_send) == (40, True)


def test_a_member_that_restarted_gets_the_snapshot_from_its_beginning() -> None:
    peer = _sending_snapshot()
    peer.received_piece(10, 60)
    peer.sent_piece()
    peer.received_piece(10, 0)
    assert (peer.offset, peer.may_send) == (0, False)
    peer.check_by(1)
    peer.answered_heartbeat(1, 10)
    assert peer.may_send


def test_an_answer_about_another_snapshot_is_ignored() -> None:
    peer = _sending_snapshot(index=10)
    peer.received_piece(9, 50)
    assert (peer.offset, peer.may_send) == (0, False)


def test_entries_follow_once_the_snapshot_is_acknowledged_and_not_before() -> None:
    peer = _sending_snapshot(index=10)
    peer.matched(9)
    assert peer.state is State.SNAPSHOT
    peer.matched(10)
    assert (peer.state, peer.next, peer.snapshot) == (State.REPLICATE, 11, None)


def test_a_refusal_does_not_interrupt_a_snapshot() -> None:
    peer = _sending_snapshot()
    assert not peer.rejected(5, 3)
    assert peer.state is State.SNAPSHOT
