"""Reads that see everything that was committed before they were asked for (thesis section 6.4)."""

from __future__ import annotations

from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.messages import Append, AppendReply, Heartbeat, HeartbeatReply, Vote
from leasekit.backends.raft.core.types import ReadReady, Role
from support.raft import CONFIG, PLAIN, Cluster, core, drain, elect, found, leading, pass_ticks, say, work


def _has(name: str, index: int, term: int = 1) -> AppendReply:
    return AppendReply(sender=name, to="a", term=term, index=index)


def _leader(voters: str = "abc", learners: str = "") -> Raft:
    raft = core("a", found(voters, learners=learners))
    elect(raft)
    say(raft, *(_has(name, 1) for name in voters if name != "a"))
    return raft


def _round(raft: Raft) -> int:
    """The round that the leader asks to be confirmed now."""
    return max(message.round for message in drain(raft) if isinstance(message, Heartbeat))


def _hears(raft: Raft, name: str, read_round: int) -> list[ReadReady]:
    raft.step(HeartbeatReply(sender=name, to="a", term=raft.term, round=read_round))
    return [read for ready in work(raft) for read in ready.reads]


def test_a_read_is_answered_once_a_majority_confirms_the_leader() -> None:
    raft = _leader("abcde")
    leading(raft).read("r")
    asked = _round(raft)
    assert _hears(raft, "b", asked) == []
    assert _hears(raft, "b", asked) == [], "the same one twice"
    assert _hears(raft, "c", asked) == [ReadReady("r", 1)]
    assert _hears(raft, "d", asked) == []


def test_an_answer_to_a_heartbeat_from_before_the_read_confirms_nothing() -> None:
    raft = _leader()
    before = max(m.round for m in pass_ticks(raft, CONFIG.heartbeat_ticks) if isinstance(m, Heartbeat))
    leading(raft).read("r")
    asked = _round(raft)
    assert _hears(raft, "b", before) == []
    assert _hears(raft, "b", asked) == [ReadReady("r", 1)]


def test_a_later_round_confirms_earlier_reads_in_their_order() -> None:
    raft = _leader()
    leading(raft).read("one")
    drain(raft)
    leading(raft).propose(b"x")
    drain(raft)
    say(raft, _has("b", 2))
    leading(raft).read("two")
    assert _hears(raft, "c", _round(raft)) == [ReadReady("one", 1), ReadReady("two", 2)]


def test_many_reads_cost_one_round() -> None:
    raft = _leader()
    for number in range(100):
        leading(raft).read(number)
    sent = drain(raft)
    assert [message.to for message in sent if isinstance(message, Heartbeat)] == ["b", "c"]


def test_a_read_waits_until_an_entry_of_this_term_is_committed() -> None:
    """Before that the leader does not know what its predecessors committed."""
    raft = core("a", found("abc", 1, 1))
    elect(raft)
    leading(raft).read("r")
    assert _hears(raft, "b", 0) == _hears(raft, "c", 0) == []
    raft.step(_has("b", 3, term=2))
    assert _hears(raft, "b", _round(raft)) == [ReadReady("r", 3)]


def test_learners_and_strangers_confirm_nothing() -> None:
    raft = _leader("abc", "l")
    leading(raft).read("r")
    asked = _round(raft)
    assert _hears(raft, "l", asked) == _hears(raft, "stranger", asked) == []


def test_alone_a_read_needs_nobody() -> None:
    raft = core("a", found("a"))
    raft.campaign()
    drain(raft)
    leading(raft).read("r")
    assert [read for ready in work(raft) for read in ready.reads] == [ReadReady("r", 1)]


def test_who_leads_no_more_says_which_reads_are_lost() -> None:
    raft = core("a", found("abc", 1), PLAIN)
    elect(raft)
    leading(raft).read("early")
    raft.step(_has("b", 2, term=2))
    drain(raft)
    leading(raft).read("asked")
    drain(raft)
    leading(raft).read("unasked")
    raft.step(Vote(sender="b", to="a", term=9, last_index=9, last_term=9))
    lost = [context for ready in work(raft) for context in ready.lost_reads]
    assert sorted(map(str, lost)) == ["asked", "early", "unasked"]


def test_an_answer_to_an_earlier_leadership_confirms_nothing() -> None:
    raft = _leader()
    leading(raft).read("old")
    old = _round(raft)
    say(raft, Append(sender="b", to="a", term=2, previous_index=1, previous_term=1, entries=(), commit=1))
    elect(raft)
    say(raft, _has("b", 2, term=3))
    leading(raft).read("new")
    drain(raft)
    raft.step(HeartbeatReply(sender="b", to="a", term=1, round=old + 9))
    assert [read for ready in work(raft) for read in ready.reads] == []


def test_a_deposed_leader_answers_no_read() -> None:
    """It does not know yet: it is cut off with a minority, the others write, and it is asked."""
    cluster = Cluster("abcde")
    old = cluster.leader()
    cluster.agree(b"x")
    friend, *others = [name for name in "abcde" if name != old.name]
    cluster.isolate(old.name, friend)
    cluster.agree(b"y", on=others)
    if old.raft.role is Role.LEADER:
        leading(old.raft).read("stale")
        old.work()
    cluster.tick(5 * CONFIG.election_ticks)
    assert old.reads == []
    cluster.heal()
    cluster.tick(5 * CONFIG.election_ticks)
    assert old.reads == []


def test_reads_never_miss_what_was_committed_before_them_whatever_the_network_does() -> None:
    for seed in range(8):
        cluster = Cluster("abc", seed=seed)
        cluster.loss, cluster.delay_ticks, cluster.straggle = 0.1, (1, 4), 0.05
        needed: dict[int, int] = {}
        for number in range(200):
            if number % 40 == 20:
                cluster.heal()
                cluster.isolate("abc"[cluster.random.randrange(3)])
            committed = max(member.raft.log.committed for member in cluster.members.values())
            for member in cluster.leaders():
                needed[number] = committed
                leading(member.raft).read(number)
                member.work()
                break
            if cluster.leaders():
                cluster.propose(b"%d" % number, cluster.leaders()[0])
            cluster.tick(cluster.random.randint(1, 6))
        cluster.heal()
        cluster.tick(200)
        answered = [read for member in cluster.members.values() for read in member.reads]
        assert len(answered) > 50
        for read in answered:
            assert isinstance(read.context, int)
            assert read.index >= needed[read.context]
        lost = [context for member in cluster.members.values() for context in member.lost_reads]
        assert {read.context for read in answered} | set(lost) == set(needed)
