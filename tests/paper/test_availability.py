"""Who is cut off disturbs nobody, and who leads without a majority stops: thesis sections 4.2.3, 6.2 and 9.6."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leasekit.backends.raft.core.messages import Heartbeat, HeartbeatReply, PreVote, PreVoteReply, Vote, VoteReply
from leasekit.backends.raft.core.types import Role
from support.raft import CONFIG, PLAIN, Cluster, core, drain, elect, found, pass_ticks, say, work


def _promise(sender: str, term: int, granted: bool = True) -> PreVoteReply:
    return PreVoteReply(sender=sender, to="a", term=term, granted=granted)


def _ask(sender: str, term: int, last: tuple[int, int] = (0, 0)) -> PreVote:
    return PreVote(sender=sender, to="a", term=term, last_index=last[0], last_term=last[1])


# 9.6: asking in advance.


def test_asking_in_advance_changes_neither_term_nor_vote_on_either_side() -> None:
    raft = core("a", found(term=3, vote="c"))
    raft.campaign()
    assert [(type(message), message.term) for message in drain(raft)] == [(PreVote, 4), (PreVote, 4)]
    assert (raft.role, raft.term, raft.vote) == (Role.PRE_CANDIDATE, 3, "c")
    raft = core("a", found(term=3, vote="c"))
    assert say(raft, _ask("b", 4), _ask("c", 9)) == [
        PreVoteReply(sender="a", to="b", term=4, granted=True),
        PreVoteReply(sender="a", to="c", term=9, granted=True),
    ]
    assert (raft.term, raft.vote) == (3, "c")


def test_with_the_promises_of_a_majority_the_campaign_begins() -> None:
    raft = core("a", found("abcde"))
    raft.campaign()
    say(raft, _promise("b", 1), _promise("b", 1))
    assert raft.role is Role.PRE_CANDIDATE
    say(raft, _promise("c", 1))
    assert (raft.status().role, raft.term, raft.vote) == (Role.CANDIDATE, 1, "a")


def test_a_promise_for_an_earlier_term_does_not_count() -> None:
    raft = core("a", found(term=5))
    raft.campaign()
    say(raft, _promise("b", 5), _promise("c", 5), _promise("b", 4))
    assert (raft.role, raft.term) == (Role.PRE_CANDIDATE, 5)


def test_a_vote_is_not_a_promise() -> None:
    raft = core("a", found(term=5))
    raft.campaign()
    say(raft, *(VoteReply(sender=name, to="a", term=5, granted=True) for name in "bc"))
    assert raft.role is Role.PRE_CANDIDATE


@pytest.mark.parametrize(
    ("own", "term", "last", "granted"),
    [
        ((1, 2), 4, (2, 2), True),
        ((1, 2), 4, (1, 2), False),
        ((1, 2), 4, (5, 1), False),
        ((1, 2), 3, (2, 2), False),
        ((1, 2), 2, (2, 2), False),
    ],
)
def test_a_promise_is_for_a_later_term_and_a_log_as_up_to_date(
    own: tuple[int, ...], term: int, last: tuple[int, int], granted: bool
) -> None:
    raft = core("a", found("abc", *own, term=3))
    assert say(raft, _ask("b", term, last)) == [
        PreVoteReply(sender="a", to="b", term=term if granted else 3, granted=granted)
    ]


def test_a_refusal_tells_a_later_term_which_is_taken_over() -> None:
    raft = core("a", found(term=2))
    raft.campaign()
    say(raft, _promise("b", 7, granted=False))
    assert (raft.role, raft.term) == (Role.FOLLOWER, 7)


def test_who_hears_from_a_leader_promises_nothing_and_does_not_vote_either() -> None:
    """Section 4.2.3: until a whole election time-out has passed in silence."""
    asked: list[PreVote | Vote] = [_ask("c", 2), Vote(sender="c", to="a", term=2, last_index=9, last_term=1)]
    for message in asked:
        raft = core("a", found(term=1), replace(CONFIG, election_spread_ticks=1000))
        say(raft, Heartbeat(sender="b", to="a", term=1, commit=0, round=0))
        pass_ticks(raft, CONFIG.election_ticks - 1)
        assert say(raft, message) == []
        assert raft.term == 1
        pass_ticks(raft, 1)
        assert [getattr(answer, "granted", None) for answer in say(raft, message)] == [True]


def test_a_leader_that_has_a_majority_is_not_deposed_by_a_candidate() -> None:
    raft = core("a", found())
    elect(raft)
    assert say(raft, _ask("c", 9, (9, 9)), Vote(sender="c", to="a", term=9, last_index=9, last_term=9)) == []
    assert (raft.role, raft.term) == (Role.LEADER, 1)


def test_a_member_that_was_cut_off_comes_back_without_an_election() -> None:
    cluster = Cluster("abc")
    leader = cluster.leader()
    cluster.agree(b"x")
    away = next(name for name in "abc" if name != leader.name)
    cluster.isolate(away)
    cluster.tick(50 * CONFIG.election_ticks)
    cluster.heal()
    term = leader.raft.term
    cluster.agree(b"y")
    assert (cluster.leader(), leader.raft.term) == (leader, term)


# 6.2: a leader without a majority.


def test_a_leader_that_hears_from_no_majority_steps_down() -> None:
    raft = core("a", found("abcde"))
    elect(raft)
    for _ in range(2 * CONFIG.election_ticks):
        pass_ticks(raft, 1)
    assert (raft.role, raft.leader_id, raft.term) == (Role.FOLLOWER, None, 1)


def test_any_answer_of_a_majority_of_voters_keeps_it_leading() -> None:
    for names, leads in [("bc", True), ("b", False), ("bl", False)]:
        raft = core("a", found("abcde", learners="l"))
        elect(raft)
        for _ in range(3 * CONFIG.election_ticks):
            raft.tick()
            say(raft, *(HeartbeatReply(sender=name, to="a", term=1, round=0) for name in names))
        assert (raft.status().role is Role.LEADER) is leads


def test_a_leader_in_a_minority_stops_before_long_and_the_majority_goes_on() -> None:
    cluster = Cluster("abcde")
    old = cluster.leader()
    cluster.agree(b"x")
    cluster.isolate(old.name, next(name for name in "abcde" if name != old.name))
    cluster.until(lambda: old.raft.role is not Role.LEADER, within=2 * CONFIG.election_ticks + 1)
    assert cluster.leader().name != old.name


# Terms that ran ahead.


def test_a_candidate_whose_term_ran_ahead_is_freed() -> None:
    """The others hear from a leader and do not vote for it; it cannot follow, for its term is later. Its refusal of
    the leader's word deposes the leader, and the next one's term is late enough."""
    names = "abc"
    cluster = Cluster(names, found={"c": found(names, term=9)})
    cluster.isolate("c")
    cluster.agree(b"x", on="ab")
    assert cluster.leader(among="ab").raft.term < 9
    cluster.heal()
    cluster.agree(b"y")
    assert {member.raft.term for member in cluster.members.values()} == {cluster.leader().raft.term}
    assert cluster.leader().raft.term > 9


def test_a_member_with_a_short_log_and_a_late_term_does_not_keep_the_others_from_electing() -> None:
    names = "abc"
    for config in (CONFIG, PLAIN, replace(CONFIG, check_quorum=False), replace(CONFIG, pre_vote=False)):
        long = found(names, 1, 1, 1, term=1)
        cluster = Cluster(names, config=config, found={"a": long, "b": long, "c": found(names, term=30)})
        cluster.agree(b"x")
        assert cluster.leader().raft.term > 30


# Partial connectivity.


def _links(cluster: Cluster, *kept: str) -> None:
    """Only these links work, both ways."""
    for one in cluster.members:
        for other in cluster.members:
            if one + other not in kept and other + one not in kept and one != other:
                cluster.cut(one, other)


@pytest.mark.parametrize("seed", range(6))
def test_members_that_reach_only_one_other_do_not_depose_one_leader_after_another(seed: int) -> None:
    """As at Cloudflare in 2020: 1, 2, 3 see each other, 4 sees only 2, and 5 only 3."""
    cluster = Cluster("12345", seed=seed)
    cluster.agree(b"before")
    _links(cluster, "12", "13", "23", "24", "35")
    cluster.tick(10 * CONFIG.election_ticks)
    leader = cluster.leader(among="123")
    term = leader.raft.term
    for number in range(20):
        cluster.agree(b"%d" % number, on="123")
        cluster.tick(CONFIG.election_ticks)
    assert (cluster.leader(), leader.raft.term) == (leader, term)


@pytest.mark.parametrize("leader", list("12345"))
def test_when_only_one_member_still_reaches_a_majority_it_leads(leader: str) -> None:
    """Everybody is linked with 1 alone. A leader that is not 1 would go on without check-quorum, serving nobody."""
    cluster = Cluster("12345")
    cluster[leader].raft.campaign()
    cluster[leader].work()
    cluster.until(lambda: cluster[leader].raft.role is Role.LEADER)
    cluster.agree(b"before")
    _links(cluster, "12", "13", "14", "15")
    cluster.until(lambda: [member.name for member in cluster.leaders()] == ["1"])
    cluster.agree(b"after")


def test_a_leader_stays_though_one_of_three_reaches_only_the_other() -> None:
    cluster = Cluster("abc")
    leader = cluster.leader()
    cluster.agree(b"x")
    other, middle = (name for name in "abc" if name != leader.name)
    cluster.cut(leader.name, other)
    term = leader.raft.term
    for number in range(20):
        cluster.agree(b"%d" % number, on=[leader.name, middle])
        cluster.tick(CONFIG.election_ticks)
    assert (cluster.leader(), leader.raft.term) == (leader, term)


def test_a_leader_that_can_speak_and_not_hear_is_replaced() -> None:
    cluster = Cluster("abc")
    leader = cluster.leader()
    others = [name for name in "abc" if name != leader.name]
    cluster.down |= {(name, leader.name) for name in others}
    cluster.leader(among=others)
    cluster.agree(b"x", on=others)


def test_a_leader_that_can_hear_and_not_speak_is_replaced() -> None:
    cluster = Cluster("abc")
    leader = cluster.leader()
    others = [name for name in "abc" if name != leader.name]
    cluster.down |= {(leader.name, name) for name in others}
    cluster.leader(among=others)
    cluster.agree(b"x", on=others)
    cluster.heal()
    cluster.agree(b"y")


def test_after_a_pause_what_came_meanwhile_is_heard_before_the_time_out_counts() -> None:
    raft = core("a", found(term=1))
    say(raft, Heartbeat(sender="b", to="a", term=1, commit=0, round=0))
    for _ in range(CONFIG.election_ticks - 1):
        raft.tick()
    raft.step(Heartbeat(sender="b", to="a", term=1, commit=0, round=0))
    assert [message for ready in work(raft) for message in ready.messages if isinstance(message, PreVote)] == []
    assert pass_ticks(raft, CONFIG.election_ticks - 1) == []
    assert raft.role is Role.FOLLOWER


def test_without_randomness_votes_may_split_for_ever_and_with_a_little_they_do_not() -> None:
    """Figure 16: equal time-outs never elect anybody."""

    def elected(spread: int, seed: int, within: int) -> bool:
        config = replace(PLAIN, election_ticks=30, heartbeat_ticks=5, election_spread_ticks=spread)
        cluster = Cluster("abcde", config=config, seed=seed)
        cluster.delay_ticks = (3, 3)
        cluster.tick(within)
        return bool(cluster.leaders())

    assert not any(elected(0, seed, 600) for seed in range(3))
    assert all(elected(30, seed, 600) for seed in range(20))


def test_a_new_leader_is_found_within_a_few_time_outs() -> None:
    def took(seed: int) -> int:
        cluster = Cluster("abcde", seed=seed)
        cluster.agree(b"x")
        cluster.leader().crash()
        return cluster.until(cluster.leaders)

    assert sorted(took(seed) for seed in range(60))[54] <= 4 * CONFIG.election_ticks
