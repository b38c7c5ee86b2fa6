"""Terms and elections: sections 5.1, 5.2 and 5.4.1 of the Raft paper, without the thesis' additions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leasekit.backends.raft.core.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    SnapshotPiece,
    SnapshotReply,
    Vote,
    VoteReply,
)
from leasekit.backends.raft.core.types import Role, SnapshotMeta
from support.raft import PLAIN, Cluster, core, drain, elect, found, members, pass_ticks, say

_OF_TERM_7: list[Message] = [
    Vote(sender="b", to="a", term=7, last_index=9, last_term=6),
    VoteReply(sender="b", to="a", term=7, granted=False),
    Append(sender="b", to="a", term=7, previous_index=0, previous_term=0, entries=(), commit=0),
    AppendReply(sender="b", to="a", term=7, index=0),
    Heartbeat(sender="b", to="a", term=7, commit=0, round=0),
    HeartbeatReply(sender="b", to="a", term=7, round=0),
    SnapshotPiece(sender="b", to="a", term=7, meta=SnapshotMeta(1, 1), offset=0, data=b"", size=9),
    SnapshotReply(sender="b", to="a", term=7, index=0, offset=0),
]


def _vote(sender: str, term: int, last_index: int = 0, last_term: int = 0) -> Vote:
    return Vote(sender=sender, to="a", term=term, last_index=last_index, last_term=last_term)


def _granted(sender: str, term: int) -> VoteReply:
    return VoteReply(sender=sender, to="a", term=term, granted=True)


# 5.1


@pytest.mark.parametrize("message", _OF_TERM_7, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_whoever_sees_a_later_term_takes_it_over_and_follows(role: Role, message: Message) -> None:
    raft = core("a", found(), PLAIN)
    if role is Role.CANDIDATE:
        raft.campaign()
    elif role is Role.LEADER:
        elect(raft)
    assert raft.role is role
    say(raft, message)
    assert (raft.role, raft.term) == (Role.FOLLOWER, 7)


def test_a_request_of_an_earlier_term_is_refused_with_the_present_one() -> None:
    raft = core("a", found(term=3), PLAIN)
    sent = say(
        raft,
        _vote("b", 2),
        Append(sender="b", to="a", term=2, previous_index=0, previous_term=0, entries=(), commit=0),
        Heartbeat(sender="b", to="a", term=2, commit=0, round=0),
    )
    assert [(type(message), message.term) for message in sent] == [(VoteReply, 3), (AppendReply, 3), (AppendReply, 3)]
    assert isinstance(sent[0], VoteReply) and not sent[0].granted
    assert isinstance(sent[1], AppendReply) and sent[1].rejected


def test_an_answer_of_an_earlier_term_changes_nothing() -> None:
    raft = core("a", found(term=3), PLAIN)
    elect(raft)
    before = raft.status()
    say(raft, AppendReply(sender="b", to="a", term=3, index=1), _granted("b", 3))
    assert raft.status() == before


# 5.2


def test_a_member_starts_as_a_follower() -> None:
    assert core("a", found(), PLAIN).role is Role.FOLLOWER


def test_a_leader_speaks_up_at_every_heartbeat() -> None:
    raft = core("a", found(), PLAIN)
    elect(raft)
    sent = pass_ticks(raft, 3 * PLAIN.heartbeat_ticks)
    assert [message.to for message in sent if isinstance(message, Heartbeat)] == ["b", "c"] * 3


def test_a_leader_s_word_keeps_a_follower_from_campaigning() -> None:
    raft = core("a", found(term=1), PLAIN)
    for _ in range(50):
        pass_ticks(raft, PLAIN.election_ticks - 1)
        say(raft, Heartbeat(sender="b", to="a", term=1, commit=0, round=0))
    assert (raft.role, raft.term) == (Role.FOLLOWER, 1)


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE])
def test_who_hears_from_no_leader_campaigns_in_the_next_term_for_itself(role: Role) -> None:
    raft = core("a", found(), PLAIN)
    if role is Role.CANDIDATE:
        raft.campaign()
        drain(raft)
    before = raft.term
    sent = pass_ticks(raft, 2 * PLAIN.election_ticks)
    assert (raft.role, raft.term, raft.vote) == (Role.CANDIDATE, before + 1, "a")
    assert [(message.to, message.term) for message in sent] == [("b", before + 1), ("c", before + 1)]


def test_time_outs_are_drawn_anew_each_time_over_the_whole_range() -> None:
    """Otherwise votes split for ever."""
    raft = core("a", found(), PLAIN)
    waited = []
    for _ in range(300):
        before, ticks = raft.term, 0
        while raft.term == before:
            pass_ticks(raft, 1)
            ticks += 1
        waited.append(ticks)
    assert set(waited) == set(range(PLAIN.election_ticks, 2 * PLAIN.election_ticks + 1))


def test_five_members_seldom_split_their_votes() -> None:
    splits = 0
    for seed in range(200):
        cluster = Cluster("abcde", config=replace(PLAIN, election_ticks=50, heartbeat_ticks=5), seed=seed)
        splits += cluster.leader().raft.term > 1
    assert splits < 40


@pytest.mark.parametrize(
    ("voters", "granting", "role"),
    [
        ("a", "", Role.LEADER),
        ("abc", "b", Role.LEADER),
        ("abc", "bc", Role.LEADER),
        ("abcde", "bc", Role.LEADER),
        ("abcde", "b", Role.CANDIDATE),
        ("abcd", "b", Role.CANDIDATE),
        ("abcd", "bc", Role.LEADER),
        ("abc", "", Role.CANDIDATE),
    ],
)
def test_a_majority_of_votes_makes_a_leader(voters: str, granting: str, role: Role) -> None:
    raft = core("a", found(voters), PLAIN)
    raft.campaign()
    drain(raft)
    say(raft, *(_granted(name, 1) for name in granting))
    assert (raft.role, raft.term) == (role, 1)


def test_a_majority_of_refusals_ends_the_candidacy() -> None:
    raft = core("a", found("abcde"), PLAIN)
    raft.campaign()
    drain(raft)
    for name, role in zip("bcd", [Role.CANDIDATE, Role.CANDIDATE, Role.FOLLOWER], strict=True):
        say(raft, VoteReply(sender=name, to="a", term=1, granted=False))
        assert raft.role is role


def test_a_voter_counts_once_however_often_its_vote_comes() -> None:
    raft = core("a", found("abcde"), PLAIN)
    raft.campaign()
    drain(raft)
    say(raft, *[_granted("b", 1)] * 5)
    assert raft.role is Role.CANDIDATE


def test_a_voter_s_first_answer_stands() -> None:
    raft = core("a", found(), PLAIN)
    raft.campaign()
    drain(raft)
    say(raft, VoteReply(sender="b", to="a", term=1, granted=False), _granted("b", 1))
    assert raft.role is Role.CANDIDATE


def test_votes_of_strangers_and_learners_do_not_count() -> None:
    raft = core("a", found("abcde", learners="l"), PLAIN)
    raft.campaign()
    drain(raft)
    say(raft, _granted("l", 1), _granted("stranger", 1), _granted("b", 1))
    assert raft.role is Role.CANDIDATE


def test_a_vote_of_an_earlier_term_does_not_count() -> None:
    raft = core("a", found(), PLAIN)
    for _ in range(2):
        raft.campaign()
        drain(raft)
    say(raft, _granted("b", 1))
    assert (raft.role, raft.term) == (Role.CANDIDATE, 2)


def test_a_promise_made_in_advance_is_not_a_vote() -> None:
    raft = core("a", found(), PLAIN)
    raft.campaign()
    drain(raft)
    say(raft, *(PreVoteReply(sender=name, to="a", term=1, granted=True) for name in "bc"))
    say(raft, *(PreVoteReply(sender=name, to="a", term=2, granted=True) for name in "bc"))
    assert (raft.role, raft.term) == (Role.CANDIDATE, 1)


def test_a_member_votes_for_the_first_who_asks_and_for_no_other_in_that_term() -> None:
    raft = core("a", found(), PLAIN)
    asked = [_vote("b", 1), _vote("c", 1), _vote("b", 1)]
    answers = [message.granted for message in say(raft, *asked) if isinstance(message, VoteReply)]
    assert answers == [True, False, True]
    assert say(raft, _vote("c", 2)) == [VoteReply(sender="a", to="c", term=2, granted=True)]


def test_a_candidate_follows_a_leader_of_its_own_term() -> None:
    raft = core("a", found(), PLAIN)
    raft.campaign()
    drain(raft)
    say(raft, Heartbeat(sender="b", to="a", term=1, commit=0, round=0))
    assert (raft.role, raft.leader_id, raft.vote) == (Role.FOLLOWER, "b", "a")


def test_a_vote_given_puts_off_an_own_campaign_and_a_vote_refused_does_not() -> None:
    for last_term, puts_off in [(1, True), (0, False)]:
        raft = core("a", found("abc", 1), replace(PLAIN, election_spread_ticks=0))
        pass_ticks(raft, PLAIN.election_ticks - 1)
        say(raft, _vote("b", 5, last_index=1, last_term=last_term))
        pass_ticks(raft, 1)
        assert (raft.role is Role.FOLLOWER) is puts_off


# 5.4.1


@pytest.mark.parametrize(
    ("own", "last", "granted"),
    [
        ((1,), (1, 1), True),
        ((1,), (1, 2), True),
        ((1, 1), (1, 1), False),
        ((1,), (2, 1), True),
        ((1, 1, 1), (2, 1), True),  # a later term wins, however short the log
        ((2,), (1, 2), False),
        ((2,), (1, 9), False),  # a longer log of an earlier term does not
        ((1, 2), (3, 1), True),
        ((), (0, 0), True),
    ],
)
def test_a_vote_is_for_a_log_at_least_as_up_to_date_as_one_s_own(
    own: tuple[int, ...], last: tuple[int, int], granted: bool
) -> None:
    """`last` is the last entry's term and index: the term decides, and the index between equal terms."""
    raft = core("a", found("abc", *own, term=4), PLAIN)
    assert say(raft, _vote("b", 5, last_index=last[1], last_term=last[0])) == [
        VoteReply(sender="a", to="b", term=5, granted=granted)
    ]


