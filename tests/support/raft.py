"""Cores of Raft, alone or joined by a small deterministic network: virtual ticks, and one seed for all that is random.

    cluster = Cluster("abc")
    cluster.agree(b"x")
    cluster.isolate(cluster.leader().name)
    cluster.agree(b"y", on=...)

After every step of a cluster it is checked that no term has two leaders and no index two entries.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count
from random import Random

from leasekit.backends.raft.core.config import Config
from leasekit.backends.raft.core.leader import Leader
from leasekit.backends.raft.core.log import size_of
from leasekit.backends.raft.core.machine import Raft
from leasekit.backends.raft.core.membership import NotNow
from leasekit.backends.raft.core.messages import (
    Append,
    Message,
    PreVote,
    PreVoteReply,
    SnapshotPiece,
    Vote,
    VoteReply,
)
from leasekit.backends.raft.core.types import (
    Entry,
    EntryKind,
    HardState,
    MemberId,
    Membership,
    ReadReady,
    Ready,
    Recovered,
    Role,
    Snapshot,
    SnapshotMeta,
    Write,
)

CONFIG = Config(election_ticks=10, heartbeat_ticks=2)
PLAIN = replace(CONFIG, pre_vote=False, check_quorum=False)
"""Raft as in the paper, without the thesis' additions."""

# One core.


def members(voters: Iterable[MemberId], learners: Iterable[MemberId] = ()) -> Membership:
    """The membership of these, each with an address."""
    return Membership({name: f"{name}:1" for name in voters}, {name: f"{name}:1" for name in learners})


