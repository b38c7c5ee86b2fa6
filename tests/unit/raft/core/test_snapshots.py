"""Snapshots: taken, sent in pieces, lost on the way, and put in place of the log (paper section 7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leasekit.backends.raft.core.messages import Append, AppendReply, Heartbeat, SnapshotPiece, SnapshotReply
from leasekit.backends.raft.core.types import Role, SnapshotMeta
from support.raft import (
    CONFIG,
    Cluster,
    core,
    drain,
    elect,
    entries,
    found,
    leading,
    members,
    pass_ticks,
    say,
    terms_of,
    work,
)

_META = SnapshotMeta(5, 2, members("abc"))
_SMALL = replace(CONFIG, snapshot_piece_bytes=7)


def _piece(
    offset: int, data: bytes, size: int = 6, term: int = 3, sender: str = "b", meta: SnapshotMeta = _META
) -> SnapshotPiece:
    return SnapshotPiece(sender=sender, to="a", term=term, meta=meta, offset=offset, data=data, size=size)


# Receiving.


def test_pieces_make_a_snapshot_which_counts_once_it_is_durable() -> None:
    raft = core("a", found())
    assert say(raft, _piece(0, b"abc")) == [SnapshotReply(sender="a", to="b", term=3, index=5, offset=3)]
    raft.step(_piece(3, b"def"))
    ready = raft.ready()
    assert (ready.messages, ready.restore) == ((), None)
    assert ready.write is not None and ready.write.snapshot is not None
    assert (ready.write.snapshot.meta, ready.write.snapshot.data) == (_META, b"abcdef")
    raft.persisted(ready.write.number)
    ready = raft.ready()
    assert ready.restore is not None and ready.restore.data == b"abcdef"
    assert ready.messages == (AppendReply(sender="a", to="b", term=3, index=5),)
    assert (raft.log.applied, raft.log.committed, raft.log.last_index) == (5, 5, 5)


def test_pieces_may_come_twice_and_too_early() -> None:
    raft = core("a", found())
    sent = say(raft, _piece(3, b"def"), _piece(0, b"abc"), _piece(0, b"abc"), _piece(5, b"f"))
    assert [message.offset for message in sent if isinstance(message, SnapshotReply)] == [0, 3, 3, 3]
    raft.step(_piece(3, b"def"))
    assert [ready.restore.data for ready in work(raft) if ready.restore] == [b"abcdef"]


def test_pieces_of_two_leaders_are_not_mixed() -> None:
    """The same state need not look the same in bytes: another leader's snapshot begins anew."""
    raft = core("a", found())
    say(raft, _piece(0, b"abc"))
    assert say(raft, _piece(3, b"DEF", term=4, sender="c")) == [
        SnapshotReply(sender="a", to="c", term=4, index=5, offset=0)
    ]
    for piece in (_piece(0, b"ABC", term=4, sender="c"), _piece(3, b"DEF", term=4, sender="c")):
        raft.step(piece)
    assert [ready.restore.data for ready in work(raft) if ready.restore] == [b"ABCDEF"]


def test_a_later_snapshot_takes_the_place_of_one_that_is_not_whole() -> None:
    raft = core("a", found())
    later = SnapshotMeta(9, 2, members("abcd"))
    say(raft, _piece(0, b"abc"), _piece(0, b"later!", meta=later))
    assert (raft.log.last_index, set(raft.membership.voters)) == (9, set("abcd"))


def test_a_snapshot_that_the_log_agrees_with_keeps_what_comes_behind() -> None:
    """Section 7: same index and term means all before is the same, and what follows may be acknowledged already."""
    raft = core("a", found("abc", 1, 1, 1, 2, 2, 2, 2))
    assert say(raft, _piece(0, b"abc")) == [AppendReply(sender="a", to="b", term=3, index=5)]
    assert terms_of(raft) == [1, 1, 1, 2, 2, 2, 2]
    assert raft.log.committed == 5


@pytest.mark.parametrize("terms", [(1,), (1, 1, 1, 1, 1, 1, 1)])
def test_a_snapshot_that_the_log_disagrees_with_replaces_it(terms: tuple[int, ...]) -> None:
    raft = core("a", found("abc", *terms))
    raft.step(_piece(0, b"abcdef"))
    ready = raft.ready()
    assert (ready.restore, ready.messages) == (None, ()), "not before it is durable, whatever was"
    assert ready.write is not None
    raft.persisted(ready.write.number)
    assert drain(raft) == [AppendReply(sender="a", to="b", term=3, index=5)]
    assert (terms_of(raft), raft.log.last_index, raft.log.last_term) == ([], 5, 2)


def test_an_older_snapshot_is_answered_with_what_is_committed() -> None:
    raft = core("a", found("abc", 3, base=(6, 2), commit=7))
    assert say(raft, _piece(0, b"abcdef")) == [AppendReply(sender="a", to="b", term=3, index=7)]
    assert raft.log.last_index == 7


