"""How much is under way: to one member, to a majority, and to the state machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.log import size_of
from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.messages import Append, AppendReply, HeartbeatReply
from leasekit.errors import ConfigError
from support.raft import CONFIG, Cluster, core, drain, elect, found, leading, pass_ticks, say, work

_TIGHT = replace(CONFIG, max_inflight=3, max_append_bytes=300, max_uncommitted_bytes=2000, max_apply_bytes=500)


def _leader(config: Config = _TIGHT) -> Raft:
    raft = core("a", found(), config)
    elect(raft)
    say(raft, *(AppendReply(sender=name, to="a", term=1, index=1) for name in "bc"))
    return raft


def _to_b(raft: Raft) -> list[Append]:
    return [message for message in drain(raft) if isinstance(message, Append) and message.to == "b"]


def test_requests_to_a_silent_member_stop_at_the_window() -> None:
    raft = _leader()
    sent = 0
    for _ in range(10):
        leading(raft).propose(b"x")
        sent += len(_to_b(raft))
    assert sent == 3
    raft.step(AppendReply(sender="b", to="a", term=1, index=3))
    assert [entry.index for message in _to_b(raft) for entry in message.entries] == list(range(5, 12))


def test_a_request_holds_no_more_than_its_limit_save_a_single_bigger_entry() -> None:
    raft = _leader(replace(_TIGHT, max_inflight=100))
    for size in (100, 100, 100, 900, 100):
        leading(raft).propose(b"x" * size)
    sizes = [[len(entry.data) for entry in message.entries] for message in _to_b(raft)]
    assert sizes == [[100, 100], [100], [900], [100]]


def test_a_member_at_its_window_gets_one_request_for_each_heartbeat_it_answers() -> None:
    """It may have lost everything sent before: the leader must find out, and not by flooding it."""
    raft = _leader()
    for _ in range(10):
        leading(raft).propose(b"x")
        drain(raft)
    for _ in range(5):
        heartbeat = max(getattr(m, "round", 0) for m in pass_ticks(raft, CONFIG.heartbeat_ticks))
        raft.step(HeartbeatReply(sender="b", to="a", term=1, round=heartbeat))
        assert len(_to_b(raft)) == 1


def test_proposals_are_refused_while_too_much_waits_for_a_majority() -> None:
    raft = _leader()
    last = 0
    for _ in range(16):
        last = leading(raft).propose(b"x" * 100)
        drain(raft)
    with pytest.raises(NotNow, match="too much waits"):
        leading(raft).propose(b"x")
    assert 2000 < sum(size_of(entry) for entry in raft.log.entries(2, last, 1 << 20)) <= 2000 + 200
    say(raft, AppendReply(sender="b", to="a", term=1, index=last))
    assert leading(raft).propose(b"x") == last + 1


def test_an_entry_of_an_earlier_term_does_not_hold_up_new_ones() -> None:
    raft = core("a", found("abc", *[1] * 500), _TIGHT)
    elect(raft)
    leading(raft).propose(b"x")


def test_what_is_applied_at_once_is_limited() -> None:
    raft = core("a", found("abc", *[1] * 50, commit=50), _TIGHT)
    sizes = [sum(size_of(entry) for entry in ready.committed) for ready in work(raft)]
    assert len(sizes) > 3
    assert max(sizes) <= 500
    assert raft.log.applied == 50


def test_while_nothing_happens_there_is_nothing_to_do() -> None:
    raft = _leader()
    drain(raft)
    assert not raft.has_ready
    pass_ticks(raft, 1)
    assert not raft.has_ready


def test_a_member_that_lost_its_disk_is_not_asked_as_fast_as_the_network_goes() -> None:
    cluster = Cluster("abc")
    cluster.agree(b"x")
    cluster.agree(b"y")
    other = next(member for member in cluster.members.values() if member is not cluster.leader())
    other.crash()
    other.disk.content = found("abc")
    other.start()
    before = cluster.sent["Append"]
    cluster.tick(100)
    assert cluster.sent["Append"] - before <= 2 * 100 / CONFIG.heartbeat_ticks


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("election_ticks", CONFIG.heartbeat_ticks),
        ("election_spread_ticks", -1),
        ("max_inflight", 0),
        ("snapshot_piece_bytes", 0),
    ],
)
def test_impossible_settings_are_refused(field: str, value: int) -> None:
    settings: dict[str, Any] = {field: value}
    with pytest.raises(ConfigError) as refusal:
        replace(CONFIG, **settings)
    assert refusal.value.field == field
