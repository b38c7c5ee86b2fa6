"""Who is in the cluster: one change at a time, from the append on (thesis chapter 4)."""

from __future__ import annotations

import pytest

from leasekit.backends.raft.core import membership as memberships
from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.messages import Append, AppendReply, HeartbeatReply, TimeoutNow, Vote
from leasekit.backends.raft.core.types import Entry, EntryKind, HardState, Membership, Recovered, Role
from support.raft import (
    CONFIG,
    PLAIN,
    Cluster,
    Member,
    core,
    drain,
    elect,
    entries,
    found,
    leading,
    members,
    pass_ticks,
    say,
)


def _has(name: str, index: int, term: int = 1) -> AppendReply:
    return AppendReply(sender=name, to="a", term=term, index=index)


def _leader(voters: str = "abc", learners: str = "") -> Raft:
    """Leads, has committed its first entry, and hears from everybody."""
    raft = core("a", found(voters, learners=learners))
    elect(raft)
    say(raft, *(_has(name, 1) for name in voters + learners if name != "a"))
    assert raft.log.committed == 1
    return raft


def _change(index: int, term: int, membership: Membership) -> Entry:
    return Entry(index, term, EntryKind.MEMBERSHIP, memberships.encode(membership))


def test_a_membership_survives_its_encoding() -> None:
    membership = Membership({"a": "h:1", "é": "[::1]:2"}, {"c": "h:3"})
    assert memberships.decode(memberships.encode(membership)) == membership


def test_a_new_member_comes_without_a_vote_and_gets_the_log_at_once() -> None:
    raft = _leader()
    index = leading(raft).add_learner("d", "d:1")
    assert raft.membership == Membership(members("abc").voters, {"d": "d:1"})
    assert "d" in {message.to for message in drain(raft)}
    say(raft, _has("d", index))
    assert raft.log.committed == 1, "it does not count"
    say(raft, _has("b", index))
    assert raft.log.committed == index


def test_a_promoted_member_counts_from_the_append_on() -> None:
    raft = _leader("abc", "d")
    index = leading(raft).promote("d")
    drain(raft)
    assert set(raft.membership.voters) == set("abcd")
    say(raft, _has("b", index))
    assert raft.log.committed == 1, "two of four have it"
    say(raft, _has("d", index))
    assert raft.log.committed == index


def test_a_member_that_lags_is_not_promoted() -> None:
    raft = _leader("abc", "d")
    for _ in range(CONFIG.promotable_lag_entries + 1):
        leading(raft).propose(b"x")
    with pytest.raises(NotNow, match="d is 65 entries behind"):
        leading(raft).promote("d")


def test_only_a_learner_is_promoted() -> None:
    for name in ("b", "stranger"):
        with pytest.raises(NotNow, match="no learner"):
            leading(_leader()).promote(name)


def test_a_removed_member_is_told_nothing_more() -> None:
    raft = _leader()
    leading(raft).remove("c")
    assert {message.to for message in pass_ticks(raft, 4)} == {"b"}
    assert say(raft, _has("c", 2)) == []


def test_who_is_not_there_and_who_is_the_last_are_not_removed() -> None:
    with pytest.raises(NotNow, match="not in the cluster"):
        leading(_leader()).remove("x")
    with pytest.raises(NotNow, match="last voter"):
        leading(_leader("a")).remove("a")


def test_no_removal_leaves_too_few_to_go_on() -> None:
    raft = core("a", found("abc"))
    elect(raft)
    say(raft, _has("b", 1))
    for _ in range(2 * CONFIG.election_ticks):
        raft.tick()
        say(raft, _has("b", 1))
    with pytest.raises(NotNow, match="only 1 of the 2"):
        leading(raft).remove("b")
    leading(raft).remove("c")


def test_an_address_is_changed_as_a_member_is_added() -> None:
    raft = _leader("abc", "d")
    leading(raft).add_learner("b", "new:9")
    assert raft.membership.address("b") == "new:9"
    assert set(raft.membership.voters) == set("abc")


# One at a time. The single-server bug (raft-dev, 10 July 2015): add and remove, two adds, two removes.