def test_a_request_from_before_all_entries_does_not_bring_back_what_was_compacted() -> None:
    raft = core("a", found("abc", 3, base=(5, 2), commit=6))
    late = Append(
        sender="b", to="a", term=3, previous_index=0, previous_term=0, entries=entries(1, 1, 1, 2, 2, 3, 3), commit=7
    )
    assert say(raft, late) == [AppendReply(sender="a", to="b", term=3, index=6)]
    assert (raft.log.base.index, terms_of(raft)) == (5, [3])


def test_a_half_received_snapshot_is_forgotten_once_it_is_of_no_use() -> None:
    raft = core("a", found())
    say(raft, _piece(0, b"abc"))
    say(raft, Append(sender="b", to="a", term=3, previous_index=0, previous_term=0,
                     entries=entries(1, 1, 1, 2, 2), commit=5))  # fmt: skip
    assert raft.incoming.meta is None
    assert not raft.incoming.data


def test_a_snapshot_too_big_to_hold_is_not_received() -> None:
    raft = core("a", found(), replace(CONFIG, max_snapshot_bytes=100))
    assert say(raft, _piece(0, b"abc", size=101)) == []
    assert not raft.incoming.data


def test_a_member_that_becomes_a_snapshot_does_not_campaign_before_it_is() -> None:
    raft = core("a", found())
    raft.step(_piece(0, b"abcdef"))
    raft.ready()
    for _ in range(5 * CONFIG.election_ticks):
        raft.tick()
    assert (raft.role, raft.ready().messages) == (Role.FOLLOWER, ())


def test_entries_may_follow_a_snapshot_that_is_still_being_written() -> None:
    raft = core("a", found("abc", 1))
    raft.step(_piece(0, b"abcdef"))
    first = raft.ready().write
    raft.step(Append(sender="b", to="a", term=3, previous_index=5, previous_term=2,
                     entries=entries(3, first=6), commit=6))  # fmt: skip
    second = raft.ready()
    assert first is not None and second.write is not None
    assert (second.committed, second.restore) == ((), None)
    raft.persisted(first.number)
    ready = raft.ready()
    assert (ready.restore is not None, ready.committed) == (True, ())
    raft.persisted(second.write.number)
    ready = raft.ready()
    assert [entry.index for entry in ready.committed] == [6]
    assert ready.messages == (AppendReply(sender="a", to="b", term=3, index=6),)


def test_a_second_snapshot_may_come_while_the_first_is_being_written() -> None:
    raft = core("a", found())
    raft.step(_piece(0, b"abcdef"))
    first = raft.ready().write
    raft.step(_piece(0, b"later!", meta=SnapshotMeta(9, 3, members("abc"))))
    second = raft.ready().write
    assert first is not None and second is not None
    raft.persisted(first.number)
    assert raft.ready().restore is None
    raft.persisted(second.number)
    restored = raft.ready().restore
    assert restored is not None and restored.data == b"later!"


def test_a_write_of_entries_that_ends_late_says_nothing_of_the_snapshot_that_replaced_them() -> None:
    raft = core("a", found())
    late = Append(sender="b", to="a", term=1, previous_index=0, previous_term=0, entries=entries(*[1] * 9), commit=0)
    raft.step(late)
    first = raft.ready().write
    raft.step(_piece(0, b"abcdef"))
    second = raft.ready().write
    assert first is not None and second is not None
    raft.persisted(first.number)
    ready = raft.ready()
    assert (ready.restore, ready.messages) == (None, ())
    raft.persisted(second.number)
    assert raft.ready().restore is not None


def test_both_a_snapshot_and_what_follows_it_are_handed_out_in_that_order() -> None:
    raft = core("a", found())
    raft.step(_piece(0, b"abcdef"))
    raft.step(Append(sender="b", to="a", term=3, previous_index=5, previous_term=2,
                     entries=entries(3, first=6), commit=6))  # fmt: skip
    done = work(raft)
    assert [
        (ready.restore is not None, len(ready.committed)) for ready in done if ready.restore or ready.committed
    ] == [(True, 1)]


def test_a_heartbeat_from_before_the_snapshot_takes_nothing_back() -> None:
    raft = core("a", found())
    say(raft, _piece(0, b"abcdef"), Heartbeat(sender="b", to="a", term=3, commit=0, round=0))
    assert raft.log.committed == 5


# Sending.


def _behind(**of_network: float) -> Cluster:
    """Three members, of which `c` was away while the others forgot what it misses."""
    cluster = Cluster("abc", config=_SMALL, seed=5)
    cluster.isolate("c")
    for number in range(20):
        cluster.agree(b"command %d" % number, on="ab")
    for name in "ab":
        cluster[name].compact()
    assert cluster.leader(among="ab").raft.log.base.index >= 20
    for name, value in of_network.items():
        setattr(cluster, name, value)
    cluster.heal()
    return cluster


