"""When an entry is committed: sections 5.3 and 5.4.2 of the Raft paper, and its figure 8."""

from __future__ import annotations

import pytest

from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.messages import Append, AppendReply, Message, VoteReply
from leasekit.backends.raft.core.types import Role
from support.raft import PLAIN, core, drain, elect, found, leading, say, terms_of, work


def _has(name: str, index: int, term: int = 1) -> AppendReply:
    return AppendReply(sender=name, to="a", term=term, index=index)


@pytest.mark.parametrize(
    ("voters", "acknowledging", "committed"),
    [
        ("a", "", True),
        ("abc", "", False),
        ("abc", "b", True),
        ("abcd", "b", False),
        ("abcd", "bc", True),
        ("abcde", "b", False),
        ("abcde", "bd", True),
    ],
)
def test_an_entry_is_committed_once_a_majority_has_it(voters: str, acknowledging: str, committed: bool) -> None:
    raft = core("a", found(voters), PLAIN)
    elect(raft)
    say(raft, *(_has(name, 1) for name in voters if name != "a"))
    index = leading(raft).propose(b"x")
    drain(raft)
    say(raft, *(_has(name, index) for name in acknowledging))
    assert (raft.log.committed == index) is committed


def test_what_is_committed_is_applied_in_order_and_once() -> None:
    raft = core("a", found("abc", 1, 1), PLAIN)
    elect(raft)
    indexes = [leading(raft).propose(data) for data in (b"x", b"y", b"z")]
    work(raft)
    raft.step(_has("b", indexes[1], term=2))
    applied = [entry.index for ready in work(raft) for entry in ready.committed]
    raft.step(_has("c", indexes[2], term=2))
    raft.step(_has("b", indexes[2], term=2))
    applied += [entry.index for ready in work(raft) for entry in ready.committed]
    assert applied == [1, 2, 3, 4, 5, 6]


def test_followers_hear_what_is_committed() -> None:
    raft = core("a", found(), PLAIN)
    elect(raft)
    told = [m for m in say(raft, _has("b", 1), _has("c", 1)) if isinstance(m, Append)]
    assert {(message.to, message.commit) for message in told} == {("b", 1), ("c", 1)}


@pytest.mark.parametrize("committed_by", [1, 2, 3])
def test_entries_of_earlier_terms_are_not_committed_by_counting_but_along_with_one_of_this_term(
    committed_by: int,
) -> None:
    raft = core("a", found("abc", 1, 2, term=2), PLAIN)
    elect(raft)
    say(raft, _has("b", committed_by, term=3))
    assert raft.log.committed == (3 if committed_by == 3 else 0)


def test_an_acknowledgement_that_comes_twice_counts_once() -> None:
    raft = core("a", found("abcde"), PLAIN)
    elect(raft)
    say(raft, *[_has("b", 1)] * 4)
    assert raft.log.committed == 0


# Figure 8, with S1 to S5 as a to e.


def _votes(raft: Raft, *from_: str) -> list[Message]:
    raft.campaign()
    drain(raft)
    sent = say(raft, *(VoteReply(sender=name, to=raft.id, term=raft.term, granted=True) for name in from_))
    assert raft.role is Role.LEADER
    return sent


def _figure_8_c() -> tuple[dict[str, Raft], list[Message]]:
    """S1 leads term 2 and brings its entry to S2; S5 leads term 3; S1 leads term 4: all members, and what S1 sends."""
    logs = {"a": (1, 2), "b": (1, 2), "c": (1,), "d": (1,), "e": (1, 3)}
    terms = {"a": 3, "b": 3, "c": 3, "d": 3, "e": 3}
    cores = {name: core(name, found("abcde", *log, term=terms[name]), PLAIN) for name, log in logs.items()}
    leader = cores["a"]
    sent = _votes(leader, "b", "c")
    assert (leader.term, terms_of(leader)) == (4, [1, 2, 4])
    return cores, sent


def test_figure_8_c_an_entry_of_term_2_on_a_majority_is_not_committed_in_term_4() -> None:
    leader = _figure_8_c()[0]["a"]
    say(leader, _has("b", 2, term=4), _has("c", 2, term=4))
    assert leader.log.committed < 2


def test_figure_8_d1_it_may_be_overwritten_by_the_leader_of_term_5() -> None:
    cores, _ = _figure_8_c()
    # S1's entry of term 2 reaches S3, its own of term 4 nobody, and it crashes.
    say(cores["c"], Append(sender="a", to="c", term=4, previous_index=0, previous_term=0,
                           entries=cores["a"].log.entries(1, 2, 1 << 20), commit=0))  # fmt: skip
    assert terms_of(cores["c"]) == [1, 2]
    last = cores["e"]
    last.campaign()  # in term 4, in which nobody votes for it
    drain(last)
    last.campaign()
    requests = {message.to: message for message in drain(last)}
    answers = [answer for name in "bcd" for answer in say(cores[name], requests[name])]
    sent = say(last, *answers)
    assert (last.role, last.term) == (Role.LEADER, 5)
    while sent:
        answers = [answer for message in sent if message.to in "bcd" for answer in say(cores[message.to], message)]
        sent = say(last, *answers)
    assert [terms_of(cores[name]) for name in "bcd"] == [[1, 3, 5]] * 3
    assert last.log.committed == 3


def test_figure_8_d2_once_the_entry_of_term_4_is_on_a_majority_the_other_cannot_win() -> None:
    cores, sent = _figure_8_c()
    leader = cores["a"]
    while sent:
        answers = [answer for message in sent if message.to in "bc" for answer in say(cores[message.to], message)]
        sent = say(leader, *answers)
    assert leader.log.committed == 3
    assert terms_of(cores["c"]) == [1, 2, 4]
    last = cores["e"]
    for _ in range(3):
        last.campaign()
        requests = drain(last)
        say(last, *(answer for message in requests for answer in say(cores[message.to], message)))
        assert last.role is not Role.LEADER
