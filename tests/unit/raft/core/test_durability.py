"""What rests on the disk leaves only when it is durable, and what is durable is never given away (paper figure 2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from leasekit.backends.raft.core.types import HardState, Role
from support.raft import CONFIG, PLAIN, core, drain, elect, entries, found, leading, pass_ticks, say, terms_of

_PATIENCE = CONFIG.election_ticks + CONFIG.spread_ticks
"""For so many ticks a write may take."""


def _append(term: int, previous: tuple[int, int], *terms: int, commit: int = 0) -> Append:
    new = entries(*terms, first=previous[0] + 1)
    return Append(
        sender="b", to="a", term=term, previous_index=previous[0], previous_term=previous[1], entries=new, commit=commit
    )


def test_a_vote_is_given_once_it_is_durable() -> None:
    raft = core("a", found())
    raft.step(Vote(sender="b", to="a", term=1, last_index=0, last_term=0))
    ready = raft.ready()
    assert ready.messages == ()
    assert ready.write is not None
    assert ready.write.hard_state == HardState(1, "b", 0)
    raft.persisted(ready.write.number)
    assert raft.ready().messages == (VoteReply(sender="a", to="b", term=1, granted=True),)


def test_a_candidate_asks_for_votes_once_its_own_is_durable() -> None:
    """Otherwise, after a crash, it could ask in the same term again, be elected twice in it, with different logs."""
    raft = core("a", found(), PLAIN)
    raft.campaign()
    ready = raft.ready()
    assert ready.messages == ()
    assert ready.write is not None
    assert ready.write.hard_state == HardState(1, "a", 0)
    raft.persisted(ready.write.number)
    assert {message.to for message in raft.ready().messages} == {"b", "c"}


def test_a_member_that_the_leader_hands_over_to_asks_for_votes_once_its_own_is_durable() -> None:
    raft = core("a", found(term=3))
    say(raft, Heartbeat(sender="b", to="a", term=3, commit=0, round=0))
    raft.step(TimeoutNow(sender="b", to="a", term=3))
    ready = raft.ready()
    assert ready.messages == ()
    assert ready.write is not None
    raft.persisted(ready.write.number)
    assert all(isinstance(message, Vote) and message.transfer for message in drain(raft))


def test_a_single_voter_leads_and_commits_only_what_is_durable() -> None:
    raft = core("a", found("a"))
    raft.campaign()
    ready = raft.ready()
    assert raft.role is Role.CANDIDATE
    assert ready.write is not None
    raft.persisted(ready.write.number)
    assert raft.status().role is Role.LEADER
    index = leading(raft).propose(b"x")
    ready = raft.ready()
    assert ready.committed == ()
    assert raft.log.committed == 0
    assert ready.write is not None
    raft.persisted(ready.write.number)
    assert raft.log.committed == index
    assert [entry.data for entry in raft.ready().committed] == [b"", b"x"]


def test_entries_are_acknowledged_once_they_are_durable() -> None:
    raft = core("a", found())
    raft.step(_append(1, (0, 0), 1, 1))
    ready = raft.ready()
    assert ready.messages == ()
    assert ready.write is not None
    assert ready.write.entries == entries(1, 1)
    raft.persisted(ready.write.number)
    assert raft.ready().messages == (AppendReply(sender="a", to="b", term=1, index=2),)


def test_repeated_entries_are_acknowledged_no_sooner() -> None:
    """The second request brings nothing to write: its answer rests on the first one's write all the same."""
    raft = core("a", found())
    raft.step(_append(1, (0, 0), 1, 1))
    write = raft.ready().write
    assert write is not None
    raft.step(_append(1, (0, 0), 1, 1))
    assert raft.ready().messages == ()
    raft.persisted(write.number)
    assert len(raft.ready().messages) == 2


def test_a_leader_sends_entries_while_it_writes_them() -> None:
    """Thesis section 10.2.1: the leader's disk and the network work side by side."""
    raft = core("a", found())
    elect(raft)
    say(raft, *(AppendReply(sender=name, to="a", term=1, index=1) for name in "bc"))
    leading(raft).propose(b"x")
    ready = raft.ready()
    assert {message.to for message in ready.messages if isinstance(message, Append) and message.entries} == {"b", "c"}
    assert ready.write is not None


def test_a_leader_counts_itself_once_its_entry_is_durable() -> None:
    raft = core("a", found())
    elect(raft)
    say(raft, *(AppendReply(sender=name, to="a", term=1, index=1) for name in "bc"))
    leading(raft).propose(b"x")
    write = raft.ready().write
    assert write is not None
    raft.step(AppendReply(sender="b", to="a", term=1, index=2))
    assert raft.log.committed == 1, "of three, one has it"
    raft.persisted(write.number)
    assert raft.log.committed == 2


def test_an_entry_that_the_others_have_is_committed_and_applied_when_it_is_durable_here() -> None:
    raft = core("a", found())
    elect(raft)
    say(raft, *(AppendReply(sender=name, to="a", term=1, index=1) for name in "bc"))
    leading(raft).propose(b"x")
    write = raft.ready().write
    assert write is not None
    for name in "bc":
        raft.step(AppendReply(sender=name, to="a", term=1, index=2))
    assert raft.log.committed == 2
    assert raft.ready().committed == ()
    raft.persisted(write.number)
    assert [entry.index for entry in raft.ready().committed] == [2]


