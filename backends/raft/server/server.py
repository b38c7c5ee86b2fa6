"""One member: Raft, the state machine, the leases' times, and what clients wait for. No sockets, no disk, no timers.

Whoever runs it hands in what happened and takes `output`. What a client is told is true whoever leads by then: `Done`
says what was applied at a majority; a read is confirmed by a quorum first; when the leadership is lost, whoever
waited hears that the outcome is unknown, not that it failed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.leader import Leader
from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.messages import Message
from leasekit.backends.raft.core.types import (
    Chance,
    Entry,
    EntryKind,
    MemberId,
    Ready,
    Recovered,
    Snapshot,
    SnapshotMeta,
    Status,
    Write,
)
from leasekit.backends.raft.kv.commands import Expire, MalformedCommand, OpenSession, Proposal, decode, encode
from leasekit.backends.raft.kv.machine import StateMachine
from leasekit.backends.raft.kv.snapshot import Frozen
from leasekit.backends.raft.requests import (
    AskStatus,
    AskTime,
    ChangeMembership,
    Done,
    Event,
    MemberAction,
    MemberStatus,
    NotLeader,
    Problem,
    Propose,
    Read,
    Refused,
    Request,
    Response,
    TakeSnapshot,
    TransferLeadership,
    Unwatch,
    Watch,
)
from leasekit.backends.raft.server.leases import LeaseTimes
from leasekit.backends.raft.server.watches import Watches
from leasekit.clock import Clock

ClientId = Hashable
"""Whoever asked: a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Limits and sizes of a member."""

    core: Config = field(default_factory=Config)
    snapshot_every_entries: int = 10_000
    """A snapshot is taken, and the log compacted, when this many entries were applied since the last one."""
    keep_entries: int = 5_000
    """So many entries before a snapshot stay in memory, for members that are a little behind."""
    max_waiting: int = 10_000
    """Requests that may wait for an answer, and as many watches. Beyond that they are refused."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """A local snapshot to be encoded, made durable and handed to `snapshot_saved`. May take its time, in any thread."""

    meta: SnapshotMeta
    state: Frozen

    def encode(self) -> Snapshot:
        """The snapshot."""
        return Snapshot(self.meta, self.state.encode())


@dataclass(frozen=True, slots=True)
class Output:
    """What is to be done. `messages` may leave at once; `persisted` is to be called once `write` is durable."""

    messages: tuple[Message, ...] = ()
    write: Write | None = None
    replies: tuple[tuple[ClientId, Response], ...] = ()
    freeze: Freeze | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that is answered later."""

    client: ClientId
    request: Request


