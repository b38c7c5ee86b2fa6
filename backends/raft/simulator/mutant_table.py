"""The faults. Each says what others got wrong there, where that is known."""

from __future__ import annotations

from dataclasses import dataclass

PACKAGE = "leasekit.backends.raft"


@dataclass(frozen=True, slots=True)
class Edit:
    """In `module`, `new` stands for `old`."""

    module: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault."""

    name: str
    what: str
    edits: tuple[Edit, ...]


def _mutant(name: str, what: str, module: str, old: str, new: str) -> Mutant:
    return Mutant(name, what, (Edit(module, old, new),))


_ELECTION = (
    _mutant(
        "term-forgotten",
        "the term is not read back at a start (PySyncObj #84)",
        "core.machine",
        "self.term = recovered.hard_state.term",
        "self.term = 0",
    ),
    _mutant(
        "vote-forgotten",
        "the vote is not read back at a start (akka-raft #56)",
        "core.machine",
        "self.vote = recovered.hard_state.vote",
        "self.vote = None",
    ),
    _mutant(
        "vote-before-sync",
        "a vote is told before it is durable (barge #5)",
        "core.machine",
        "self.answer(VoteReply(sender=self.id, to=message.sender, term=self.term, granted=granted))",
        "self.send(VoteReply(sender=self.id, to=message.sender, term=self.term, granted=granted))",
    ),
    _mutant(
        "two-votes",
        "a vote is given to whoever asks",
        "core.machine",
        "free = self.vote == message.sender or (self.vote is None and self.leader_id is None)",
        "free = True",
    ),
    Mutant(
        "vote-counted-twice",
        "a repeated vote counts again (akka-raft #45)",
        (
            Edit(
                "core.ballot",
                "self._votes.setdefault(voter, granted)",
                "self._votes[f'{voter}{len(self._votes)}' if voter in self._votes else voter] = granted",
            ),
            Edit(
                "core.quorum",
                "cast = [votes[voter] for voter in voters if voter in votes]",
                "cast = list(votes.values())",
            ),
        ),
    ),
    _mutant(
        "shorter-log-elected",
        "only the index of the last entry is compared",
        "core.log",
        "return (last_term, last_index) >= (self.last_term, self.last_index)",
        "return last_index >= self.last_index",
    ),
    _mutant(
        "older-log-elected",
        "only the term of the last entry is compared",
        "core.log",
        "return (last_term, last_index) >= (self.last_term, self.last_index)",
        "return last_term >= self.last_term",
    ),
    _mutant(
        "both-not-first",
        "term and index must both be as high (openraft a48a3282)",
        "core.log",
        "return (last_term, last_index) >= (self.last_term, self.last_index)",
        "return last_term >= self.last_term and last_index >= self.last_index",
    ),
    _mutant(
        "pre-vote-counted",
        "the answer to a pre-vote counts as a vote (canonical/raft #196)",
        "core.machine",
        "if ballot is None or ballot.trial != isinstance(message, PreVoteReply):",
        "if ballot is None:",
    ),
    _mutant(
        "half-is-enough",
        "half of an even number of voters is a majority",
        "core.quorum",
        "return voters // 2 + 1",
        "return (voters + 1) // 2",
    ),
    _mutant(
        "old-term-obeyed",
        "messages of earlier terms are obeyed",
        "core.machine",
        "            self._answer_earlier_term(message)\n            return",
        "            self._answer_earlier_term(message)",
    ),
    _mutant(
        "no-second-election",
        "nobody campaigns once there was a term",
        "core.machine",
        "return self.leading is None and self._is_voter and not self.log.restoring",
        "return self.leading is None and self._is_voter and self.term == 0",
    ),
)

_LOG = (
    _mutant(
        "figure-8",
        "entries of earlier terms are committed by counting (paper, figure 8)",
        "core.leader",
        "if index <= log.committed or log.term(index) != self._raft.term:",
        "if index <= log.committed:",
    ),
    _mutant(
        "late-append-truncates",
        "a late or repeated request cuts off what matches (openraft 9540c904)",
        "core.log",
        "            if self.term(entry.index) != entry.term:\n",
        "            if True:\n",
    ),
    _mutant(
        "conflict-kept",
        "a request is taken without a look at what comes before it",
        "core.log",
        "        if self.term(previous_index) != previous_term:\n",
        "        if self.term(previous_index) is None:\n",
    ),
    _mutant(
        "commit-beyond-new",
        "the commit index goes as far as the leader's, not only to the last new entry",
        "core.follower",
        "log.commit_to(min(message.commit, last))",
        "log.commit_to(message.commit)",
    ),
    _mutant(
        "heartbeat-commits-all",
        "a heartbeat tells a commit index beyond what the receiver is known to have",
        "core.leader",
        "commit = min(peer.match, self._log.committed)",
        "commit = self._log.committed",
    ),
    _mutant(
        "acknowledged-before-sync",
        "entries are acknowledged before they are durable",
        "core.follower",
        "raft.answer(AppendReply(sender=raft.id, to=message.sender, term=raft.term, index=last))",
        "raft.send(AppendReply(sender=raft.id, to=message.sender, term=raft.term, index=last))",
    ),
    _mutant(
        "leader-counts-unsynced",
        "the leader counts its own entries before they are durable (etcd #14370)",
        "core.leader",
        "return self._log.stable if voter == self._raft.id",
        "return self._log.last_index if voter == self._raft.id",
    ),
    _mutant(
        "async-append-aba",
        "a write under way makes durable what has replaced its entries (etcd, ABA)",
        "core.log",
        "self._writes = deque((number, min(last, first - 1)) for number, last in self._writes)",
        "self._writes = deque(self._writes)",
    ),
    _mutant(
        "truncated-still-stable",
        "entries that replace durable ones count as durable at once",
        "core.log",
        "self.stable = min(self.stable, first - 1)",
        "self.stable = min(self.stable, self.last_index + 1)",
    ),
    _mutant(
        "replaced-not-written",
        "entries that replace written ones are not written",
        "core.log",
        "self._handed_out = min(self._handed_out, first - 1)",
        "self._handed_out = min(self._handed_out, self.last_index + 1)",
    ),
)

_SNAPSHOT = (
    _mutant(
        "snapshot-drops-suffix",
        "a snapshot of what is here throws away what comes behind it",
        "core.follower",
        "if log.term(meta.index) == meta.term and meta.index > log.committed:",
        "if False:",
    ),
    _mutant(
        "old-snapshot-taken",
        "a snapshot that is older than what is committed is taken",
        "core.follower",
        "    if meta.index <= log.committed:\n        raft.incoming",
        "    if meta.index <= log.base.index:\n        raft.incoming",
    ),
    _mutant(
        "pieces-repeat",
        "a repeated piece of a snapshot is added again",
        "core.follower",
        "if piece.offset == len(self.data):",
        "if piece.offset <= len(self.data):",
    ),
    Mutant(
        "pieces-mixed",
        "pieces of two snapshots make one",
        (
            Edit("core.follower", "        if piece.meta != self.meta:\n", "        if self.meta is None:\n"),
            Edit(
                "core.machine",
                "self.incoming = follower.Incoming()\n        self.leader_id",
                "pass\n        self.leader_id",
            ),
        ),
    ),
    _mutant(
        "snapshot-loses-sessions",
        "a snapshot has no sessions",
        "kv.machine",
        "self._sessions.copies(),",
        "[],",
    ),
    _mutant(
        "snapshot-loses-leases",
        "a snapshot has no leases without keys",
        "kv.machine",
        "list(self._leases.states.values()),",
        "[lease for lease in self._leases.states.values() if lease.renewal % 2],",
    ),
    _mutant(
        "snapshot-later-membership",
        "a snapshot names the latest membership, not that as of its index",
        "server.server",
        "log.membership_at(applied)",
        "log.membership",
    ),
)

_MEMBERSHIP = (
    _mutant(
        "membership-not-rolled-back",
        "a membership that is cut off the log stays in force",
        "core.log",
        "self._memberships = [(at, membership) for at, membership in self._memberships if at < first]",
        "self._memberships = list(self._memberships)",
    ),
    _mutant(
        "membership-ignored-at-start",
        "a membership in the log is not noticed at a start (openraft 6c0ccaf3)",
        "core.log",
        "        self._note_memberships(self._entries)\n        self.committed",
        "        self.committed",
    ),
    _mutant(
        "membership-lost-in-compaction",
        "compaction keeps the first membership, not the latest (openraft dba24036)",
        "core.log",
        "self._memberships = [(index, held[-1][1]), *self._memberships[len(held) :]]",
        "self._memberships = [(index, held[0][1]), *self._memberships[len(held) :]]",
    ),
    _mutant(
        "change-before-own-term",
        "a membership changes before an entry of the leader's term is committed (raft-dev, 2015)",
        "core.leader",
        "if not self.committed_own_term or self._log.membership_index > self._log.committed:",
        "if self._log.membership_index > self._log.committed:",
    ),
    _mutant(
        "two-changes",
        "a membership changes before the change before it is committed",
        "core.leader",
        "if not self.committed_own_term or self._log.membership_index > self._log.committed:",
        "if not self.committed_own_term:",
    ),
    _mutant(
        "learners-count",
        "learners count towards a majority",
        "core.leader",
        "index = agreed([self._match(voter) for voter in log.membership.voters])",
        "index = agreed([self._match(voter) for voter in [*log.membership.voters, *log.membership.learners]])",
    ),
)

_CLIENTS = (
    _mutant(
        "deposed-leader-reads",
        "reads are answered without asking a majority (RedisRaft)",
        "core.leader",
        "while self._asked_reads and self._asked_reads[0][0] <= confirmed:",
        "while self._asked_reads:",
    ),
    _mutant(
        "read-before-own-term",
        "reads are answered before an entry of the leader's term is committed (RedisRaft PR 22)",
        "core.leader",
        "        if not self.committed_own_term:\n            self._early_reads",
        "        if self._log.committed < 0:\n            self._early_reads",
    ),
    _mutant(
        "read-round-reused",
        "a read is confirmed by a round that began before it (etcd #20418)",
        "core.leader",
        "        if self._unsent_reads:\n            self._round += 1\n",
        "        if self._unsent_reads:\n",
    ),
    _mutant(
        "applied-twice",
        "a command that is sent again is done again",
        "kv.sessions",
        "self._by_id[proposal.session].kept[proposal.sequence] = outcome",
        "self._by_id[proposal.session].kept.pop(proposal.sequence, outcome)",
    ),
    _mutant(
        "answer-forgotten-early",
        "an outcome is forgotten before its client has acknowledged it",
        "kv.sessions",
        "self._forget(session, proposal.acknowledged)",
        "self._forget(session, proposal.sequence)",
    ),
    _mutant(
        "unknown-called-undone",
        "who loses the leadership says that proposals were surely not done",
        "server.server",
        "self._refuse(waiting.client, waiting.request, Problem.UNKNOWN, text)",
        "self._refuse(waiting.client, waiting.request, Problem.UNAVAILABLE, text)",
    ),
    _mutant(
        "compare-by-creation",
        "a compare looks at the creation revision",
        "kv.transaction",
        "found.revision != compare.revision",
        "found.create_revision != compare.revision",
    ),
    _mutant(
        "watch-skips-one",
        "a resumed watch skips the first change",
        "kv.history",
        "            if revision <= after:\n",
        "            if revision <= after + 1:\n",
    ),
    _mutant(
        "watch-tells-last",
        "of several changes at once only the last is told",
        "server.watches",
        "untold, self._all[watch].untold = self._all[watch].untold, []",
        "untold, self._all[watch].untold = self._all[watch].untold[-1:], []",
    ),
)

_LEASES = (
    _mutant(
        "expiry-ignores-renewal",
        "a lease ends although it was renewed meanwhile (etcd #15247)",
        "kv.machine",
        "if lease is None or lease.renewal != command.renewal:",
        "if lease is None:",
    ),
    _mutant(
        "new-leader-ends-leases",
        "a new leader does not grant the whole time anew (etcd lessor)",
        "server.leases",
        "            self.begin(lease, now)\n\n    def begin",
        "            self.begin(lease, now.plus(-lease.ttl_ms / 1000))\n\n    def begin",
    ),
    _mutant(
        "lease-ends-early",
        "leases end a tenth too early",
        "server.leases",
        "now.plus(lease.ttl_ms / 1000)",
        "now.plus(lease.ttl_ms / 1112)",
    ),
    _mutant(
        "renewal-not-counted",
        "the leader goes on counting from the grant",
        "kv.machine",
        "renewed = LeaseState(lease_id, lease.ttl_ms, index)",
        "renewed = LeaseState(lease_id, lease.ttl_ms, lease.renewal)",
    ),
    _mutant(
        "keys-outlive-lease",
        "the keys of an ended lease stay",
        "kv.machine",
        "        self._keys.remove(keys)\n        changes = tuple([Changed",
        "        changes = tuple([Changed",
    ),
    _mutant(
        "put-on-unknown-lease",
        "a key is put on a lease that has ended",
        "kv.machine",
        "            if isinstance(op, Put) and op.lease_id is not None and op.lease_id not in leases.states:\n"
        "                return Applied(LeaseUnknown(op.lease_id))\n",
        "            if isinstance(op, Put) and op.lease_id is not None and op.lease_id not in leases.states:\n"
        "                leases.set(LeaseState(op.lease_id, 1000, index))\n",
    ),
)

_DISK = (
    _mutant(
        "no-sync",
        "writes are not synced",
        "wal.segments",
        "        self._file.datasync()\n",
        "",
    ),
    _mutant(
        "snapshot-not-synced",
        "a snapshot's file is not synced before the log relies on it",
        "wal.snapshots",
        "        file.datasync()\n",
        "",
    ),
    _mutant(
        "vote-lost-in-rotation",
        "a new segment begins without term and vote",
        "wal.log",
        "head: list[Part] = [(Type.HARD_STATE, records.encode_hard_state(self._hard_state))]",
        "head: list[Part] = [(Type.HARD_STATE, records.encode_hard_state(type(self._hard_state)()))]",
    ),
    _mutant(
        "segment-deleted-early",
        "a segment is deleted that has an entry behind the snapshot",
        "wal.log",
        "self._highest[number] >= keep_from:",
        "self._highest[number] > keep_from + 3:",
    ),
    _mutant(
        "truncation-not-replayed",
        "entries that were replaced come back at a start",
        "wal.replay",
        "            del self.entries[entry.index - self.entries[0].index :]\n        self.entries.append(entry)\n",
        "            if entry.index <= self.last_index:\n                return\n        self.entries.append(entry)\n",
    ),
)

MUTANTS: tuple[Mutant, ...] = (*_ELECTION, *_LOG, *_SNAPSHOT, *_MEMBERSHIP, *_CLIENTS, *_LEASES, *_DISK)
