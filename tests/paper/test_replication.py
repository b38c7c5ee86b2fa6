"""Log replication: section 5.3 of the Raft paper and its figure 7."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from leasekit.backends.raft.core.messages import Append, AppendReply, Heartbeat
from leasekit.backends.raft.core.types import Membership
from support.raft import PLAIN, Cluster, core, drain, elect, entries, found, leading, members, say, terms_of


def _append(
    term: int, previous: tuple[int, int], terms: Sequence[int] = (), commit: int = 0, sender: str = "b"
) -> Append:
    """Entries of `terms` behind `previous`, an index and a term."""
    new = entries(*terms, first=previous[0] + 1)
    return Append(
        sender=sender,
        to="a",
        term=term,
        previous_index=previous[0],
        previous_term=previous[1],
        entries=new,
        commit=commit,
    )


def test_a_leader_begins_its_term_with_an_entry_of_its_own() -> None:
    """Thesis section 6.4: only when that one is committed does it know what else is."""
    raft = core("a", found("abc", 1, 1), PLAIN)
    sent = elect(raft)
    assert terms_of(raft) == [1, 1, 2]
    assert [entry.data for entry in raft.log.entries(3, 3, 1)] == [b""]
    assert all(isinstance(message, Append) and message.previous_index == 2 for message in sent)


def test_a_request_names_the_entry_before_those_it_brings() -> None:
    raft = core("a", found("abc", 1, 3), PLAIN)
    first = elect(raft)[0]
    assert isinstance(first, Append)
    assert (first.previous_index, first.previous_term, [entry.term for entry in first.entries]) == (2, 3, [4])


@pytest.mark.parametrize(
    ("previous", "fits"),
    [
        ((0, 0), True),
        ((1, 1), True),
        ((2, 2), True),
        ((1, 2), False),
        ((2, 1), False),
        ((3, 3), False),
        ((3, 2), False),
    ],
)
def test_a_follower_takes_entries_only_behind_one_it_has(previous: tuple[int, int], fits: bool) -> None:
    raft = core("a", found("abc", 1, 2), PLAIN)
    (answer,) = say(raft, _append(3, previous))
    assert isinstance(answer, AppendReply)
    assert answer.rejected is not fits
    assert terms_of(raft) == [1, 2]


@pytest.mark.parametrize(
    ("previous", "new", "after"),
    [
        ((2, 2), [3], [1, 2, 3]),
        ((1, 1), [3, 4], [1, 3, 4]),
        ((0, 0), [1], [1, 2]),
        ((0, 0), [1, 2], [1, 2]),
        ((0, 0), [1, 2, 3], [1, 2, 3]),
        ((0, 0), [3], [3]),
        ((1, 1), [], [1, 2]),
        ((0, 0), [], [1, 2]),
    ],
)
def test_only_a_conflict_removes_entries(previous: tuple[int, int], new: list[int], after: list[int]) -> None:
    """Figure 2, AppendEntries steps 3 and 4. A late, repeated or empty request cuts off nothing that agrees."""
    raft = core("a", found("abc", 1, 2), PLAIN)
    (answer,) = say(raft, _append(4, previous, new))
    assert terms_of(raft) == after
    assert answer == AppendReply(sender="a", to="b", term=4, index=previous[0] + len(new))


def test_requests_out_of_order_end_where_they_would_in_order() -> None:
    early, late = _append(2, (0, 0), [2]), _append(2, (0, 0), [2, 2, 2])
    raft = core("a", found(), PLAIN)
    answers = say(raft, late, early, late)
    assert terms_of(raft) == [2, 2, 2]
    assert [answer.index for answer in answers if isinstance(answer, AppendReply)] == [3, 1, 3]


@pytest.mark.parametrize(
    ("leader_has", "brought", "committed"), [(1, 1, 1), (3, 1, 1), (3, 3, 3), (9, 2, 2), (9, 0, 0)]
)
def test_a_follower_commits_no_further_than_what_it_was_just_shown_to_have(
    leader_has: int, brought: int, committed: int
) -> None:
    """Figure 2, AppendEntries step 5: up to the last *new* entry; what stands behind may be another leader's."""
    raft = core("a", found("abc", 1, 1, 1), PLAIN)
    say(raft, _append(2, (0, 0), [1] * brought, commit=leader_has))
    assert raft.log.committed == committed


def test_a_heartbeat_commits_what_its_sender_knows_to_be_here_and_a_late_one_takes_nothing_back() -> None:
    raft = core("a", found("abc", 1, 1, 1), PLAIN)
    for commit, expected in [(2, 2), (1, 2), (3, 3), (0, 3)]:
        say(raft, Heartbeat(sender="b", to="a", term=2, commit=commit, round=0))
        assert raft.log.committed == expected


