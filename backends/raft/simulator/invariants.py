"""What holds of a Raft cluster at every moment, looked at after every step; only what has changed is looked at.

The five properties of the paper's figure 3, and what they rest on: promises are durable before they are made.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from leasekit.backends.raft.core import membership as memberships
from leasekit.backends.raft.core.messages import AppendReply, Message, Vote, VoteReply
from leasekit.backends.raft.core.quorum import majority
from leasekit.backends.raft.core.types import (
    Entry,
    EntryKind,
    MemberId,
    Membership,
    Recovered,
    Role,
    SnapshotMeta,
    Write,
)
from leasekit.backends.raft.simulator.shadows import Disks, Shadow


class Violation(Exception):
    """Something that must never be has been seen. The text says what, and who."""


def ensure(holds: bool, rule: str, *facts: object) -> None:
    """Raise `Violation` unless `holds`."""
    if not holds:
        raise Violation(f"{rule}: {' '.join(map(str, facts))}")


@dataclass(frozen=True, slots=True)
class View:
    """One member after a step."""

    member: MemberId
    role: Role
    term: int
    snapshot: int
    applied: int
    committed: int
    last: int
    membership: Membership
    membership_index: int


class Invariants:
    """Told of everything that happens to the members; raises `Violation`."""

    def __init__(self, counts: Counter[str], founders: Membership) -> None:
        self.disks = Disks()
        self.memberships: list[tuple[int, Membership]] = [(0, founders)]
        """The committed ones, by the index from which they hold."""
        self.committed: list[tuple[int, bytes]] = [(0, b"")]
        """The canonical log, by index: term and data of each committed entry, whoever committed it first."""
        self.kinds: list[int] = [0]
        self._counts = counts
        self._entries: dict[tuple[int, int], tuple[int, int, bytes]] = {}
        self._leaders: dict[int, MemberId] = {}
        self._votes: dict[tuple[MemberId, int], MemberId] = {}
        self._views: dict[MemberId, View] = {}
        self.candidates: dict[int, dict[MemberId, None]] = {}
        self._committed_in: dict[int, int] = {}  # term: the highest index that was committed in it

    # What happens to a member.

    def started(self, member: MemberId, recovered: Recovered) -> None:
        """`member` starts, for the first time or again, with what its disk gave it."""
        if member in self.disks.told:
            self._check_recovered(member, recovered)
        self.disks.start(member, recovered)
        self._check_entries(member, recovered.snapshot.meta.term, recovered.entries)
        self._views.pop(member, None)

    def wrote(self, member: MemberId, write: Write) -> None:
        """`write` was handed to the disk of `member`."""
        told = self.disks.told[member]
        if write.hard_state is not None:
            old, new = told.state, write.hard_state
            ensure(new.term >= old.term, "a term falls", member, old, new)
            changed = new.term == old.term and old.vote not in (None, new.vote)
            ensure(not changed, "a vote changes within a term", member, old, new)
            ensure(new.commit >= old.commit, "the durable commit index falls", member, old, new)
        if write.snapshot is not None:
            self._check_snapshot(member, write.snapshot.meta)
        if write.entries:
            self._check_append(member, told, write)
        self.disks.wrote(member, write)

    def persisted(self, member: MemberId, number: int) -> None:
        """The disk of `member` has made everything up to write `number` durable."""
        self.disks.persisted(member, number)
        state = self.disks.durable[member].state
        if state.vote is not None:
            self._check_vote(member, state.term, state.vote)

    def froze(self, member: MemberId, meta: SnapshotMeta) -> None:
        """`member` is about to make a snapshot of its own state, or was found to have one."""
        known = meta.index < len(self.committed) and self.committed[meta.index][0] == meta.term
        ensure(known, "a snapshot of what was not committed", member, meta)
        right = [membership for index, membership in self.memberships if index <= meta.index][-1]
        ensure(meta.membership == right, "a snapshot with another membership than there was", member, meta, right)

    def sent(self, message: Message) -> None:
        """`message` leaves its sender."""
        durable = self.disks.durable[message.sender]
        match message:
            case Vote():
                candidates = self.candidates.setdefault(message.term, {})
                self._counts["transfers"] += message.transfer and message.sender not in candidates
                candidates[message.sender] = None
                self._check_vote(message.sender, message.term, message.sender)
            case VoteReply(granted=True):
                self._check_vote(message.sender, message.term, message.to)
                safe = (durable.state.term, durable.state.vote) == (message.term, message.to)
                ensure(safe or durable.state.term > message.term, "a vote is sent before it is durable", message)
            case AppendReply(rejected=False):
                ensure(
                    durable.state.term >= message.term, "entries are acknowledged before the term is durable", message
                )
                ensure(durable.last_index >= message.index, "entries are acknowledged before they are durable", message)
                self._check_agreement(message)

    def looked(self, view: View) -> None:
        """This is what a member is now."""
        before = self._views.get(view.member)
        self._views[view.member] = view
        ensure(
            view.snapshot <= view.applied <= view.committed <= view.last,
            "snapshot <= applied <= committed <= last",
            view,
        )
        if before is not None:
            ensure(view.term >= before.term, "the term falls", before, view)
            ensure(view.committed >= before.committed, "the commit index falls", before, view)
            ensure(view.applied >= before.applied, "the applied index falls", before, view)
        if view.role is Role.LEADER:
            self._check_leader(view, new=before is None or before.role is not Role.LEADER or before.term != view.term)
        was = 0 if before is None else before.committed
        if view.committed > was:
            self._check_committed(view, was)
        durable = self.disks.durable[view.member]
        safe = durable.holds(view.applied, self.committed[view.applied][0])
        ensure(safe, "applied before it is durable here", view, durable.last_index)

    def split_votes(self) -> int:
        """Terms in which several campaigned and nobody was elected."""
        return sum(len(who) > 1 and term not in self._leaders for term, who in self.candidates.items())

    def leader(self) -> MemberId | None:
        """Who leads in the latest term that had a leader."""
        return self._leaders[max(self._leaders)] if self._leaders else None

    # What must be true then.

    def _check_vote(self, voter: MemberId, term: int, candidate: MemberId) -> None:
        given = self._votes.setdefault((voter, term), candidate)
        ensure(given == candidate, "two votes in one term", voter, term, given, candidate)

    def _check_agreement(self, message: AppendReply) -> None:
        """Up to what a member acknowledges its log is that of the leader of that term."""
        name = self._leading(message.term)
        if name is None:
            return
        leader, follower = self.disks.told[name], self.disks.told[message.sender]
        ensure(message.index <= leader.last_index, "more is acknowledged than the leader has", message, leader)
        terms = leader.term(message.index), follower.term(message.index)
        ensure(
            None in terms or terms[0] == terms[1], "other entries are acknowledged than the leader's", message, terms
        )

    def _check_snapshot(self, member: MemberId, meta: SnapshotMeta) -> None:
        self._counts["snapshot installs"] += 1
        self.froze(member, meta)
        before = self._views.get(member)
        newer = before is None or meta.index > before.committed
        ensure(newer, "a received snapshot is older than what is committed here", member, meta)

    def _check_append(self, member: MemberId, told: Shadow, write: Write) -> None:
        first = write.entries[0].index
        base_index, last_index = told.base_index, told.last_index
        previous: int | None
        if write.snapshot is not None:
            base_index = last_index = write.snapshot.meta.index
            previous = write.snapshot.meta.term
        else:
            previous = told.term(first - 1)
        ensure(base_index < first <= last_index + 1, "a gap in the log", member, first, base_index, last_index)
        if first <= last_index:
            self._counts["truncations"] += 1
            before = self._views.get(member)
            if before is not None:
                ensure(first > before.committed, "a committed entry is overwritten", member, first, before)
                leads = before.role is Role.LEADER and before.term == write.entries[-1].term
                ensure(not leads, "a leader overwrites its own log", before, first)
        assert previous is not None
        self._check_entries(member, previous, write.entries)
        self._check_change(member, write)
        self._check_source(
            member, told.state.term if write.hard_state is None else write.hard_state.term, write.entries
        )

    def _check_source(self, member: MemberId, term: int, entries: tuple[Entry, ...]) -> None:
        """A member takes entries from the leader of its own term alone, which has them."""
        leader = self._leading(term)
        if leader is None or leader == member:
            return
        log = self.disks.told[leader]
        for entry in entries:
            ensure(log.holds(entry.index, entry.term), "taken from another than the leader of the term", member, entry)

    def _leading(self, term: int) -> MemberId | None:
        """Who leads in `term` at this moment, as far as is known."""
        leader = self._leaders.get(term)
        view = None if leader is None else self._views.get(leader)
        return leader if view is not None and (view.role, view.term) == (Role.LEADER, term) else None

    def _check_change(self, member: MemberId, write: Write) -> None:
        """A leader changes the membership one step at a time, and only once it is known what is committed (raft-dev, 2015)."""
        before = self._views.get(member)
        changes = [entry for entry in write.entries if entry.kind == EntryKind.MEMBERSHIP]
        if before is None or before.role is not Role.LEADER or not changes or changes[0].term != before.term:
            return
        ensure(len(changes) == 1, "two changes of the membership at once", before, changes)
        ensure(
            before.membership_index <= before.committed, "a change before the last one is committed", before, changes
        )
        own = self.committed[before.committed][0] == before.term
        ensure(own, "a change before an entry of the leader's term is committed", before, changes)

    def _check_entries(self, member: MemberId, previous: int, entries: tuple[Entry, ...]) -> None:
        """Log matching, by induction: an index and a term determine the entry, and the term of the one before."""
        index = entries[0].index if entries else 0
        for entry in entries:
            ensure(entry.index == index, "entries are out of order", member, entry)
            ensure(entry.term >= previous, "terms fall along the log", member, previous, entry)
            here = (previous, int(entry.kind), entry.data)
            known = self._entries.setdefault((entry.index, entry.term), here)
            ensure(known == here, "logs do not match", member, entry, known, here)
            previous = entry.term
            index += 1

    def _check_leader(self, view: View, *, new: bool) -> None:
        leader = self._leaders.setdefault(view.term, view.member)
        ensure(leader == view.member, "two leaders in one term", view.term, leader, view.member)
        if not new:
            return
        self._counts["elections"] += 1
        voters = [voter for voter in view.membership.voters if self._votes.get((voter, view.term)) == view.member]
        enough = len(voters) >= majority(len(view.membership.voters))
        ensure(enough, "elected without a majority of votes", view, voters)
        index = max((index for term, index in self._committed_in.items() if term < view.term), default=0)
        told = self.disks.told[view.member]
        ensure(told.holds(index, self.committed[index][0]), "a leader lacks a committed entry", view, index)

    def _check_committed(self, view: View, was: int) -> None:
        told = self.disks.told[view.member]
        for index in range(was + 1, view.committed + 1):
            term = told.term(index)
            if term is None:
                # Covered by the snapshot, which was compared when it came.
                ensure(index <= told.base_index, "committed beyond the log", view, index)
            elif index < len(self.committed):
                ensure(term == self.committed[index][0], "two entries committed at one index", view, index)
            else:
                _, kind, data = self._entries[index, term]
                if kind == EntryKind.MEMBERSHIP:
                    self.memberships.append((index, memberships.decode(data)))
                self.committed.append((term, data))
                self.kinds.append(kind)
                self._committed_in[view.term] = index
                if index == view.committed:
                    self._check_quorum(view, index, term)

    def _check_quorum(self, view: View, index: int, term: int) -> None:
        have = [
            voter
            for voter in view.membership.voters
            if (disk := self.disks.durable.get(voter)) is not None and disk.holds(index, term)
        ]
        enough = len(have) >= majority(len(view.membership.voters))
        ensure(enough, "committed without a majority that has it on disk", view, index, have)
        # A majority that has an entry of an earlier term can still be outvoted (figure 8).
        ensure(term == view.term, "committed by counting in a later term than its own", view, index, term)

    def _check_recovered(self, member: MemberId, recovered: Recovered) -> None:
        """A disk gives back what it has called durable, and perhaps something of what was being written."""
        durable, waiting = self.disks.durable[member], self.disks.waiting[member]
        state = recovered.hard_state
        ensure(state.term >= durable.state.term, "a disk lost the term", member, durable.state, state)
        if state.term == durable.state.term and durable.state.vote is not None:
            ensure(state.vote == durable.state.vote, "a disk lost the vote", member, durable.state, state)
        found = Shadow.of(recovered)
        possible = [durable, *self._stages(durable, list(waiting))]
        last = next((stage for stage in reversed(possible) if self._same(stage, found)), None)
        ensure(last is not None, "a disk lost what it had called durable", member, durable, found)
        if any(write.entries or write.hard_state for write in waiting) and last is not possible[-1]:
            self._counts["lost unsynced writes"] += 1

    def _stages(self, durable: Shadow, waiting: list[Write]) -> list[Shadow]:
        """What the disk may hold if it got any part of `waiting` done, in order."""
        stages = []
        stage = Shadow(durable.base_index, durable.base_term, durable.terms[:], durable.state)
        for write in waiting:
            if write.snapshot is not None:
                stage = Shadow(write.snapshot.meta.index, write.snapshot.meta.term, [], stage.state)
                stages.append(stage)
            for entry in write.entries:
                stage = Shadow(stage.base_index, stage.base_term, stage.terms[:], stage.state)
                stage.append((entry,))
                stages.append(stage)
            if write.hard_state is not None:
                stage = Shadow(stage.base_index, stage.base_term, stage.terms, write.hard_state)
                stages.append(stage)
        return stages

    def _same(self, stage: Shadow, found: Shadow) -> bool:
        """Whether `found` is this log; a local snapshot may cover some of it."""
        if (stage.last_index, stage.state.term, stage.state.vote) != (
            found.last_index,
            found.state.term,
            found.state.vote,
        ):
            return False
        first = max(stage.base_index, found.base_index)
        return stage.terms[first - stage.base_index :] == found.terms[first - found.base_index :]