@pytest.mark.parametrize("first", ["add", "promote", "remove"])
@pytest.mark.parametrize("second", ["add", "promote", "remove"])
def test_a_second_change_waits_until_the_first_is_committed(first: str, second: str) -> None:
    raft = _leader("abc", "de")
    changes = {
        "add": lambda name: leading(raft).add_learner(name, f"{name}:1"),
        "promote": lambda name: leading(raft).promote(name),
        "remove": lambda name: leading(raft).remove(name),
    }
    index = changes[first]({"add": "f", "promote": "d", "remove": "c"}[first])
    with pytest.raises(NotNow, match="not committed"):
        changes[second]({"add": "g", "promote": "e", "remove": "b"}[second])
    say(raft, *(_has(name, index) for name in "bcd"))
    assert raft.log.committed == index
    changes[second]({"add": "g", "promote": "e", "remove": "b"}[second])


def test_a_new_leader_changes_nothing_before_an_entry_of_its_own_term_is_committed() -> None:
    """Else it would not know of a change that an earlier leader has committed: two majorities without a common member."""
    raft = core("a", found("abcd", 1))
    elect(raft)
    say(raft, *(HeartbeatReply(sender=name, to="a", term=2, round=0) for name in "bcd"))
    with pytest.raises(NotNow, match="not committed"):
        leading(raft).remove("d")
    say(raft, _has("b", 2, term=2), _has("c", 2, term=2))
    leading(raft).remove("d")


def test_the_bug_of_2015_cannot_be_played() -> None:
    """a adds a voter and is cut off with it; b removes a; then a comes back, and would have a majority without b's."""
    cluster = Cluster("abcd", learners="e")
    a, b = cluster["a"], cluster["b"]
    a.raft.campaign()
    a.work()
    cluster.agree(b"x")
    cluster.tick(5)
    cluster.isolate("a", "e")
    leading(a.raft).promote("e")
    a.work()
    cluster.tick(3 * CONFIG.election_ticks)
    assert a.raft.role is not Role.LEADER
    assert set(a.raft.membership.voters) == set("abcde")
    b.raft.campaign(transfer=True)
    b.work()
    cluster.until(lambda: b.raft.role is Role.LEADER)
    for name in "cd":
        b.raft.step(HeartbeatReply(sender=name, to="b", term=b.raft.term, round=0))
    with pytest.raises(NotNow, match="not committed"):
        leading(b.raft).remove("a")
    cluster.until(lambda: leading(b.raft).committed_own_term)
    leading(b.raft).remove("a")
    b.work()
    cluster.agree(b"y", on="bcd")
    b.crash()
    cluster.heal()
    cluster.tick(30 * CONFIG.election_ticks)
    assert cluster.leader().name in "cd"
    cluster.agree(b"z", on="cd")
    cluster.check_logs()


def test_a_change_that_is_replaced_is_undone() -> None:
    raft = core("b", found("abc", 1))
    change = Append(
        sender="a", to="b", term=1, previous_index=1, previous_term=1,
        entries=(_change(2, 1, members("abcd")),), commit=1,
    )  # fmt: skip
    say(raft, change)
    assert set(raft.membership.voters) == set("abcd")
    say(raft, Append(sender="c", to="b", term=2, previous_index=1, previous_term=1,
                     entries=entries(2, first=2), commit=1))  # fmt: skip
    assert set(raft.membership.voters) == set("abc")


def test_a_change_that_is_not_committed_holds_after_a_restart() -> None:
    recovered = Recovered(HardState(1), found("ab").snapshot, (_change(1, 1, members("abc")),))
    raft = core("a", recovered, PLAIN)
    raft.campaign()
    assert {message.to for message in drain(raft)} == {"b", "c"}


# The leader itself.


