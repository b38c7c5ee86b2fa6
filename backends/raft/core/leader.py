"""Leading: replicating the log, committing, answering reads, handing over, and changing who is in the cluster."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from leasekit.backends.raft.core import membership as memberships
from leasekit.backends.raft.core.log import size_of
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    SnapshotPiece,
    SnapshotReply,
    TimeoutNow,
)
from leasekit.backends.raft.core.progress import Progress, State
from leasekit.backends.raft.core.quorum import agreed, majority
from leasekit.backends.raft.core.types import Entry, EntryKind, MemberId, Membership, PeerStatus, ReadReady

if TYPE_CHECKING:
    from leasekit.backends.raft.core.machine import Raft


class Leader:
    """What a member does in the one term in which it leads."""

    def __init__(self, raft: Raft) -> None:
        self._raft = raft
        self._log = raft.log
        self._peers: dict[MemberId, Progress] = {}
        self._ticks_since_heartbeat = 0
        self._ticks_since_check = 0
        self._round = 0
        self._asked_reads: deque[tuple[int, ReadReady]] = deque()  # by the round that will confirm them
        self._unsent_reads: list[ReadReady] = []
        self._early_reads: list[object] = []
        self._transfer_to: MemberId | None = None
        self._transfer_ticks = 0
        self._unsettled: deque[int] = deque()  # sizes of this term's entries that are not both committed and durable
        self._unsettled_bytes = 0
        # Entries of earlier terms are committed by one of this term alone (section 5.4.2, figure 8).
        self.first_index = self._log.last_index + 1
        self._follow_membership(self._log.membership)
        self._append(EntryKind.COMMAND, b"")

    # Wishes.

    @property
    def committed_own_term(self) -> bool:
        """Whether an entry of this term is committed: only then is it known what else is."""
        return self._log.committed >= self.first_index

    def propose(self, data: bytes) -> int:
        """Append a command; its index. Raises NotNow while handing over, or when too much waits for a majority."""
        if self._transfer_to is not None:
            raise NotNow("the leadership is being handed over")
        if self._unsettled_bytes > self._raft.config.max_uncommitted_bytes:
            raise NotNow("too much waits for a majority, or for this member's disk")
        return self._append(EntryKind.COMMAND, data)

    def read(self, context: object) -> None:
        """Ask when a read may be answered: `Ready.reads` will say so, or `lost_reads` (thesis section 6.4)."""
        if not self.committed_own_term:
            self._early_reads.append(context)
        else:
            self._unsent_reads.append(ReadReady(context, self._log.committed))

    def transfer(self, to: MemberId | None) -> MemberId:
        """Hand over to the voter `to`, or to the one that has most; who it is (thesis section 3.10)."""
        voters = [voter for voter in self._log.membership.voters if voter != self._raft.id]
        if to is None:
            to = max(voters, key=lambda voter: (self._peers[voter].active, self._peers[voter].match), default=None)
        if to is None or to not in voters:
            raise NotNow(f"{to or 'nobody'} is another voter")
        self._transfer_to = to
        self._transfer_ticks = 0
        self._hand_over_if_ready()
        return to

    def add_learner(self, member: MemberId, address: str) -> int:
        """Bring `member` in without a vote, or give it another address; the entry's index. Raises NotNow."""
        return self._change(memberships.with_learner(self._log.membership, member, address))

    def promote(self, member: MemberId) -> int:
        """Make the learner `member` a voter; the entry's index. Raises NotNow if it is not there, or behind."""
        after = memberships.with_promoted(self._log.membership, member)
        if member not in self._active():
            raise NotNow(f"{member} is not heard from")
        lag = self._log.last_index - self._peers[member].match
        if lag > self._raft.config.promotable_lag_entries:
            raise NotNow(f"{member} is {lag} entries behind")
        memberships.ensure_available(after, self._active())
        return self._change(after)

    def remove(self, member: MemberId) -> int:
        """Take `member` out; the entry's index. Raises NotNow if too few would be left to go on."""
        after = memberships.without(self._log.membership, member)
        memberships.ensure_available(after, self._active())
        return self._change(after)

    # Time and messages.

    def tick(self) -> None:
        """One tick has passed."""
        config = self._raft.config
        self._ticks_since_heartbeat += 1
        self._ticks_since_check += 1
        self._transfer_ticks += 1
        if self._transfer_to is not None and self._transfer_ticks >= config.election_ticks:
            self._transfer_to = None  # it did not work: go on leading
        if self._ticks_since_check >= config.election_ticks:
            self._ticks_since_check = 0
            if config.check_quorum and not self._check_quorum():
                self._raft.become_follower(self._raft.term, None)
                return
        if self._ticks_since_heartbeat >= config.heartbeat_ticks:
            self._ticks_since_heartbeat = 0
            self._round += 1
            for peer in self._peers.values():
                peer.check_by(self._round)
            self._send_heartbeats()
            self._hand_over_if_ready()  # again, for the first word may have been lost

    def hear(self, message: AppendReply | HeartbeatReply | SnapshotReply) -> None:
        """A member has answered."""
        peer = self._peers.get(message.sender)
        if peer is None:
            return
        peer.active = True
        match message:
            case AppendReply(rejected=True):
                agreement, _ = self._log.agreement(message.hint_index, message.hint_term)
                peer.rejected(message.index, agreement)
            case AppendReply() if message.index <= self._log.last_index:
                if peer.matched(message.index):
                    self._commit()
                if message.sender == self._transfer_to:
                    self._hand_over_if_ready()
            case HeartbeatReply():
                peer.answered_heartbeat(message.round, self._log.last_index)
                peer.acknowledged_round = max(peer.acknowledged_round, message.round)
                self._answer_reads()
            case SnapshotReply():
                peer.received_piece(message.index, message.offset)

    def stable(self) -> None:
        """More of the own log is durable: it counts towards the majority like every member's."""
        self._settle()
        self._commit()

    @property
    def has_more_to_send(self) -> bool:
        """Whether `flush` would send anything."""
        return bool(self._unsent_reads) or any(self._wants(peer) for peer in self._peers.values())

    def flush(self) -> None:
        """Send what can be sent: entries, pieces of snapshots, and the round that confirms reads."""
        for name, peer in self._peers.items():
            while self._wants(peer):
                self._send_to(name, peer)
        if self._unsent_reads:
            self._round += 1
            self._asked_reads.extend((self._round, read) for read in self._unsent_reads)
            self._unsent_reads = []
            self._send_heartbeats()
            self._answer_reads()

    def lost_reads(self) -> list[object]:
        """The contexts of all reads that were not answered."""
        asked = [read for _, read in self._asked_reads]
        return [*self._early_reads, *(read.context for read in [*self._unsent_reads, *asked])]

    def peers_status(self) -> dict[MemberId, PeerStatus]:
        """How far everybody else is."""
        return {name: peer.status() for name, peer in self._peers.items()}

    # Replicating.

    def _append(self, kind: EntryKind, data: bytes) -> int:
        entry = Entry(self._log.last_index + 1, self._raft.term, kind, data)
        self._log.append([entry])
        self._unsettled.append(size_of(entry))
        self._unsettled_bytes += size_of(entry)
        return entry.index

    def _wants(self, peer: Progress) -> bool:
        """Whether there is something to tell `peer`, and it may be sent now."""
        if not peer.may_send:
            return False
        if peer.state is State.REPLICATE:
            news = peer.next <= self._log.last_index or peer.told_commit < self._log.committed
            return news or peer.remind
        return True

    def _send_to(self, name: MemberId, peer: Progress) -> None:
        if peer.state is not State.SNAPSHOT and self._log.term(peer.next - 1) is None:
            peer.begin_snapshot(self._log.snapshot)
        if peer.snapshot is not None:
            self._send_piece(name, peer)
        else:
            self._send_entries(name, peer)

    def _send_entries(self, name: MemberId, peer: Progress) -> None:
        log, raft = self._log, self._raft
        entries = log.entries(peer.next, log.last_index, raft.config.max_append_bytes)
        previous_term = log.term(peer.next - 1)
        assert previous_term is not None
        raft.send(
            Append(
                sender=raft.id,
                to=name,
                term=raft.term,
                previous_index=peer.next - 1,
                previous_term=previous_term,
                entries=entries,
                commit=log.committed,
            )
        )
        peer.told_commit = log.committed
        peer.sent(entries[-1].index if entries else peer.next - 1)

    def _send_piece(self, name: MemberId, peer: Progress) -> None:
        raft, snapshot = self._raft, peer.snapshot
        assert snapshot is not None
        piece = snapshot.data[peer.offset : peer.offset + raft.config.snapshot_piece_bytes]
        raft.send(
            SnapshotPiece(
                sender=raft.id,
                to=name,
                term=raft.term,
                meta=snapshot.meta,
                offset=peer.offset,
                data=piece,
                size=len(snapshot.data),
            )
        )
        peer.sent_piece()

    def _send_heartbeats(self) -> None:
        raft = self._raft
        for name, peer in self._peers.items():
            commit = min(peer.match, self._log.committed)
            raft.send(Heartbeat(sender=raft.id, to=name, term=raft.term, commit=commit, round=self._round))

    # Committing.

    def _commit(self) -> None:
        """Commit what a majority has, if it is of this term: older entries go along (section 5.4.2)."""
        log = self._log
        index = agreed([self._match(voter) for voter in log.membership.voters])
        if index <= log.committed or log.term(index) != self._raft.term:
            return
        log.commit_to(index)
        self._settle()
        for context in self._early_reads:
            self._unsent_reads.append(ReadReady(context, log.committed))
        self._early_reads = []
        if self._raft.id not in log.membership.voters and log.committed >= log.membership_index:
            self._retire()

    def _settle(self) -> None:
        """What is committed and durable here weighs no more. The others may commit without this member's disk."""
        settled = min(self._log.committed, self._log.stable)
        while len(self._unsettled) > self._log.last_index - settled:
            self._unsettled_bytes -= self._unsettled.popleft()

    def _match(self, voter: MemberId) -> int:
        return self._log.stable if voter == self._raft.id else self._peers[voter].match

    def _retire(self) -> None:
        """This member was taken out: it led until that was committed (thesis section 4.2.2)."""
        self.flush()
        voters = self._log.membership.voters
        successor = max(voters, key=lambda voter: (self._peers[voter].active, self._peers[voter].match))
        self._raft.send(TimeoutNow(sender=self._raft.id, to=successor, term=self._raft.term))
        self._raft.become_follower(self._raft.term, None)

    # Reads.

    def _answer_reads(self) -> None:
        """Answer those whose round a majority has acknowledged: nobody can have been elected before they were asked."""
        own = self._raft.id
        voters = self._log.membership.voters
        rounds = [self._round if voter == own else self._peers[voter].acknowledged_round for voter in voters]
        confirmed = agreed(rounds)
        while self._asked_reads and self._asked_reads[0][0] <= confirmed:
            self._raft.read_ready(self._asked_reads.popleft()[1])

    # Who is there.

    def _active(self) -> set[MemberId]:
        return {self._raft.id, *(name for name, peer in self._peers.items() if peer.active or peer.was_active)}

    def _check_quorum(self) -> bool:
        """Whether a majority was heard from since the last check (thesis section 6.2)."""
        voters = self._log.membership.voters
        heard = {self._raft.id, *(name for name, peer in self._peers.items() if peer.active)}
        for peer in self._peers.values():
            peer.was_active, peer.active = peer.active, False
        return sum(voter in heard for voter in voters) >= majority(len(voters))

    def _hand_over_if_ready(self) -> None:
        to = self._transfer_to
        if to is not None and to in self._peers and self._peers[to].match == self._log.last_index:
            self._raft.send(TimeoutNow(sender=self._raft.id, to=to, term=self._raft.term))

    def _change(self, membership: Membership) -> int:
        """Append `membership`, which holds from now on. One change at a time, and none before an entry of this term
        is committed: otherwise two majorities that do not overlap could decide (the bug of 2015 in the thesis' rule).
        """
        if not self.committed_own_term or self._log.membership_index > self._log.committed:
            raise NotNow("an earlier change is not committed yet")
        if self._transfer_to is not None:
            raise NotNow("the leadership is being handed over")
        index = self._append(EntryKind.MEMBERSHIP, memberships.encode(membership))
        self._follow_membership(membership)
        return index

    def _follow_membership(self, membership: Membership) -> None:
        names = [name for name in [*membership.voters, *membership.learners] if name != self._raft.id]
        self._peers = {name: self._peers.get(name) or self._unknown() for name in names}

    def _unknown(self) -> Progress:
        return Progress(self._log.last_index + 1, self._raft.config.max_inflight)