class Server:
    """A member. Single-threaded. `clock` is asked for leases' times and for the wall time that clients ask for."""

    def __init__(
        self, member: MemberId, recovered: Recovered, config: ServerConfig, random: Chance, clock: Clock
    ) -> None:
        self.raft = Raft(member, recovered, config.core, random)
        self.machine = StateMachine()
        self.machine.restore(recovered.snapshot.data, recovered.snapshot.meta.index)
        self.failure: str | None = None
        """Why this member takes no part any more: its disk failed. To the others it has crashed."""
        self._config = config
        self._clock = clock
        self._leader: Leader | None = None
        self._lease_times: LeaseTimes | None = None
        self._watches = Watches()
        self._proposed: dict[int, tuple[int, _Waiting]] = {}  # by index, with the term
        self._reading: dict[object, _Waiting] = {}
        self._readable: list[tuple[int, _Waiting]] = []
        self._snapshot_waiters: list[_Waiting] = []
        self._freezing = False
        self._freeze_wanted = False
        self._read_number = 0
        self._replies: list[tuple[ClientId, Response]] = []

    # What happens.

    def tick(self) -> None:
        """One tick has passed. Hand in the messages and requests that came before it first."""
        if self.failure is not None:
            return
        self.raft.tick()
        if self._lease_times is not None and self.raft.leading is self._leader:
            for lease in self._lease_times.take_due(self._clock.now()):
                self._expire(lease.id, lease.renewal)

    def receive(self, message: Message) -> None:
        """A member has sent this."""
        if self.failure is None:
            self.raft.step(message)

    def request(self, client: ClientId, request: Request) -> None:
        """A client asks. Every request but `Unwatch` is answered, now or later, by `output`."""
        if isinstance(request, Unwatch):
            self._watches.remove((client, request.watch))
        elif isinstance(request, AskStatus):
            self._reply(client, Done(id=request.id, result=self.member_status()))
        elif self.failure is not None and isinstance(request, TakeSnapshot):
            self._refuse(client, request, Problem.UNAVAILABLE, self.failure)
        elif self._is_full:
            self._refuse(client, request, Problem.UNAVAILABLE, "too many requests are waiting at this member")
        elif isinstance(request, TakeSnapshot):
            self._want_snapshot(_Waiting(client, request))
        elif self.raft.leading is None:
            # Nor will a member lead whose disk has failed: who asks is sent elsewhere, not told to wait.
            self._reply(client, NotLeader(id=request.id, leader=self._leader_address))
        else:
            self._notice_leadership()
            self._ask_leader(self.raft.leading, _Waiting(client, request))

    def disconnected(self, client: ClientId) -> None:
        """The client is gone: nothing is to be told to it. What it asked for goes on."""
        self._watches.remove_all_of(client)

    def persisted(self, number: int) -> None:
        """The write of that number, and all before it, is durable."""
        if self.failure is None:
            self.raft.persisted(number)

    def snapshot_saved(self, snapshot: Snapshot) -> None:
        """The local snapshot is durable: its entries may be forgotten."""
        self._freezing = False
        self.raft.compact(snapshot, self._config.keep_entries)
        for waiting in self._snapshot_waiters:
            self._done(waiting, None)
        self._snapshot_waiters = []

    def disk_failed(self, why: str) -> None:
        """Nothing can be made durable any more: this member takes no part until it is started anew.

        It must not try the disk again: what a failed fsync has lost is not known (the pages count as clean).
        """
        self.failure = why
        self.raft.step_down()
        self._notice_leadership()
        for waiting in self._snapshot_waiters:
            self._refuse(waiting.client, waiting.request, Problem.UNAVAILABLE, why)

    # What is to be done.

    @property
    def has_output(self) -> bool:
        """Whether `output` has anything."""
        return bool(self._replies) or (self.failure is None and (self.raft.has_ready or self._may_freeze))

    def output(self) -> Output:
        """The next things to do. Ask again while `has_output`: applying is done in slices."""
        ready = Ready() if self.failure is not None else self.raft.ready()
        if ready.restore is not None:
            self._restore(ready.restore)
        for entry in ready.committed:
            self._apply(entry)
        self._notice_leadership()
        for read in ready.reads:
            if read.context in self._reading:  # else it was let go of together with the leadership
                self._readable.append((read.index, self._reading.pop(read.context)))
        self._answer_reads()
        self._replies += self._watches.take_events(self.machine.applied)
        replies, self._replies = self._replies, []
        return Output(ready.messages, ready.write, tuple(replies), self._freeze())

    def status(self) -> Status:
        """A picture for people and metrics."""
        return self.raft.status()

    def member_status(self) -> MemberStatus:
        """The answer to `AskStatus`."""
        return MemberStatus(raft=self.status(), unix_s=self._clock.wall_s(), failure=self.failure)

    # Leading.

    def _notice_leadership(self) -> None:
        """Whoever waited on a leadership that is over is told so; a new one begins to count the leases' times."""
        if self.raft.leading is not self._leader:
            self._leader = self.raft.leading
            self._lease_times = None
            self._let_go()
        leader = self._leader
        if leader is not None and self._lease_times is None and self.machine.applied >= leader.first_index:
            self._lease_times = LeaseTimes(self.machine.leases.values(), self._clock.now())

    def _let_go(self) -> None:
        proposed, self._proposed = self._proposed, {}
        for index, (term, waiting) in proposed.items():
            if self._will_apply(index, term):
                self._proposed[index] = term, waiting
            else:
                self._leave_unknown(waiting)
        readers = [*self._reading.values(), *(waiting for _, waiting in self._readable)]
        for waiting in readers:
            self._reply(waiting.client, NotLeader(id=waiting.request.id, leader=self._leader_address))
        for client, watch in self._watches.clear():
            self._reply(client, NotLeader(id=watch, leader=self._leader_address))
        self._reading, self._readable = {}, []

    def _will_apply(self, index: int, term: int) -> bool:
        """Whether what was proposed as this entry is committed: it is answered when it is durable here as well.

        Not by chance rare: a leader that takes itself out of the cluster leads no more as soon as the others have that.
        """
        log = self.raft.log
        return self.failure is None and index <= log.committed and log.term(index) == term

    def _ask_leader(self, leader: Leader, waiting: _Waiting) -> None:
        match waiting.request:
            case Propose():
                self._propose(leader, waiting, waiting.request.command)
            case Read() | Watch() | AskTime():
                self._read_number += 1
                self._reading[self._read_number] = waiting
                leader.read(self._read_number)
            case ChangeMembership() as change:
                self._try(waiting, lambda: _change(leader, change))
            case TransferLeadership(to=to):
                try:
                    leader.transfer(to)
                    self._done(waiting, None)
                except NotNow as error:
                    self._refuse(waiting.client, waiting.request, Problem.UNAVAILABLE, str(error))

    def _propose(self, leader: Leader, waiting: _Waiting, command: bytes) -> None:
        try:
            proposal = decode(command)
        except MalformedCommand as error:
            self._refuse(waiting.client, waiting.request, Problem.INVALID, str(error))
            return
        sessionless = proposal.session == 0
        if isinstance(proposal.command, Expire) or sessionless != isinstance(proposal.command, OpenSession):
            self._refuse(waiting.client, waiting.request, Problem.INVALID, "a client's command needs a session")
            return
        self._try(waiting, lambda: leader.propose(command))

    def _try(self, waiting: _Waiting, propose: Callable[[], int]) -> None:
        try:
            index = propose()
        except NotNow as error:
            self._refuse(waiting.client, waiting.request, Problem.UNAVAILABLE, str(error))
        else:
            self._proposed[index] = self.raft.term, waiting

    def _expire(self, lease_id: str, renewal: int) -> None:
        assert self._leader is not None
        command = encode(Proposal(session=0, sequence=0, acknowledged=0, command=Expire(lease_id, renewal)))
        try:
            self._leader.propose(command)
        except NotNow:
            return  # told to be due again soon

    # Applying.

    def _restore(self, snapshot: Snapshot) -> None:
        self.machine.restore(snapshot.data, snapshot.meta.index)
        # A leader no more: with the entries their outcomes are skipped.
        for index in [index for index in self._proposed if index <= snapshot.meta.index]:
            self._leave_unknown(self._proposed.pop(index)[1])

    def _apply(self, entry: Entry) -> None:
        applied = self.machine.apply(entry.index, entry.data if entry.kind is EntryKind.COMMAND else b"")
        self._watches.note(applied.changes)
        if self._lease_times is not None:
            now = self._clock.now()
            for lease in applied.granted:
                self._lease_times.begin(lease, now)
            for lease_id in applied.ended:
                self._lease_times.end(lease_id)
        term, waiting = self._proposed.pop(entry.index, (0, None))
        if waiting is not None:
            assert term == entry.term, "a leader's own entries are replaced after its term alone"
            self._done(waiting, applied.outcome)

    def _answer_reads(self) -> None:
        """Answer the confirmed reads that what is applied reaches up to."""
        if not self._readable:
            return
        later = []
        for index, waiting in self._readable:
            if index > self.machine.applied:
                later.append((index, waiting))
            else:
                self._answer_read(waiting)
        self._readable = later

    def _answer_read(self, waiting: _Waiting) -> None:
        match waiting.request:
            case Read(compares=compares, ops=ops):
                try:
                    self._done(waiting, self.machine.read(compares, ops))
                except ValueError as error:
                    self._refuse(waiting.client, waiting.request, Problem.INVALID, str(error))
            case AskTime():
                self._done(waiting, self._clock.wall_s())
            case Watch(id=number, key=key, prefix=prefix, after=after):
                # What came before is told at once, what is applied from now on as it comes: no gap in between.
                changes = self.machine.changes_since(key, prefix, after)
                revision = self.machine.applied
                event = Event(id=number, changes=changes or (), revision=revision, resync=changes is None)
                self._reply(waiting.client, event)
                self._watches.add((waiting.client, number), key, prefix=prefix)

    # Snapshots.

    def _want_snapshot(self, waiting: _Waiting) -> None:
        if self.machine.applied == self.raft.log.snapshot.meta.index:
            self._done(waiting, None)  # there is one of just this state
            return
        self._snapshot_waiters.append(waiting)
        self._freeze_wanted = True

    @property
    def _may_freeze(self) -> bool:
        if self._freezing or self.raft.log.restoring:
            return False
        behind = self.machine.applied - self.raft.log.snapshot.meta.index
        if not self._freeze_wanted and behind < self._config.snapshot_every_entries:
            return False
        # Who joined with nothing learns the membership from a later entry; a snapshot from before it would name nobody.
        return bool(self.raft.log.membership_at(self.machine.applied).voters)

    def _freeze(self) -> Freeze | None:
        if self.failure is not None or not self._may_freeze:
            return None
        self._freezing, self._freeze_wanted = True, False
        log, applied = self.raft.log, self.machine.applied
        term = log.term(applied)
        assert term is not None, "what was applied last is kept"
        return Freeze(SnapshotMeta(applied, term, log.membership_at(applied)), self.machine.freeze())

    # Answering.

    @property
    def _is_full(self) -> bool:
        waiting = len(self._proposed) + len(self._reading) + len(self._readable) + len(self._watches)
        return waiting >= self._config.max_waiting

    @property
    def _leader_address(self) -> str | None:
        leader = self.raft.leader_id
        return None if leader is None or leader == self.raft.id else self.raft.membership.address(leader)

    def _leave_unknown(self, waiting: _Waiting) -> None:
        text = "the leadership changed while this was under way"
        self._refuse(waiting.client, waiting.request, Problem.UNKNOWN, text)

    def _done(self, waiting: _Waiting, result: object) -> None:
        self._reply(waiting.client, Done(id=waiting.request.id, result=result))

    def _refuse(self, client: ClientId, request: Request, problem: Problem, text: str) -> None:
        self._reply(client, Refused(id=request.id, problem=problem, text=text))

    def _reply(self, client: ClientId, response: Response) -> None:
        self._replies.append((client, response))


def _change(leader: Leader, change: ChangeMembership) -> int:
    match change.action:
        case MemberAction.ADD:
            return leader.add_learner(change.member, change.address)
        case MemberAction.PROMOTE:
            return leader.promote(change.member)
        case MemberAction.REMOVE:
            return leader.remove(change.member)