def test_a_candidate_tells_the_end_of_its_log() -> None:
    raft = core("a", found("abc", 1, 1, 3, term=4), PLAIN)
    raft.campaign()
    for message in drain(raft):
        assert isinstance(message, Vote)
        assert (message.last_index, message.last_term, message.term) == (3, 3, 5)


def test_behind_a_snapshot_the_log_ends_where_the_snapshot_does() -> None:
    raft = core("a", found("abc", base=(7, 3)), PLAIN)
    assert say(raft, _vote("b", 5, last_index=6, last_term=3), _vote("c", 5, last_index=7, last_term=3)) == [
        VoteReply(sender="a", to="b", term=5, granted=False),
        VoteReply(sender="a", to="c", term=5, granted=True),
    ]


def test_who_is_no_voter_never_campaigns() -> None:
    for name in ("l", "stranger"):
        raft = core(name, found("abc", learners="l"), PLAIN)
        assert pass_ticks(raft, 10 * PLAIN.election_ticks) == []
        assert raft.membership == members("abc", "l")


def test_a_learner_asked_for_its_vote_gives_it_for_it_may_be_a_voter_and_not_know_yet() -> None:
    raft = core("l", found("abc", learners="l"), PLAIN)
    asked = Vote(sender="b", to="l", term=1, last_index=0, last_term=0)
    assert say(raft, asked) == [VoteReply(sender="l", to="b", term=1, granted=True)]