def test_a_write_that_ends_late_says_nothing_of_what_replaced_its_entries() -> None:
    """ABA: an entry is written, replaced, and put back by a later term at the same place, while the disk is slow."""
    raft = core("a", found())
    raft.step(_append(1, (0, 0), 1, 1, 1))
    first = raft.ready().write
    raft.step(_append(2, (1, 1), 2))
    second = raft.ready().write
    raft.step(_append(3, (1, 1), 3, 3))
    third = raft.ready().write
    assert first is not None and second is not None and third is not None
    raft.persisted(first.number)
    assert raft.log.stable == 1
    assert not [m for m in raft.ready().messages if isinstance(m, AppendReply) and m.index > 1]
    raft.persisted(second.number)
    assert raft.log.stable == 1
    assert not [m for m in raft.ready().messages if isinstance(m, AppendReply) and m.index > 1]
    raft.persisted(third.number)
    assert raft.log.stable == 3
    assert raft.ready().messages == (AppendReply(sender="a", to="b", term=3, index=3),)


def test_an_answer_of_an_earlier_term_is_not_given_any_more() -> None:
    raft = core("a", found(), PLAIN)
    raft.step(_append(1, (0, 0), 1))
    write = raft.ready().write
    raft.step(Vote(sender="c", to="a", term=2, last_index=5, last_term=1))
    later = raft.ready().write
    assert write is not None and later is not None
    raft.persisted(later.number)
    assert [type(message) for message in raft.ready().messages] == [VoteReply]


def test_while_the_disk_hangs_waiting_costs_nothing() -> None:
    raft = core("a", found())
    raft.step(_append(1, (0, 0), 1))
    raft.ready()
    for _ in range(1000):
        raft.step(Heartbeat(sender="b", to="a", term=1, commit=0, round=0))
        assert [type(message) for message in raft.ready().messages] == [HeartbeatReply]
    assert len(raft._held) == 1


def test_a_leader_whose_disk_hangs_takes_only_so_much_more() -> None:
    """The others commit without it, so that what waits for its own disk has to be counted as well."""
    raft = core("a", found(), replace(CONFIG, max_uncommitted_bytes=1000, max_inflight=1000))
    elect(raft)
    say(raft, *(AppendReply(sender=name, to="a", term=1, index=1) for name in "bc"))
    for _ in range(8):
        index = leading(raft).propose(b"x" * 100)
        write = raft.ready().write
        for name in "bc":
            raft.step(AppendReply(sender=name, to="a", term=1, index=index))
        assert raft.log.committed == index
    with pytest.raises(NotNow, match="this member's disk"):
        leading(raft).propose(b"x")
    assert write is not None
    raft.persisted(write.number)
    leading(raft).propose(b"x")


def _lead_with_a_write(voters: str = "abc") -> tuple[Raft, int]:
    """A leader with all its followers' answers, and the number of a write that its disk has been given."""
    raft = core("a", found(voters))
    elect(raft)
    leading(raft).propose(b"x")
    write = raft.ready().write
    assert write is not None
    return raft, write.number


def _hear_all(raft: Raft) -> None:
    for name in "bc":
        raft.step(HeartbeatReply(sender=name, to="a", term=raft.term, round=0))


def test_a_leader_whose_disk_hangs_gives_way() -> None:
    """What is not durable here is not applied here: while it leads nobody is answered, whatever the others have."""
    raft, _ = _lead_with_a_write()
    for _ in range(_PATIENCE):
        assert raft.role is Role.LEADER
        _hear_all(raft)
        raft.tick()
    assert raft.role is Role.FOLLOWER


def test_who_gave_way_for_its_disk_campaigns_once_that_is_back() -> None:
    raft, number = _lead_with_a_write()
    for _ in range(10 * _PATIENCE):
        raft.tick()
        assert raft.ballot is None
    raft.persisted(number)
    pass_ticks(raft, _PATIENCE)
    assert raft.role is Role.PRE_CANDIDATE


def test_a_leader_whose_disk_is_slow_but_goes_on_leads_on() -> None:
    raft, number = _lead_with_a_write()
    for _ in range(5):
        for _ in range(_PATIENCE - 1):
            _hear_all(raft)
            raft.tick()
        # Not the last: there is always more.
        leading(raft).propose(b"y")
        write = raft.ready().write
        assert write is not None
        raft.persisted(number)
        number = write.number
    assert raft.role is Role.LEADER


def test_a_single_voter_waits_for_its_disk_for_nobody_else_could_lead() -> None:
    raft, _ = _lead_with_a_write("a")
    for _ in range(2 * _PATIENCE):
        raft.tick()
    assert raft.role is Role.LEADER


def test_a_member_never_starts_in_an_earlier_term_than_its_log_s() -> None:
    """A crash may keep a write's entries and lose its term: then the log tells the term."""
    raft = core("a", found("abc", 1, 1, 4, term=2, vote="b"))
    assert (raft.term, raft.vote) == (4, None)
    assert terms_of(raft) == [1, 1, 4]
    # And the disk is told, before anything is said in that term.
    write = raft.ready().write
    assert write is not None
    assert write.hard_state == HardState(4, None)


def test_a_vote_is_not_forgotten_by_a_restart() -> None:
    raft = core("a", found(term=3, vote="b"))
    assert say(raft, Vote(sender="c", to="a", term=3, last_index=9, last_term=3)) == [
        VoteReply(sender="a", to="c", term=3, granted=False)
    ]
    assert say(raft, Vote(sender="b", to="a", term=3, last_index=9, last_term=3)) == [
        VoteReply(sender="a", to="b", term=3, granted=True)
    ]


def test_an_answer_to_a_pre_vote_needs_no_disk_for_it_promises_nothing() -> None:
    raft = core("a", found(term=3))
    raft.campaign()
    assert raft.ready().write is None
    raft.step(PreVoteReply(sender="b", to="a", term=4, granted=True))
    assert raft.role is Role.CANDIDATE
