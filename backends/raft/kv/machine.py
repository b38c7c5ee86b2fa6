"""The replicated state machine: entries of the log in, outcomes and changes out. Deterministic: no clock, no chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from leasekit.backends.raft.kv.commands import (
    Command,
    Expire,
    Grant,
    MalformedCommand,
    OpenSession,
    Renew,
    Revoke,
    Transact,
    decode,
)
from leasekit.backends.raft.kv.history import REVISIONS_MAX, SIZE_MAX_BYTES, History
from leasekit.backends.raft.kv.keys import Keys
from leasekit.backends.raft.kv.leases import Leases, LeaseState
from leasekit.backends.raft.kv.limits import (
    ANSWER_MAX_BYTES,
    ANSWERS_KEPT_MAX,
    CAPACITY_BYTES,
    OVERHEAD_BYTES,
    SESSIONS_MAX,
)
from leasekit.backends.raft.kv.outcomes import (
    Expired,
    Full,
    Granted,
    LeaseUnknown,
    Outcome,
    Renewed,
    Revoked,
    SessionOpened,
    TooLarge,
    Transacted,
    size_of,
)
from leasekit.backends.raft.kv.sessions import Sessions
from leasekit.backends.raft.kv.snapshot import Frozen, MalformedSnapshot, thaw
from leasekit.backends.raft.kv.transaction import all_hold, stage
from leasekit.store import Changed, Committed, Compare, Entry, Get, Op, Put


class CannotApply(Exception):
    """This member cannot apply a committed entry, and must stop: to skip it would make it differ from the others.

    The entry was written by a newer version (upgrade this member), or entries came out of order (our fault).
    """


@dataclass(frozen=True, slots=True)
class Applied:
    """What an entry brought about. `outcome` is None for an entry without a command."""

    outcome: Outcome | None
    changes: tuple[Changed, ...] = ()
    granted: tuple[LeaseState, ...] = ()
    """Leases that begin their time to live now: granted, or renewed."""
    ended: tuple[str, ...] = ()
    """Leases that are gone."""


_NOTHING = Applied(None)


class StateMachine:
    """Keys, leases and sessions as of `applied`.

    `capacity_bytes`, `sessions_max` and `kept_max` decide what is refused: they must be the same on all members.
    `history_max` (revisions) and `history_max_bytes` are each member's own affair.
    """

    def __init__(
        self,
        *,
        capacity_bytes: int = CAPACITY_BYTES,
        sessions_max: int = SESSIONS_MAX,
        kept_max: int = ANSWERS_KEPT_MAX,
        history_max: int = REVISIONS_MAX,
        history_max_bytes: int = SIZE_MAX_BYTES,
    ) -> None:
        self.applied = 0
        """The log index up to which everything is applied; the revision of reads."""
        self._capacity_bytes = capacity_bytes
        self._keys = Keys()
        self._leases = Leases()
        self._sessions = Sessions(sessions_max, kept_max)
        self._history = History(history_max, history_max_bytes)

    @property
    def leases(self) -> Mapping[str, LeaseState]:
        """The living leases, by id: a view that follows until `restore`."""
        return MappingProxyType(self._leases.states)

    @property
    def size_bytes(self) -> int:
        """What counts against the capacity: keys, values, what kept answers have read, and an overhead for each."""
        return self._keys.size_bytes + self._leases.size_bytes + self._sessions.size_bytes

    @property
    def compacted(self) -> int:
        """The revision up to which changes may be forgotten."""
        return self._history.compacted

    # The log.

    def apply(self, index: int, data: bytes) -> Applied:
        """Apply the entry at `index`, which follows `applied`; of an entry that is no command, `data` is empty.

        Raises CannotApply, with nothing changed: stop this member.
        """
        if index != self.applied + 1:
            raise CannotApply(f"entry {index} does not follow entry {self.applied}")
        if not data:
            self.applied = index
            return _NOTHING
        try:
            proposal = decode(data)
        except MalformedCommand as error:
            raise CannotApply(f"entry {index}: {error}") from error
        self.applied = index
        if not proposal.session:
            return self._perform(index, proposal.command)
        answered = self._sessions.answered(proposal)
        if answered is not None:
            return Applied(answered)
        applied = self._perform(index, proposal.command)
        assert applied.outcome is not None
        self._sessions.keep(proposal, applied.outcome)
        return applied

    def _perform(self, index: int, command: Command) -> Applied:
        if isinstance(command, Transact):
            return self._transact(index, command)
        if isinstance(command, Renew):
            return self._renew(index, command.lease_id)
        if isinstance(command, Grant):
            return self._grant(index, command.ttl_ms)
        if isinstance(command, Revoke):
            known = command.lease_id in self._leases.states
            return self._end(index, command.lease_id, Revoked()) if known else Applied(Revoked())
        if isinstance(command, Expire):
            return self._expire(index, command)
        assert isinstance(command, OpenSession)
        return Applied(SessionOpened(self._sessions.open(command.nonce, index)))

    def _transact(self, index: int, command: Transact) -> Applied:
        if not all_hold(self._keys, command.compares):
            return Applied(Transacted(None))
        leases = self._leases
        for op in command.ops:
            if isinstance(op, Put) and op.lease_id is not None and op.lease_id not in leases.states:
                return Applied(LeaseUnknown(op.lease_id))
        staged = stage(self._keys, command.ops, index)
        read_bytes = size_of(staged.reads) if staged.reads else 0
        if read_bytes > ANSWER_MAX_BYTES:
            return Applied(TooLarge())
        if self._is_too_much(staged.growth_bytes + read_bytes):
            return Applied(Full())
        changes: list[Changed] = []
        for key, entry in staged.writes.items():
            old = self._keys.entries.get(key)
            leases.move(key, None if old is None else old.lease_id, None if entry is None else entry.lease_id)
            if entry is None:
                self._keys.remove([key])
            else:
                self._keys.put(entry)
            changes.append(Changed(key, entry, index))
        return Applied(Transacted(Committed(index, staged.reads)), self._told(index, tuple(changes)))

    def _grant(self, index: int, ttl_ms: int) -> Applied:
        if self._is_too_much(OVERHEAD_BYTES):
            return Applied(Full())
        lease = LeaseState(str(index), ttl_ms, index)
        self._leases.set(lease)
        return Applied(Granted(lease.id, ttl_ms), granted=(lease,))

    def _renew(self, index: int, lease_id: str) -> Applied:
        lease = self._leases.states.get(lease_id)
        if lease is None:
            return Applied(LeaseUnknown(lease_id))
        renewed = LeaseState(lease_id, lease.ttl_ms, index)
        self._leases.set(renewed)
        return Applied(Renewed(lease.ttl_ms), granted=(renewed,))

    def _expire(self, index: int, command: Expire) -> Applied:
        lease = self._leases.states.get(command.lease_id)
        # A renewal may have reached the log between the leader's judgement and this entry: then the lease lives.
        if lease is None or lease.renewal != command.renewal:
            return Applied(Expired(False))
        return self._end(index, command.lease_id, Expired(True))

    def _end(self, index: int, lease_id: str, outcome: Outcome) -> Applied:
        keys = self._leases.end(lease_id)
        self._keys.remove(keys)
        changes = tuple([Changed(key, None, index) for key in keys])
        return Applied(outcome, self._told(index, changes), ended=(lease_id,))

    def _told(self, index: int, changes: tuple[Changed, ...]) -> tuple[Changed, ...]:
        if changes:
            self._history.record(index, changes)
        return changes

    def _is_too_much(self, growth_bytes: int) -> bool:
        return growth_bytes > 0 and self.size_bytes + growth_bytes > self._capacity_bytes

    # Reads, as of `applied`.

    def get(self, key: str) -> Entry | None:
        """The key as of `applied`."""
        return self._keys.entries.get(key)

    def scan(self, prefix: str) -> tuple[Entry, ...]:
        """All keys that start with `prefix`, in key order."""
        return tuple(self._keys.under(prefix))

    def read(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Committed | None:
        """A transaction of Gets alone, of any size. None if a compare fails. Raises ValueError if there is a write."""
        if not all(isinstance(op, Get) for op in ops):
            raise ValueError("a read does not write")
        if not all_hold(self._keys, compares):
            return None
        return Committed(self.applied, stage(self._keys, ops, self.applied).reads)

    def changes_since(self, key: str, prefix: bool, after: int) -> tuple[Changed, ...] | None:
        """The changes of `key` (or of all keys with that prefix) in (`after`, `applied`]. None: some may be missing.

        That is so if they are forgotten, and if `after` is later than `applied`: a revision from other data than
        these. A leader must therefore have applied what its predecessors committed before it answers with this.
        """
        if after > self.applied:
            return None
        return self._history.since(key, prefix, after)

    # Snapshots.

    def freeze(self) -> Frozen:
        """The state as of now, to be encoded elsewhere. Copies references alone, no keys or values."""
        return Frozen(
            self.applied,
            self._keys.order.copy(),
            self._keys.entries.copy(),
            list(self._leases.states.values()),
            self._sessions.copies(),
        )

    def restore(self, data: bytes, index: int) -> None:
        """Become what was frozen at `index`; no bytes at index 0 are the state before all entries.

        Raises MalformedSnapshot, with nothing changed.
        """
        sessions = self._sessions.empty()
        if index == 0 and not data:
            self._keys, self._leases, self._sessions = Keys(), Leases(), sessions
        else:
            thawed = thaw(data, sessions)
            if thawed.applied != index:
                raise MalformedSnapshot(f"the snapshot is as of {thawed.applied}, not of {index}")
            self._keys, self._leases, self._sessions = thawed.keys, thawed.leases, thawed.sessions
        self.applied = index
        self._history = self._history.empty(compacted=index)
