"""What the invariants call a violation, shown by small histories that have one."""

from collections import Counter

import pytest

from leasekit.backends.raft.core import membership as memberships
from leasekit.backends.raft.core.messages import AppendReply, Vote, VoteReply
from leasekit.backends.raft.core.types import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Recovered,
    Role,
    Snapshot,
    SnapshotMeta,
    Write,
)
from leasekit.backends.raft.simulator.invariants import Invariants, View, Violation

VOTERS = Membership({"a": "a", "b": "b", "c": "c"})


def entry(index: int, term: int, data: bytes = b"x") -> Entry:
    return Entry(index, term, EntryKind.COMMAND, data)


def view(member: str, term: int = 1, *, role: Role = Role.FOLLOWER, committed: int = 0, last: int = 0) -> View:
    return View(
        member=member,
        role=role,
        term=term,
        snapshot=0,
        applied=0,
        committed=committed,
        last=last,
        membership=VOTERS,
        membership_index=0,
    )


@pytest.fixture
def invariants() -> Invariants:
    started = Invariants(Counter(), VOTERS)
    for member in VOTERS.voters:
        started.started(member, Recovered(snapshot=Snapshot(SnapshotMeta(membership=VOTERS))))
    return started


def write(invariants: Invariants, member: str, number: int, *entries: Entry, state: HardState | None = None) -> None:
    invariants.wrote(member, Write(number, entries=entries, hard_state=state))


def persist(invariants: Invariants, member: str, number: int, *entries: Entry, state: HardState | None = None) -> None:
    write(invariants, member, number, *entries, state=state)
    invariants.persisted(member, number)


def elect(invariants: Invariants, member: str, term: int, number: int, *, voters: str = "abc") -> None:
    for voter in voters:
        persist(invariants, voter, number, state=HardState(term, member))
    last = invariants.disks.told[member].last_index
    invariants.looked(view(member, term, role=Role.LEADER, last=last))


def test_two_leaders_in_one_term(invariants: Invariants) -> None:
    elect(invariants, "a", 1, 1)
    with pytest.raises(Violation, match="two leaders in one term"):
        invariants.looked(view("b", 1, role=Role.LEADER))


def test_a_leader_without_a_majority_of_votes(invariants: Invariants) -> None:
    with pytest.raises(Violation, match="elected without a majority"):
        elect(invariants, "a", 1, 1, voters="a")


def test_a_vote_before_it_is_durable(invariants: Invariants) -> None:
    write(invariants, "b", 1, state=HardState(1, "a"))
    reply = VoteReply(sender="b", to="a", term=1, granted=True)
    with pytest.raises(Violation, match="before it is durable"):
        invariants.sent(reply)
    invariants.persisted("b", 1)


def test_a_second_vote_after_a_crash(invariants: Invariants) -> None:
    persist(invariants, "b", 1, state=HardState(1, "a"))
    invariants.sent(VoteReply(sender="b", to="a", term=1, granted=True))
    with pytest.raises(Violation, match="a disk lost the"):
        invariants.started("b", Recovered(snapshot=Snapshot(SnapshotMeta(membership=VOTERS))))


def test_a_candidate_that_has_voted_for_another(invariants: Invariants) -> None:
    persist(invariants, "b", 1, state=HardState(1, "a"))
    with pytest.raises(Violation, match="two votes in one term"):
        invariants.sent(Vote(sender="b", to="c", term=1, last_index=0, last_term=0))


def test_entries_acknowledged_before_they_are_durable(invariants: Invariants) -> None:
    persist(invariants, "b", 1, state=HardState(1, None))
    write(invariants, "b", 2, entry(1, 1))
    with pytest.raises(Violation, match="before they are durable"):
        invariants.sent(AppendReply(sender="b", to="a", term=1, index=1))


def test_other_entries_acknowledged_than_the_leaders(invariants: Invariants) -> None:
    persist(invariants, "b", 1, entry(1, 1), entry(2, 1))
    persist(invariants, "a", 1, entry(1, 1))
    elect(invariants, "a", 2, 2)
    write(invariants, "a", 3, entry(2, 2))
    invariants.looked(view("a", 2, role=Role.LEADER, last=2))
    invariants.sent(AppendReply(sender="b", to="a", term=2, index=1))
    with pytest.raises(Violation, match="other entries are acknowledged"):
        invariants.sent(AppendReply(sender="b", to="a", term=2, index=2))


def test_logs_that_differ_at_the_same_index_and_term(invariants: Invariants) -> None:
    write(invariants, "a", 1, entry(1, 1, b"x"))
    with pytest.raises(Violation, match="logs do not match"):
        write(invariants, "b", 1, entry(1, 1, b"y"))


def test_logs_that_agree_in_an_entry_but_not_before_it(invariants: Invariants) -> None:
    write(invariants, "a", 1, entry(1, 1), entry(2, 3))
    with pytest.raises(Violation, match="logs do not match"):
        write(invariants, "b", 1, entry(1, 2), entry(2, 3))


def test_a_commit_that_no_majority_has_on_disk(invariants: Invariants) -> None:
    elect(invariants, "a", 1, 1)
    persist(invariants, "a", 2, entry(1, 1))
    write(invariants, "b", 2, entry(1, 1))
    with pytest.raises(Violation, match="without a majority that has it on disk"):
        invariants.looked(view("a", 1, role=Role.LEADER, committed=1, last=1))


def test_an_entry_of_an_earlier_term_that_is_committed_by_counting(invariants: Invariants) -> None:
    elect(invariants, "a", 1, 1)
    for member in "ab":
        persist(invariants, member, 2, entry(1, 1))
    elect(invariants, "b", 2, 3)
    with pytest.raises(Violation, match="in a later term than its own"):
        invariants.looked(view("b", 2, role=Role.LEADER, committed=1, last=1))