def entries(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """A log as figures draw it: one command for each term."""
    return tuple(Entry(at, term, EntryKind.COMMAND, b"%d/%d" % (at, term)) for at, term in enumerate(terms, first))


def found(
    voters: Iterable[MemberId] = "abc",
    *terms: int,
    term: int | None = None,
    vote: MemberId | None = None,
    commit: int = 0,
    learners: Iterable[MemberId] = (),
    base: tuple[int, int] = (0, 0),
) -> Recovered:
    """What a member finds on its disk: entries of `terms` behind a snapshot of `base`, an index and a term."""
    meta = SnapshotMeta(base[0], base[1], members(voters, learners))
    last = terms[-1] if terms else base[1]
    hard_state = HardState(last if term is None else term, vote, commit)
    return Recovered(hard_state, Snapshot(meta, b"state" if base[0] else b""), entries(*terms, first=base[0] + 1))


def core(name: MemberId, recovered: Recovered, config: Config = CONFIG, seed: int = 0) -> Raft:
    """A member that starts with what it found."""
    return Raft(name, recovered, config, Random(seed))


def drain(raft: Raft) -> list[Message]:
    """Make durable and apply all that is to be; what leaves the member."""
    return [message for ready in work(raft) for message in ready.messages]


def work(raft: Raft) -> list[Ready]:
    """Make durable all that is to be, until there is nothing to do; what was to be done."""
    done = []
    while raft.has_ready:
        done.append(raft.ready())
        if done[-1].write is not None:
            raft.persisted(done[-1].write.number)
    return done


def say(raft: Raft, *messages: Message) -> list[Message]:
    """Step the messages, and what leaves the member then."""
    for message in messages:
        raft.step(message)
    return drain(raft)


def pass_ticks(raft: Raft, ticks: int) -> list[Message]:
    """Let time pass, and what leaves the member meanwhile."""
    sent = []
    for _ in range(ticks):
        raft.tick()
        sent += drain(raft)
    return sent


def elect(raft: Raft) -> list[Message]:
    """Have all voters choose `raft`; what it sends as leader."""
    raft.campaign()
    while (sent := drain(raft)) and raft.role is not Role.LEADER:
        for message in sent:
            match message:
                case PreVote(to=voter, term=term):
                    raft.step(PreVoteReply(sender=voter, to=raft.id, term=term, granted=True))
                case Vote(to=voter, term=term):
                    raft.step(VoteReply(sender=voter, to=raft.id, term=term, granted=True))
    assert raft.role is Role.LEADER
    return sent


def leading(raft: Raft) -> Leader:
    """What `raft` does as leader."""
    assert raft.leading is not None
    return raft.leading


def terms_of(raft: Raft) -> list[int]:
    """The terms of the entries that are kept."""
    return [raft.log.term(index) or 0 for index in range(raft.log.base.index + 1, raft.log.last_index + 1)]


# A cluster.


class Disk:
    """What one member has made durable, and what it is still writing."""

    def __init__(self, recovered: Recovered) -> None:
        self.content = recovered
        self.pending: deque[Write] = deque()

    def sync(self) -> int:
        """All is durable; the number of the last write."""
        number = self.pending[-1].number
        while self.pending:
            self._make(self.pending.popleft())
        return number

    def crash(self, random: Random) -> None:
        """Of what was being written a prefix is there, as a disk may have it."""
        while self.pending and random.random() < 0.5:
            self._make(self.pending.popleft())
        if self.pending:
            write = self.pending[0]
            kept = random.randint(0, len(write.entries))
            if write.snapshot is None or random.random() < 0.5:
                self._make(replace(write, entries=write.entries[:kept], hard_state=None))
        self.pending.clear()

    def keep(self, snapshot: Snapshot) -> None:
        """Store a local snapshot; entries that it covers are not needed any more."""
        behind = tuple(entry for entry in self.content.entries if entry.index > snapshot.meta.index)
        self.content = replace(self.content, snapshot=snapshot, entries=behind)

    def _make(self, write: Write) -> None:
        content = self.content
        if write.snapshot is not None:
            content = replace(content, snapshot=write.snapshot, entries=())
        if write.entries:
            kept = [entry for entry in content.entries if entry.index < write.entries[0].index]
            new = [entry for entry in write.entries if entry.index > content.snapshot.meta.index]
            content = replace(content, entries=(*kept, *new))
        if write.hard_state is not None:
            content = replace(content, hard_state=write.hard_state)
        self.content = content


class Member:
    """One core with its disk, and a state machine that is the list of all commands."""

    def __init__(self, cluster: Cluster, name: MemberId, recovered: Recovered, config: Config) -> None:
        self.name = name
        self.disk = Disk(recovered)
        self.up = False
        self.holds_writes = False
        """The disk is slow: nothing is durable before `sync`."""
        self.snapshot_every = 0
        """Take a snapshot after so many entries applied; 0: never."""
        self.reads: list[ReadReady] = []
        self.lost_reads: list[object] = []
        self._durable_at = 0
        self._cluster = cluster
        self._config = config
        self.start()

    def start(self) -> None:
        """Begin with what is on the disk."""
        self.up = True
        self.raft = core(self.name, self.disk.content, self._config, self._cluster.random.randrange(1 << 30))
        self.commands = _commands(self.disk.content.snapshot)
        self.work()

    def crash(self) -> None:
        """Stop; what was not durable may be lost."""
        self.up = False
        self.disk.crash(self._cluster.random)

    def work(self) -> None:
        """Do what is to be done."""
        while self.up and self.raft.has_ready:
            ready = self.raft.ready()
            for message in ready.messages:
                self._cluster.send(message)
            if ready.restore is not None:
                self.commands = _commands(ready.restore)
            self._apply(ready.committed)
            self.reads += ready.reads
            self.lost_reads += ready.lost_reads
            if ready.write is not None:
                self.disk.pending.append(ready.write)
                self._durable_at = self._cluster.now + self._cluster.random.randint(*self._cluster.disk_ticks)
            self.write()

    def write(self) -> None:
        """Let the disk go on."""
        if not self.holds_writes and self._durable_at <= self._cluster.now:
            self.sync()

    def sync(self) -> None:
        """The disk is done with all that it was given."""
        if self.up and self.disk.pending:
            self.raft.persisted(self.disk.sync())
            self.work()

    def compact(self, keep_entries: int = 0) -> None:
        """Take a snapshot of what is applied, and forget the entries that it covers."""
        log = self.raft.log
        if log.applied <= log.base.index:
            return
        term = log.term(log.applied)
        assert term is not None
        meta = SnapshotMeta(log.applied, term, log.membership_at(log.applied))
        snapshot = Snapshot(meta, b"\n".join(self.commands))
        self.disk.keep(snapshot)
        self.raft.compact(snapshot, keep_entries)

    def _apply(self, committed: tuple[Entry, ...]) -> None:
        for entry in committed:
            self._cluster.note_applied(self.name, entry)
            if entry.kind is EntryKind.COMMAND and entry.data:
                self.commands.append(entry.data)
        if self.snapshot_every and committed and self.raft.log.applied - self.raft.log.base.index > self.snapshot_every:
            self.compact()


def _commands(snapshot: Snapshot) -> list[bytes]:
    return snapshot.data.split(b"\n") if snapshot.data else []


class Cluster:
    """Members on one network. Time is in ticks."""

    def __init__(
        self,
        names: Iterable[MemberId],
        *,
        learners: Iterable[MemberId] = (),
        config: Config = CONFIG,
        seed: int = 0,
        found: Mapping[MemberId, Recovered] | None = None,
    ) -> None:
        self.random = Random(seed)
        self.now = 0
        self.sent: Counter[str] = Counter()
        self.bytes_sent = 0
        self.down: set[tuple[MemberId, MemberId]] = set()
        """Links that carry nothing, from and to."""
        self.loss = 0.0
        self.delay_ticks = (1, 1)
        self.disk_ticks = (0, 0)
        """How long it takes until a write is durable; those before it are, then, too."""
        self.repeat = 0.0
        self.straggle = 0.0
        """How likely a message is late by up to a hundred ticks."""
        self._wire: list[tuple[int, int, Message]] = []
        self._numbers = count()
        self._leaders: dict[int, MemberId] = {}
        self._chosen: dict[int, Entry] = {}
        begin = Recovered(snapshot=Snapshot(SnapshotMeta(membership=members(names, learners))))
        self.config = config
        self.members: dict[MemberId, Member] = {}
        for name in [*names, *learners]:
            self.members[name] = Member(self, name, (found or {}).get(name, begin), config)

    def __getitem__(self, name: MemberId) -> Member:
        return self.members[name]

    def join(self, name: MemberId) -> Member:
        """A new member, which knows of nothing."""
        self.members[name] = Member(self, name, Recovered(), self.config)
        return self.members[name]

    # The network.

    def send(self, message: Message) -> None:
        """Take a message from a member."""
        self.sent[type(message).__name__] += 1
        if isinstance(message, Append):
            self.bytes_sent += sum(size_of(entry) for entry in message.entries)
        elif isinstance(message, SnapshotPiece):
            self.bytes_sent += len(message.data)
        if self.random.random() < self.loss:
            return
        for _ in range(2 if self.random.random() < self.repeat else 1):
            delay = self.random.randint(*self.delay_ticks)
            if self.random.random() < self.straggle:
                delay += self.random.randint(0, 100)
            heapq.heappush(self._wire, (self.now + delay, next(self._numbers), message))

    def cut(self, one: MemberId, other: MemberId) -> None:
        """The link between two carries nothing any more, either way."""
        self.down |= {(one, other), (other, one)}

    def isolate(self, *names: MemberId) -> None:
        """Cut these off from all others; among themselves they can talk."""
        for name in names:
            for other in self.members:
                if other not in names:
                    self.cut(name, other)

    def heal(self) -> None:
        """All links work."""
        self.down.clear()

    # Time.

    def tick(self, ticks: int = 1) -> None:
        """Let time pass."""
        for _ in range(ticks):
            self.now += 1
            while self._wire and self._wire[0][0] <= self.now:
                message = heapq.heappop(self._wire)[2]
                member = self.members.get(message.to)
                if member is not None and member.up and (message.sender, message.to) not in self.down:
                    member.raft.step(message)
                    member.work()
            for member in self.members.values():
                if member.up:
                    member.write()
                    member.raft.tick()
                    member.work()
            self._check()

    def until(self, condition: Callable[[], object], within: int = 1000) -> int:
        """Let time pass until `condition` holds; how many ticks it took."""
        begin = self.now
        while not condition():
            assert self.now - begin < within, f"not within {within} ticks"
            self.tick()
        return self.now - begin

    # What is going on.

    def leaders(self) -> list[Member]:
        """Those who believe that they lead, the latest term first."""
        led = [member for member in self.members.values() if member.up and member.raft.role is Role.LEADER]
        return sorted(led, key=lambda member: -member.raft.term)

    def leader(self, among: Iterable[MemberId] | None = None, within: int = 1000) -> Member:
        """The leader, once there is one, among these members."""
        names = set(self.members if among is None else among)
        self.until(lambda: [member for member in self.leaders() if member.name in names], within)
        return next(member for member in self.leaders() if member.name in names)

    def propose(self, data: bytes, leader: Member | None = None) -> int:
        """Ask the leader to append `data`; the index."""
        member = leader or self.leader()
        index = leading(member.raft).propose(data)
        member.work()
        return index

    def agree(self, data: bytes, on: Iterable[MemberId] | None = None, within: int = 2000) -> None:
        """Get `data` applied by all of `on`, whoever of them leads; it is proposed again if its leader falls."""
        names = [name for name, member in self.members.items() if member.up] if on is None else list(on)
        begin, asked = self.now, (-1, -1)

        def applied() -> bool:
            nonlocal asked
            for member in self.leaders():
                term = member.raft.term
                if member.name in names and (term > asked[0] or self.now - asked[1] > 200):
                    try:
                        leading(member.raft).propose(data)
                    except NotNow:
                        continue
                    asked = term, self.now
                    member.work()
            return all(data in self.members[name].commands[-50:] for name in names)

        self.until(applied, within - (self.now - begin))

    def note_applied(self, name: MemberId, entry: Entry) -> None:
        """State-machine safety (paper figure 3): nobody applies another entry at the same index."""
        chosen = self._chosen.setdefault(entry.index, entry)
        assert chosen == entry, f"{name} applied {entry}, somebody else {chosen}"

    def _check(self) -> None:
        for member in self.leaders():
            first = self._leaders.setdefault(member.raft.term, member.name)
            assert first == member.name, f"{first} and {member.name} both led term {member.raft.term}"

    def check_logs(self) -> None:
        """Log matching (paper figure 3): entries of one index and term are the same, and so are all before."""
        seen: dict[tuple[int, int], tuple[Entry, int]] = {}
        for member in self.members.values():
            log = member.raft.log
            before = log.base.term
            for entry in log.entries(log.base.index + 1, log.last_index, 1 << 40):
                known = seen.setdefault((entry.index, entry.term), (entry, before))
                assert known == (entry, before), f"{member.name} has {entry} behind {before}, others {known}"
                before = entry.term