def test_who_misses_what_was_compacted_gets_the_snapshot_and_then_entries() -> None:
    cluster = _behind()
    cluster.agree(b"last")
    assert cluster["c"].commands == cluster["a"].commands
    assert cluster.sent["SnapshotPiece"] > 20
    cluster.check_logs()


def test_a_snapshot_is_sent_once_where_nothing_is_lost() -> None:
    cluster = _behind()
    before = cluster.bytes_sent
    cluster.agree(b"last")
    size = len(b"\n".join(cluster["a"].commands))
    assert cluster.bytes_sent - before < 1.2 * size + 1000


@pytest.mark.parametrize("ticks", [3, 9])
def test_a_slow_link_is_not_made_slower_by_sending_everything_several_times(ticks: int) -> None:
    """A round trip of three to nine heartbeats."""
    cluster = _behind()
    cluster.config = _SMALL
    for member in cluster.members.values():
        member.raft.config = replace(_SMALL, election_ticks=200)
    cluster.delay_ticks = (ticks, ticks)
    sent = cluster.sent["SnapshotPiece"]
    cluster.agree(b"last", within=20_000)
    pieces = len(b"\n".join(cluster["a"].commands)) // 7 + 1
    assert cluster.sent["SnapshotPiece"] - sent <= 1.2 * pieces


def test_pieces_lost_late_and_out_of_order_are_made_good() -> None:
    for seed in range(10):
        cluster = _behind(loss=0.2, straggle=0.1)
        cluster.random.seed(seed)
        cluster.agree(b"last", within=20_000)
        assert cluster["c"].commands[:20] == cluster["a"].commands[:20]


def test_the_receiver_may_crash_at_any_piece() -> None:
    for ticks in range(1, 60, 6):
        cluster = _behind()
        cluster.tick(ticks)
        cluster["c"].crash()
        cluster.tick(3)
        cluster["c"].start()
        cluster.agree(b"last")
        assert cluster["c"].commands == cluster["a"].commands


def test_the_sender_may_crash_at_any_piece() -> None:
    for ticks in range(1, 60, 6):
        cluster = _behind()
        cluster.tick(ticks)
        leader = cluster.leader()
        leader.crash()
        rest = [name for name in "abc" if name != leader.name]
        cluster.agree(b"last", on=rest)
        leader.start()
        cluster.agree(b"very last")
        assert cluster["c"].commands == cluster["a"].commands


def test_the_sender_may_take_newer_snapshots_meanwhile() -> None:
    cluster = _behind()
    for number in range(20):
        cluster.agree(b"more %d" % number, on="ab")
        cluster["a"].compact()
        cluster["b"].compact()
        cluster.tick(2)
    cluster.agree(b"last")
    assert cluster["c"].commands == cluster["a"].commands


def test_a_learner_that_was_cut_off_from_an_empty_log_gets_the_snapshot() -> None:
    cluster = Cluster("abc", learners="d", config=_SMALL)
    cluster.isolate("d")
    cluster.agree(b"x", on="abc")
    cluster.tick(50)
    for name in "abc":
        cluster[name].compact()
    cluster.heal()
    cluster.until(lambda: cluster["d"].commands == [b"x"])


def test_a_snapshot_brings_the_membership_along() -> None:
    cluster = Cluster("abc", config=_SMALL)
    leader = cluster.leader()
    cluster.agree(b"x")
    leading(leader.raft).add_learner("d", "d:1")
    leader.work()
    cluster.agree(b"y", on="abc")
    for name in "abc":
        cluster[name].compact()
    cluster.join("d")
    cluster.until(lambda: cluster["d"].commands == [b"x", b"y"])
    assert cluster["d"].raft.membership == leader.raft.membership


def test_kept_entries_spare_a_member_the_snapshot() -> None:
    cluster = Cluster("abc", config=_SMALL)
    cluster.agree(b"0")
    cluster.isolate("c")
    for number in range(1, 10):
        cluster.agree(b"%d" % number, on="ab")
    for name in "ab":
        cluster[name].compact(keep_entries=20)
    cluster.heal()
    cluster.agree(b"last")
    assert cluster.sent["SnapshotPiece"] == 0


def test_an_empty_snapshot_is_sent_like_any() -> None:
    raft = core("a", found("ab", base=(7, 1)))
    raft.log.snapshot = replace(raft.log.snapshot, data=b"")
    elect(raft)
    refused = AppendReply(sender="b", to="a", term=2, index=7, rejected=True)
    (piece,) = say(raft, refused)
    assert isinstance(piece, SnapshotPiece)
    assert (piece.data, piece.size) == (b"", 0)
    other = core("b", found("ab"))
    assert say(other, piece) == [AppendReply(sender="b", to="a", term=2, index=7)]
    assert pass_ticks(other, 1) == drain(other)
