"""Handing the leadership over (thesis section 3.10)."""

from __future__ import annotations

import pytest

from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.messages import AppendReply, Heartbeat, PreVote, TimeoutNow, Vote
from leasekit.backends.raft.core.types import Role
from support.raft import CONFIG, Cluster, core, drain, elect, found, leading, pass_ticks, say


def _has(name: str, index: int, term: int = 1) -> AppendReply:
    return AppendReply(sender=name, to="a", term=term, index=index)


def _leader() -> Raft:
    raft = core("a", found("abc", learners="l"))
    elect(raft)
    say(raft, _has("b", 1), _has("c", 1))
    return raft


def _handed_to(raft: Raft) -> list[str]:
    return [message.to for message in drain(raft) if isinstance(message, TimeoutNow)]


def test_who_has_everything_is_told_at_once() -> None:
    raft = _leader()
    assert leading(raft).transfer("b") == "b"
    assert _handed_to(raft) == ["b"]


def test_who_lags_is_told_once_it_has_everything() -> None:
    raft = _leader()
    leading(raft).propose(b"x")
    leading(raft).transfer("b")
    assert _handed_to(raft) == []
    raft.step(_has("b", 2))
    assert _handed_to(raft) == ["b"]


def test_nothing_is_taken_in_meanwhile() -> None:
    raft = _leader()
    leading(raft).transfer("b")
    with pytest.raises(NotNow, match="handed over"):
        leading(raft).propose(b"x")
    with pytest.raises(NotNow, match="handed over"):
        leading(raft).remove("c")


def test_the_leader_goes_on_when_the_other_does_not_take_over_in_time() -> None:
    raft = _leader()
    leading(raft).transfer("b")
    for _ in range(CONFIG.election_ticks):
        pass_ticks(raft, 1)
        say(raft, _has("c", 1))
    leading(raft).propose(b"x")
    assert TimeoutNow not in [type(message) for message in pass_ticks(raft, 2 * CONFIG.heartbeat_ticks)]


def test_the_word_is_repeated_for_it_may_be_lost() -> None:
    raft = _leader()
    leading(raft).transfer("b")
    drain(raft)
    assert [m.to for m in pass_ticks(raft, CONFIG.heartbeat_ticks) if isinstance(m, TimeoutNow)] == ["b"]


@pytest.mark.parametrize("to", ["a", "l", "stranger"])
def test_only_another_voter_can_take_over(to: str) -> None:
    with pytest.raises(NotNow, match="is another voter"):
        leading(_leader()).transfer(to)


def test_alone_there_is_nobody_to_hand_over_to() -> None:
    raft = core("a", found("a"))
    raft.campaign()
    drain(raft)
    with pytest.raises(NotNow):
        leading(raft).transfer(None)


def test_without_a_name_the_one_that_has_most_takes_over() -> None:
    raft = _leader()
    leading(raft).propose(b"x")
    say(raft, _has("c", 2))
    assert leading(raft).transfer(None) == "c"


def test_who_is_told_asks_for_votes_without_asking_in_advance() -> None:
    raft = core("a", found(term=1))
    say(raft, Heartbeat(sender="b", to="a", term=1, commit=0, round=0))
    sent = say(raft, TimeoutNow(sender="b", to="a", term=1))
    assert [(message.to, message.term) for message in sent] == [("b", 2), ("c", 2)]
    assert all(isinstance(message, Vote) and message.transfer for message in sent)


def test_who_hears_from_the_leader_votes_when_the_leader_itself_asked_for_the_election() -> None:
    for transfer, granted in [(True, True), (False, None)]:
        raft = core("a", found(term=1))
        say(raft, Heartbeat(sender="b", to="a", term=1, commit=0, round=0))
        asked = Vote(sender="c", to="a", term=2, last_index=0, last_term=0, transfer=transfer)
        assert [getattr(m, "granted", None) for m in say(raft, asked)] == ([granted] if granted else [])


@pytest.mark.parametrize("term", [0, 1])
def test_an_old_word_or_one_to_a_learner_does_nothing(term: int) -> None:
    raft = core("l" if term else "a", found(term=1, learners="l"))
    assert say(raft, TimeoutNow(sender="b", to=raft.id, term=term)) == []
    assert raft.role is Role.FOLLOWER


def test_if_the_votes_are_lost_the_next_attempt_asks_in_advance_again() -> None:
    raft = core("a", found(term=1))
    say(raft, TimeoutNow(sender="b", to="a", term=1))
    sent = pass_ticks(raft, 2 * CONFIG.election_ticks)
    assert {type(message) for message in sent} == {PreVote}


def test_leadership_moves_within_a_few_round_trips_and_loses_nothing() -> None:
    cluster = Cluster("abc")
    leader = cluster.leader()
    cluster.agree(b"x")
    for _ in range(10):
        other = next(member for member in cluster.members.values() if member is not leader)
        cluster.propose(b"while %d" % cluster.now, leader)
        leading(leader.raft).transfer(other.name)
        leader.work()
        assert cluster.until(lambda to=other: to.raft.role is Role.LEADER) < 10  # type: ignore[misc]
        leader = other
    cluster.agree(b"y")
    assert len(cluster["a"].commands) == 12


def test_leadership_moves_though_messages_are_lost() -> None:
    cluster = Cluster("abc", seed=3)
    cluster.agree(b"x")
    cluster.loss = 0.3
    moved = 0
    for _ in range(20):
        leader = cluster.leader()
        to = next(name for name in "abc" if name != leader.name)
        try:
            leading(leader.raft).transfer(to)
        except NotNow:
            continue
        leader.work()
        cluster.tick(2 * CONFIG.election_ticks)
        moved += cluster.leader().name == to
    assert moved > 10
    cluster.loss = 0
    cluster.agree(b"y")
