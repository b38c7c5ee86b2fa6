"""What Raft's state machine should do, written for plainness: everything is copied, counted and searched anew each time.

Nothing is encoded, indexed or forgotten here, so that it shares no mistake with `leasekit.backends.raft.kv`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from leasekit.backends.raft.kv.commands import Command, Expire, Grant, OpenSession, Proposal, Renew, Revoke, Transact
from leasekit.backends.raft.kv.outcomes import (
    Expired,
    Forgotten,
    Full,
    Granted,
    LeaseUnknown,
    Outcome,
    Renewed,
    Revoked,
    SessionOpened,
    SessionUnknown,
    TooManyOutstanding,
    Transacted,
)
from leasekit.store import Absent, At, Changed, Committed, Compare, Entry, Get, Put

OVERHEAD_BYTES = 256


@dataclass
class ModelSession:
    """One client's; `answers` has all of them, also those long acknowledged."""

    id: int
    nonce: bytes
    used: int
    acknowledged: int = 0
    answers: dict[int, Outcome] = field(default_factory=dict)

    def kept(self) -> list[Outcome]:
        """The answers that are not acknowledged."""
        return [answer for sequence, answer in self.answers.items() if sequence > self.acknowledged]


@dataclass
class KvModel:
    """The state as of `applied`, and every change since the beginning."""

    capacity_bytes: int
    sessions_max: int
    kept_max: int
    applied: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    leases: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Id to (ttl_ms, renewal)."""
    sessions: list[ModelSession] = field(default_factory=list)
    changes: list[Changed] = field(default_factory=list)

    def apply(self, proposal: Proposal | None) -> Outcome | None:
        """Apply the next entry of the log; None is one without a command."""
        self.applied += 1
        if proposal is None:
            return None
        if proposal.session == 0:
            return self._perform(proposal.command)
        session = next((each for each in self.sessions if each.id == proposal.session), None)
        if session is None:
            return SessionUnknown()
        session.used = self.applied
        session.acknowledged = max(session.acknowledged, proposal.acknowledged)
        if proposal.sequence <= session.acknowledged:
            return Forgotten()
        if proposal.sequence not in session.answers:
            if len(session.kept()) == self.kept_max:
                return TooManyOutstanding()
            session.answers[proposal.sequence] = self._perform(proposal.command)
        return session.answers[proposal.sequence]

    def under(self, prefix: str) -> tuple[Entry, ...]:
        """The entries whose key starts with `prefix`, in key order."""
        return tuple(self.entries[key] for key in sorted(self.entries) if key.startswith(prefix))

    def holds(self, compare: Compare) -> bool:
        """Whether the compare does."""
        if isinstance(compare, Absent):
            return compare.key not in self.entries
        if isinstance(compare, At):
            return compare.key in self.entries and self.entries[compare.key].revision == compare.revision
        return not self.under(compare.prefix)

    def size_bytes(self) -> int:
        """What counts against the capacity."""
        answers = [answer for session in self.sessions for answer in session.kept()]
        read = [entry for answer in answers for entry in _read_by(answer)]
        return (
            sum(_bytes(entry) + OVERHEAD_BYTES for entry in self.entries.values())
            + OVERHEAD_BYTES * len(self.leases)
            + sum(map(_bytes, read))
        )

    def _perform(self, command: Command) -> Outcome:
        match command:
            case Transact():
                return self._transact(command)
            case Grant(ttl_ms):
                if self.size_bytes() + OVERHEAD_BYTES > self.capacity_bytes:
                    return Full()
                self.leases[str(self.applied)] = (ttl_ms, self.applied)
                return Granted(str(self.applied), ttl_ms)
            case Renew(lease_id):
                if lease_id not in self.leases:
                    return LeaseUnknown(lease_id)
                ttl_ms, _ = self.leases[lease_id]
                self.leases[lease_id] = (ttl_ms, self.applied)
                return Renewed(ttl_ms)
            case Revoke(lease_id):
                self._end(lease_id)
                return Revoked()
            case Expire(lease_id, renewal):
                due = lease_id in self.leases and self.leases[lease_id][1] == renewal
                if due:
                    self._end(lease_id)
                return Expired(due)
            case OpenSession(nonce):
                return SessionOpened(self._open(nonce))

    def _open(self, nonce: bytes) -> int:
        for session in self.sessions:
            if session.nonce == nonce:
                session.used = self.applied
                return session.id
        if len(self.sessions) == self.sessions_max:
            self.sessions.remove(min(self.sessions, key=lambda session: session.used))
        self.sessions.append(ModelSession(self.applied, nonce, self.applied))
        return self.applied

    def _transact(self, command: Transact) -> Outcome:
        if not all(self.holds(compare) for compare in command.compares):
            return Transacted(None)
        for op in command.ops:
            if isinstance(op, Put) and op.lease_id is not None and op.lease_id not in self.leases:
                return LeaseUnknown(op.lease_id)
        entries, size_bytes, told = dict(self.entries), self.size_bytes(), len(self.changes)
        reads: list[tuple[Entry, ...]] = []
        for op in command.ops:
            if isinstance(op, Get):
                found = self.under(op.key) if op.prefix else self.under(op.key)[:1]
                reads.append(tuple(entry for entry in found if op.prefix or entry.key == op.key))
            elif isinstance(op, Put):
                old = self.entries.get(op.key)
                created = old.create_revision if old else self.applied
                self.entries[op.key] = Entry(op.key, op.value, created, self.applied, op.lease_id)
                self.changes.append(Changed(op.key, self.entries[op.key], self.applied))
            elif self.entries.pop(op.key, None) is not None:
                self.changes.append(Changed(op.key, None, self.applied))
        answer = Transacted(Committed(self.applied, tuple(reads)))
        after_bytes = self.size_bytes() + sum(map(_bytes, _read_by(answer)))
        if after_bytes > max(size_bytes, self.capacity_bytes):
            self.entries = entries
            del self.changes[told:]
            return Full()
        return answer

    def _end(self, lease_id: str) -> None:
        if self.leases.pop(lease_id, None) is not None:
            for entry in self.under(""):
                if entry.lease_id == lease_id:
                    del self.entries[entry.key]
                    self.changes.append(Changed(entry.key, None, self.applied))


def _read_by(answer: Outcome) -> list[Entry]:
    if isinstance(answer, Transacted) and answer.committed is not None:
        return [entry for entries in answer.committed.reads for entry in entries]
    return []


def _bytes(entry: Entry) -> int:
    return len(entry.key.encode()) + len(entry.value)
