"""One member of a Raft cluster: messages, ticks and wishes go in, `Ready` comes out.

Invariants (paper figure 3): at most one leader in a term; a leader never overwrites its own log; logs that agree in an
entry's index and term agree in all before; a committed entry is in every later leader's log; no two members apply
different entries at one index. They rest on what is durable before it is said: `ready` hands out a write, and answers
that rest on it are held until `persisted`.
"""

from __future__ import annotations

from collections import deque

from leasekit.backends.raft.core import follower
from leasekit.backends.raft.core.ballot import Ballot
from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.leader import Leader
from leasekit.backends.raft.core.log import Log
from leasekit.backends.raft.core.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVote,
    PreVoteReply,
    SnapshotPiece,
    SnapshotReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from leasekit.backends.raft.core.quorum import Verdict
from leasekit.backends.raft.core.types import (
    Chance,
    HardState,
    MemberId,
    Membership,
    ReadReady,
    Ready,
    Recovered,
    Role,
    Snapshot,
    Status,
    Write,
)

_FROM_LEADER = (Append, Heartbeat, SnapshotPiece)


class Raft:
    """A member. Single-threaded; time passes by `tick` alone."""

    def __init__(self, member: MemberId, recovered: Recovered, config: Config, random: Chance) -> None:
        self.id = member
        self.config = config
        self.random = random
        self.term = recovered.hard_state.term
        self.vote = recovered.hard_state.vote
        self.log = Log(recovered)
        if self.log.last_term > self.term:
            # The crash kept a write's entries and lost its hard state, on which nothing can rest yet.
            self.term, self.vote = self.log.last_term, None
        self.leader_id: MemberId | None = None
        self.silent_ticks = 0
        """Since a leader was heard from, or this member gave its vote."""
        self.leading: Leader | None = None
        self.ballot: Ballot | None = None
        self.incoming = follower.Incoming()
        self._timeout_ticks = 0
        self._rest()
        self._written = recovered.hard_state.term, recovered.hard_state.vote
        self._number = 0
        self._outbox: list[Message] = []
        self._unwritten_answers: list[Message] = []
        self._held: deque[tuple[int, list[Message]]] = deque()
        self._unfinished_writes = False
        self._waiting_ticks = 0
        """Since the disk was given the first of its unfinished writes, or has finished one."""
        self._reads: list[ReadReady] = []
        self._lost_reads: list[object] = []

    # What a user asks.

    @property
    def role(self) -> Role:
        """What this member is."""
        if self.leading is not None:
            return Role.LEADER
        if self.ballot is not None:
            return Role.PRE_CANDIDATE if self.ballot.trial else Role.CANDIDATE
        return Role.FOLLOWER

    @property
    def membership(self) -> Membership:
        """The latest in this member's log."""
        return self.log.membership

    def status(self) -> Status:
        """A picture for people and metrics."""
        progress = {} if self.leading is None else self.leading.peers_status()
        log = self.log
        return Status(
            id=self.id,
            role=self.role,
            term=self.term,
            leader=self.leader_id,
            commit=log.committed,
            applied=log.applied,
            first_index=log.base.index + 1,
            last_index=log.last_index,
            membership=log.membership,
            progress=progress,
        )

    def compact(self, snapshot: Snapshot, keep_entries: int) -> None:
        """The local `snapshot` is durable: forget the entries that it covers, save the last `keep_entries`."""
        self.log.compact(snapshot, keep_entries)

    def step_down(self) -> None:
        """Lead no more, for the disk fails or the member shuts down."""
        self.become_follower(self.term, None)

    # Time and messages.

    def tick(self) -> None:
        """One tick has passed. Step the messages that have come before it first: after a pause they count."""
        if self._unfinished_writes:
            self._waiting_ticks += 1
        if self.leading is not None and self._disk_hangs and self._other_voters():
            # Nothing is applied here before it is durable here, so nobody would be answered for as long as it leads.
            self.step_down()
        if self.leading is not None:
            self.leading.tick()
            return
        self.silent_ticks += 1
        if self.silent_ticks >= self._timeout_ticks and self._may_campaign():
            self.campaign()

    def step(self, message: Message) -> None:
        """A message has come. Any message may come at any time, any number of times."""
        if message.to != self.id or message.sender == self.id:
            return
        if message.term > self.term and not self._hear_later_term(message):
            return
        if message.term < self.term:
            self._answer_earlier_term(message)
            return
        match message:
            case PreVote():
                self._consider_pre_vote(message)
            case Vote():
                self._consider_vote(message)
            case PreVoteReply() | VoteReply():
                self._count(message)
            case Append() | Heartbeat() | SnapshotPiece():
                self._obey(message)
            case TimeoutNow() if self._may_campaign():
                self.campaign(transfer=True)
            case AppendReply() | HeartbeatReply() | SnapshotReply() if self.leading is not None:
                self.leading.hear(message)

    def campaign(self, *, transfer: bool = False) -> None:
        """Ask for votes; first, unless the leader itself hands over, whether asking would help (thesis section 9.6)."""
        if self.config.pre_vote and not transfer:
            self._ask_in_advance()
        else:
            self._ask_for_votes(transfer=transfer)

    # What comes out.

    @property
    def has_ready(self) -> bool:
        """Whether `ready` has anything."""
        return bool(
            self._outbox
            or self._reads
            or self._lost_reads
            or self._has_unwritten
            or self._unwritten_answers
            or self.log.has_restored
            or self.log.applicable > self.log.applied
            or (self.leading is not None and self.leading.has_more_to_send)
        )

    def ready(self) -> Ready:
        """What is to be done now; see `Ready` for the order."""
        if self.leading is not None:
            self.leading.flush()
        write = self._take_write()
        messages, self._outbox = self._outbox, []
        reads, self._reads = self._reads, []
        lost, self._lost_reads = self._lost_reads, []
        restore = self.log.take_restored()
        committed = self.log.take_committed(self.config.max_apply_bytes)
        return Ready(tuple(messages), write, restore, committed, tuple(reads), tuple(lost))

    def persisted(self, number: int) -> None:
        """Write `number`, and all before it, is durable."""
        self.log.persisted(number)
        self._waiting_ticks = 0
        while self._held and self._held[0][0] <= number:
            for message in self._held.popleft()[1]:
                self._release(message)
        if self._number == number:
            self._unfinished_writes = False
        if self.leading is not None:
            self.leading.stable()

    # What the roles use.

    def send(self, message: Message) -> None:
        """To be sent at once."""
        self._outbox.append(message)

    def answer(self, message: Message) -> None:
        """To be sent when all that was decided so far is durable."""
        self._unwritten_answers.append(message)

    def become_follower(self, term: int, leader: MemberId | None) -> None:
        """Follow `leader` (None: nobody yet) in `term`.

        Only a leader's word, or giving one's vote, puts off an own campaign (paper section 5.2): who asks for votes in
        vain, for its log is short, must not hold up those who would get them.
        """
        if self.leading is not None:
            self._lost_reads += self.leading.lost_reads()
            self.leading = None
            self._rest()
        self.ballot = None
        if term != self.term:
            assert term > self.term, "terms only rise"
            self.term = term
            self.vote = None
            # Two leaders may encode the same state differently: their pieces must not be mixed.
            self.incoming = follower.Incoming()
        self.leader_id = leader
        if leader is not None:
            self._rest()

    def read_ready(self, read: ReadReady) -> None:
        """`read` may be answered."""
        self._reads.append(read)

    # Within.

    def _rest(self) -> None:
        """Wait for a leader, for a while chosen at random (paper section 5.2)."""
        self.silent_ticks = 0
        self._timeout_ticks = self.config.election_ticks + self.random.randint(0, self.config.spread_ticks)

    def _may_campaign(self) -> bool:
        return self.leading is None and self._is_voter and not self.log.restoring and not self._disk_hangs

    @property
    def _disk_hangs(self) -> bool:
        """Whether a write has taken as long as a silent leader is put up with at most."""
        return self._waiting_ticks >= self.config.election_ticks + self.config.spread_ticks

    @property
    def _is_voter(self) -> bool:
        """Also until one's own removal is committed: who alone has that entry may be needed to get there (thesis
        section 4.2.2, figure 4.6), though one's own vote does not count then.
        """
        log = self.log
        if self.id in log.membership.voters:
            return True
        return log.membership_index > log.committed and self.id in log.membership_at(log.committed).voters

    def _hears_leader(self) -> bool:
        """Whether a leader was heard from within the shortest election time-out; its own word counts (section 4.2.3)."""
        if not self.config.check_quorum or self.leader_id is None:
            return False
        return self.leading is not None or self.silent_ticks < self.config.election_ticks

    def _hear_later_term(self, message: Message) -> bool:
        """A message of a term that is news. Whether to look at it further."""
        match message:
            case PreVote():
                return not self._hears_leader()
            case PreVoteReply(granted=True):
                return True
            case Vote(transfer=False) if self._hears_leader():
                return False
        self.become_follower(message.term, message.sender if isinstance(message, _FROM_LEADER) else None)
        return True

    def _answer_earlier_term(self, message: Message) -> None:
        """Its sender has missed something. Told the present term, it can take part again."""
        if isinstance(message, PreVote):
            self.send(PreVoteReply(sender=self.id, to=message.sender, term=self.term, granted=False))
        elif isinstance(message, Vote):
            self.send(VoteReply(sender=self.id, to=message.sender, term=self.term, granted=False))
        elif isinstance(message, _FROM_LEADER):
            # Otherwise a member whose term has run ahead would be stuck: too high to follow, too quiet to be elected.
            self.send(AppendReply(sender=self.id, to=message.sender, term=self.term, index=0, rejected=True))

    def _consider_pre_vote(self, message: PreVote) -> None:
        granted = message.term > self.term and self.log.is_up_to_date(message.last_index, message.last_term)
        term = message.term if granted else self.term
        self.send(PreVoteReply(sender=self.id, to=message.sender, term=term, granted=granted))

    def _consider_vote(self, message: Vote) -> None:
        """At most one vote in a term, and only for a log that is at least as up to date (sections 5.2, 5.4.1).

        Membership is not asked: this member may not know yet that the candidate, or itself, is a voter.
        """
        free = self.vote == message.sender or (self.vote is None and self.leader_id is None)
        granted = free and self.log.is_up_to_date(message.last_index, message.last_term)
        if granted:
            self.vote = message.sender
            self._rest()
        self.answer(VoteReply(sender=self.id, to=message.sender, term=self.term, granted=granted))

    def _count(self, message: PreVoteReply | VoteReply) -> None:
        ballot = self.ballot
        if ballot is None or ballot.trial != isinstance(message, PreVoteReply):
            return
        asked = self.term + 1 if ballot.trial else self.term
        if message.granted and message.term != asked:
            return  # of an earlier question
        self._cast(message.sender, granted=message.granted)

    def _cast(self, voter: MemberId, *, granted: bool) -> None:
        ballot = self.ballot
        assert ballot is not None
        ballot.cast(voter, granted=granted)
        match ballot.verdict(self.membership.voters):
            case Verdict.LOST:
                self.become_follower(self.term, None)
            case Verdict.WON if ballot.trial:
                self._ask_for_votes(transfer=False)
            case Verdict.WON:
                self._lead()

    def _ask_in_advance(self) -> None:
        self.become_follower(self.term, None)
        self._rest()
        self.ballot = Ballot(trial=True)
        end = {"last_index": self.log.last_index, "last_term": self.log.last_term}
        for voter in self._other_voters():
            self.send(PreVote(sender=self.id, to=voter, term=self.term + 1, **end))
        self._cast(self.id, granted=True)

    def _ask_for_votes(self, *, transfer: bool) -> None:
        self.become_follower(self.term + 1, None)
        self._rest()
        self.ballot = Ballot(trial=False)
        self.vote = self.id
        end = {"last_index": self.log.last_index, "last_term": self.log.last_term}
        # Asked once the term is durable. Forgotten in a crash, it could be asked for and won a second time, by another
        # log: who has voted for this member in this term would do so again.
        for voter in self._other_voters():
            self.answer(Vote(sender=self.id, to=voter, term=self.term, transfer=transfer, **end))
        self.answer(VoteReply(sender=self.id, to=self.id, term=self.term, granted=True))

    def _other_voters(self) -> list[MemberId]:
        return [voter for voter in self.membership.voters if voter != self.id]

    def _lead(self) -> None:
        self.ballot = None
        self.leader_id = self.id
        self.leading = Leader(self)

    def _obey(self, message: Append | Heartbeat | SnapshotPiece) -> None:
        if self.leading is not None:
            return  # there is no other leader in this term: a forged or garbled message
        if self.ballot is not None or self.leader_id != message.sender:
            self.become_follower(self.term, message.sender)
        self.silent_ticks = 0
        follower.obey(self, message)

    def _take_write(self) -> Write | None:
        """What has to be durable. A commit index alone is not worth a write: it is learnt anew from the leader."""
        answers, self._unwritten_answers = self._unwritten_answers, []
        write = None
        if self._has_unwritten:
            self._number += 1
            self._unfinished_writes = True
            snapshot, entries = self.log.take_unwritten(self._number)
            self._written = self.term, self.vote
            write = Write(self._number, snapshot, entries, HardState(self.term, self.vote, self.log.committed))
        self._hold(answers)
        return write

    @property
    def _has_unwritten(self) -> bool:
        return self.log.has_unwritten or self._written != (self.term, self.vote)

    def _hold(self, answers: list[Message]) -> None:
        """Until the last write handed out is durable, which all that they say rests on."""
        if self._unfinished_writes:
            if answers:
                self._held.append((self._number, answers))
            return
        for message in answers:
            self._release(message)

    def _release(self, message: Message) -> None:
        if message.term < self.term:
            return  # of no use to anybody now
        if message.to != self.id:
            self._outbox.append(message)
        elif isinstance(message, VoteReply):
            self._count(message)