def test_a_leader_that_is_removed_leads_until_that_is_committed_without_counting_itself() -> None:
    raft = _leader()
    index = leading(raft).remove("a")
    drain(raft)
    assert (raft.role, set(raft.membership.voters)) == (Role.LEADER, set("bc"))
    say(raft, _has("b", index))
    assert (raft.role, raft.log.committed) == (Role.LEADER, 1), "one of two has it"
    sent = say(raft, _has("c", index))
    assert (raft.status().role, raft.log.committed) == (Role.FOLLOWER, index)
    assert [message.to for message in sent if isinstance(message, TimeoutNow)] in (["b"], ["c"])
    assert {m.to for m in sent if isinstance(m, Append) and m.commit == index} == {"b", "c"}


def test_a_leader_that_is_removed_does_not_rest_while_only_what_came_before_is_committed() -> None:
    raft = _leader()
    before = leading(raft).propose(b"x")
    leading(raft).remove("a")
    drain(raft)
    say(raft, _has("b", before), _has("c", before))
    assert (raft.role, raft.log.committed) == (Role.LEADER, before)


def test_a_member_that_was_removed_does_not_campaign() -> None:
    raft = _leader()
    index = leading(raft).remove("a")
    say(raft, _has("b", index), _has("c", index))
    assert pass_ticks(raft, 10 * CONFIG.election_ticks) == []


def test_a_leader_whose_removal_is_not_committed_campaigns_for_it_alone_may_be_electable() -> None:
    """Thesis section 4.2.2, figure 4.6: of two, only the one to go has the entry; the other cannot win without it."""
    for config in (CONFIG, PLAIN):
        cluster = Cluster("ab", config=config)
        leader = cluster.leader()
        other = next(member for member in cluster.members.values() if member is not leader)
        cluster.agree(b"x")
        cluster.tick(5)
        cluster.isolate(other.name)
        leading(leader.raft).remove(leader.name)
        leader.work()
        leader.crash()
        cluster.tick()
        cluster.heal()
        leader.start()
        _until_it_leads_for_good(cluster, other)
        assert set(other.raft.membership.voters) == {other.name}
        cluster.agree(b"y", on=[other.name])


def test_a_member_votes_though_it_does_not_know_yet_that_it_is_a_voter() -> None:
    raft = core("d", Recovered())
    asked = Vote(sender="b", to="d", term=3, last_index=5, last_term=2)
    assert [getattr(answer, "granted", None) for answer in say(raft, asked)] == [True]


def _until_it_leads_for_good(cluster: Cluster, member: Member) -> None:
    cluster.until(lambda: member.raft.leading is not None and member.raft.leading.committed_own_term)


def _until_it_rests(cluster: Cluster, member: Member) -> None:
    cluster.until(lambda: member.raft.leading is None)


def test_a_removed_member_that_does_not_know_disturbs_nobody() -> None:
    """Thesis sections 4.2.3 and 9.6: it asks in advance, and who hears from a leader does not answer."""
    cluster = Cluster("abcd")
    leader = cluster.leader()
    cluster.agree(b"x")
    gone = next(name for name in "abcd" if name != leader.name)
    cluster.tick(5)
    leading(leader.raft).remove(gone)
    leader.work()
    term = leader.raft.term
    cluster.tick(20 * CONFIG.election_ticks)
    assert cluster.leader() is leader
    assert leader.raft.term == term
    assert cluster.sent["PreVote"] > 10, "it did ask"


def test_a_cluster_grows_from_one_to_five_and_shrinks_to_one_under_load() -> None:
    cluster = Cluster("a", seed=1)
    cluster.agree(b"0")
    for name in "bcde":
        cluster.join(name)
        leader = cluster.leader()
        leading(leader.raft).add_learner(name, f"{name}:1")
        leader.work()
        cluster.agree(b"with " + name.encode())
        leading(leader.raft).promote(name)
        leader.work()
        cluster.agree(b"promoted " + name.encode())
    assert set(cluster.leader().raft.membership.voters) == set("abcde")
    for number in range(4):
        leader = cluster.leader(among=cluster.members)
        leading(leader.raft).remove(leader.name)
        leader.work()
        _until_it_rests(cluster, leader)
        leader.crash()
        rest = set(leader.raft.membership.voters)
        cluster.leader(among=rest)
        cluster.agree(b"without %d" % number, on=rest)
    assert len(rest) == 1
    cluster.check_logs()