def test_a_leader_that_lacks_a_committed_entry(invariants: Invariants) -> None:
    elect(invariants, "a", 1, 1)
    for member in "ab":
        persist(invariants, member, 2, entry(1, 1))
    invariants.looked(view("a", 1, role=Role.LEADER, committed=1, last=1))
    with pytest.raises(Violation, match="lacks a committed entry"):
        elect(invariants, "c", 2, 3)


def test_another_entry_committed_at_an_index(invariants: Invariants) -> None:
    elect(invariants, "a", 1, 1)
    for member in "ab":
        persist(invariants, member, 2, entry(1, 1))
    invariants.looked(view("a", 1, role=Role.LEADER, committed=1, last=1))
    write(invariants, "c", 2, entry(1, 2), state=HardState(2, None))
    with pytest.raises(Violation, match="two entries committed at one index"):
        invariants.looked(view("c", 2, committed=1, last=1))


def test_a_committed_entry_that_is_overwritten(invariants: Invariants) -> None:
    elect(invariants, "a", 1, 1)
    for member in "ab":
        persist(invariants, member, 2, entry(1, 1))
    invariants.looked(view("a", 1, role=Role.LEADER, committed=1, last=1))
    with pytest.raises(Violation, match="overwritten"):
        write(invariants, "a", 3, entry(1, 2))


def test_a_disk_that_lost_durable_entries(invariants: Invariants) -> None:
    persist(invariants, "a", 1, entry(1, 1), entry(2, 1), state=HardState(1, None))
    found = Recovered(HardState(1, None), Snapshot(SnapshotMeta(membership=VOTERS)), (entry(1, 1),))
    with pytest.raises(Violation, match="lost what it had called durable"):
        invariants.started("a", found)


def test_a_disk_may_lose_what_it_never_called_durable(invariants: Invariants) -> None:
    persist(invariants, "a", 1, entry(1, 1), state=HardState(1, None))
    write(invariants, "a", 2, entry(2, 1), entry(3, 1))
    found = Recovered(HardState(1, None), Snapshot(SnapshotMeta(membership=VOTERS)), (entry(1, 1), entry(2, 1)))
    invariants.started("a", found)
    assert invariants.disks.durable["a"].last_index == 2


def test_an_entry_that_is_applied_before_it_is_durable_there(invariants: Invariants) -> None:
    elect(invariants, "a", 1, 1)
    for member in "ab":
        persist(invariants, member, 2, entry(1, 1))
    invariants.looked(view("a", 1, role=Role.LEADER, committed=1, last=1))
    write(invariants, "c", 2, entry(1, 1))
    with pytest.raises(Violation, match="applied before it is durable"):
        invariants.looked(View("c", Role.FOLLOWER, 1, 0, 1, 1, 1, VOTERS, 0))


def test_changes_of_the_membership_that_come_too_early(invariants: Invariants) -> None:
    def change(index: int) -> Entry:
        return Entry(index, 1, EntryKind.MEMBERSHIP, memberships.encode(VOTERS))

    elect(invariants, "a", 1, 1)
    write(invariants, "a", 2, entry(1, 1))
    with pytest.raises(Violation, match="of the leader's term"):
        write(invariants, "a", 3, change(2))
    with pytest.raises(Violation, match="at once"):
        write(invariants, "a", 4, change(2), change(3))
    uncommitted = View("a", Role.LEADER, 1, 0, 0, 0, 2, VOTERS, 2)
    invariants.looked(uncommitted)
    with pytest.raises(Violation, match="before the last one"):
        write(invariants, "a", 5, change(2))


def test_entries_that_are_taken_from_a_leader_of_an_earlier_term(invariants: Invariants) -> None:
    elect(invariants, "a", 2, 1)
    write(invariants, "a", 2, entry(1, 2))
    with pytest.raises(Violation, match="another than the leader"):
        write(invariants, "b", 2, entry(1, 1))
    write(invariants, "b", 2, entry(1, 2))


def test_snapshots_that_are_not_of_the_committed_log(invariants: Invariants) -> None:
    elect(invariants, "a", 1, 1)
    for member in "ab":
        persist(invariants, member, 2, entry(1, 1))
    invariants.looked(view("a", 1, role=Role.LEADER, committed=1, last=1))
    invariants.froze("a", SnapshotMeta(1, 1, VOTERS))
    with pytest.raises(Violation, match="another membership"):
        invariants.froze("a", SnapshotMeta(1, 1, Membership({"a": "a"})))
    with pytest.raises(Violation, match="not committed"):
        invariants.froze("a", SnapshotMeta(1, 2, VOTERS))
    with pytest.raises(Violation, match="not committed"):
        invariants.froze("a", SnapshotMeta(2, 1, VOTERS))


@pytest.mark.parametrize("falls", ["term", "committed", "applied"])
def test_nothing_falls_while_a_member_runs(invariants: Invariants, falls: str) -> None:
    for member in "ab":
        persist(invariants, member, 1, entry(1, 2), state=HardState(2, None))
    before = View("a", Role.FOLLOWER, 2, 0, 1, 1, 1, VOTERS, 0)
    invariants.looked(before)
    lower = {"term": (1, 1, 1), "applied": (2, 0, 1), "committed": (2, 0, 0)}[falls]
    with pytest.raises(Violation, match="falls"):
        invariants.looked(View("a", Role.FOLLOWER, lower[0], 0, lower[1], lower[2], 1, VOTERS, 0))