def test_a_late_request_about_committed_entries_is_answered_with_what_is_committed() -> None:
    raft = core("a", found("abc", 1, 1, 1, 1, commit=3), PLAIN)
    assert say(raft, _append(1, (1, 1), [1])) == [AppendReply(sender="a", to="b", term=1, index=3)]


def test_a_committed_entry_is_never_replaced() -> None:
    """It cannot be by a leader that Raft elected: whoever tries has broken the algorithm, and the member stops."""
    raft = core("a", found("abc", 1, 1, commit=2), PLAIN)
    say(raft, _append(3, (0, 0), [2, 2]))
    assert terms_of(raft) == [1, 1]
    raft = core("a", found("abc", 1, 1, commit=1), PLAIN)
    raft.log.commit_to(2)
    with pytest.raises(AssertionError, match="never replaced"):
        raft.log.append(entries(2, first=2))


def test_a_leader_never_removes_an_entry_of_its_own() -> None:
    raft = core("a", found("abc", 1, 1), PLAIN)
    elect(raft)
    before = terms_of(raft)
    say(raft, _append(2, (0, 0), [2, 2, 2, 2]))
    assert terms_of(raft) == before


def test_a_refusal_skips_a_whole_term_at_a_time() -> None:
    """Section 5.3: one refusal for each term in conflict instead of one for each entry, here on both sides."""
    leader = core("a", found("ab", *[1] * 50, *[4] * 50), PLAIN)
    follower = core("b", found("ab", *[1] * 30, *[2] * 40, *[3] * 200), PLAIN)
    sent, refused = elect(leader), 0
    while sent:
        answers = say(follower, *sent)
        refused += sum(isinstance(answer, AppendReply) and answer.rejected for answer in answers)
        sent = say(leader, *answers)
    assert terms_of(follower) == terms_of(leader)
    assert refused <= 3


_FIGURE_7 = {
    "a": "111445566",
    "b": "1114",
    "c": "11144556666",
    "d": "111445566677",
    "e": "1114444",
    "f": "11122233333",
}


@pytest.mark.parametrize("name", list(_FIGURE_7))
def test_figure_7_the_new_leader_brings_every_follower_to_its_own_log(name: str) -> None:
    theirs = [int(term) for term in _FIGURE_7[name]]
    cluster = Cluster(
        ["leader", name, "third"],
        config=PLAIN,
        found={
            "leader": found(["leader", name, "third"], 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, term=7),
            name: found(["leader", name, "third"], *theirs, term=7),
        },
    )
    leader = cluster["leader"]
    leader.raft.campaign()
    leader.work()
    cluster.until(lambda: cluster[name].raft.log.committed == 11, within=50)
    assert terms_of(cluster[name].raft) == terms_of(leader.raft) == [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8]
    cluster.check_logs()


def test_figure_7_the_leader_of_term_8_can_be_elected_by_a_b_e_and_f() -> None:
    """It needs four of seven; c and d have more than it has, and refuse."""
    names = ["leader", *_FIGURE_7]
    leader = core("leader", found(names, 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, term=7), PLAIN)
    leader.campaign()
    granted = set()
    for message in drain(leader):
        theirs = [int(term) for term in _FIGURE_7[message.to]]
        answers = say(core(message.to, found(names, *theirs, term=7), PLAIN), message)
        granted |= {answer.sender for answer in answers if getattr(answer, "granted", False)}
    assert granted == {"a", "b", "e", "f"}


def test_an_answer_beyond_the_leader_s_log_is_not_believed() -> None:
    raft = core("a", found(), PLAIN)
    elect(raft)
    say(raft, *(AppendReply(sender=name, to="a", term=1, index=99) for name in "bc"))
    assert raft.log.committed == 0


def test_an_answer_of_an_earlier_term_is_not_credited() -> None:
    raft = core("a", found("abc", 1, 1), PLAIN)
    elect(raft)
    say(raft, *(AppendReply(sender=name, to="a", term=1, index=2) for name in "bc"))
    assert {peer.match for peer in leading(raft).peers_status().values()} == {0}


def test_an_answer_of_who_is_not_in_the_cluster_is_not_counted() -> None:
    raft = core("a", found("abcde"), PLAIN)
    elect(raft)
    say(raft, *(AppendReply(sender=name, to="a", term=1, index=1) for name in ("b", "x", "y", "z")))
    assert raft.log.committed == 0


def test_a_learner_gets_everything_and_counts_for_nothing() -> None:
    assert members("ab", "c") == Membership({"a": "a:1", "b": "b:1"}, {"c": "c:1"})
    raft = core("a", found("ab", learners="c"), PLAIN)
    sent = elect(raft)
    assert {message.to for message in sent} == {"b", "c"}
    say(raft, AppendReply(sender="c", to="a", term=1, index=1))
    assert raft.log.committed == 0
    say(raft, AppendReply(sender="b", to="a", term=1, index=1))
    assert raft.log.committed == 1
