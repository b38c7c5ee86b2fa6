"""A second state machine, as plain as can be, that applies the committed log and judges what clients were told.

Since the revision is the log index, the log is the one order that explains all answers, over all keys: so every answer
must be what the log says at its index, and no answer may come from before what anybody knew when it was asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass

from leasekit.backends.raft.kv import outcomes
from leasekit.backends.raft.kv.commands import Expire, Grant, OpenSession, Proposal, Renew, Revoke, Transact, decode
from leasekit.backends.raft.requests import Event
from leasekit.backends.raft.simulator.invariants import ensure
from leasekit.backends.raft.simulator.schedule import MachineClock
from leasekit.store import Absent, At, Changed, Committed, Compare, Delete, Entry, Get, Op, Put

SLOWEST = 1 + MachineClock.DRIFT_MAX
"""How many seconds the fastest clock counts in a second: a lease of a member with it ends that much too early."""


@dataclass(slots=True)
class LeaseRecord:
    """A lease that lives."""

    ttl_s: float
    renewal: int
    promised_until_s: float = 0.0
    """What its holder may trust in: the last acknowledged renewal was asked for so and so long ago."""


class Reference:
    """Told of every entry as it is committed for the first time, and of every answer to a client."""

    def __init__(self, counts: Counter[str]) -> None:
        self.applied = 0
        self.horizon = 0
        """The latest revision that any client was told of."""
        self._counts = counts
        self._keys: dict[str, Entry] = {}
        self._versions: dict[str, list[tuple[int, Entry | None]]] = {}
        self._changes: list[tuple[int, str, Entry | None]] = []
        self._leases: dict[str, LeaseRecord] = {}
        self._ended_s: dict[str, float] = {}
        self._sessions: dict[bytes, int] = {}
        self._acknowledged: dict[int, int] = {}
        self._answers: dict[tuple[int, int], tuple[int, outcomes.Outcome]] = {}
        self._denied: set[tuple[int, int]] = set()
        self._believers: dict[str, tuple[str, int, float]] = {}

    # The log.

    def apply(self, index: int, data: bytes, now_s: float) -> None:
        """The entry at `index` is committed. `data` is empty if it is no command."""
        assert index == self.applied + 1
        self.applied = index
        if not data:
            return
        proposal = decode(data)
        if not proposal.session:
            self._perform(index, proposal, now_s)
            return
        ensure(proposal.session in self._acknowledged, "a proposal of a session that was never opened", proposal)
        acknowledged = max(self._acknowledged[proposal.session], proposal.acknowledged)
        self._acknowledged[proposal.session] = acknowledged
        asked = (proposal.session, proposal.sequence)
        ensure(asked not in self._denied, "done, after it was said that it surely was not", proposal)
        if proposal.sequence <= acknowledged or asked in self._answers:
            self._counts["repeated commands"] += 1
            return
        self._answers[asked] = (index, self._perform(index, proposal, now_s))

    def _perform(self, index: int, proposal: Proposal, now_s: float) -> outcomes.Outcome:
        match proposal.command:
            case Grant(ttl_ms=ttl_ms):
                self._leases[str(index)] = LeaseRecord(ttl_ms / 1000, index)
                return outcomes.Granted(str(index), ttl_ms)
            case Renew(lease_id=lease_id):
                if (lease := self._leases.get(lease_id)) is None:
                    return outcomes.LeaseUnknown(lease_id)
                lease.renewal = index
                return outcomes.Renewed(round(lease.ttl_s * 1000))
            case Revoke(lease_id=lease_id):
                self._end(index, lease_id)
                return outcomes.Revoked()
            case Expire(lease_id=lease_id, renewal=renewal):
                return self._expire(index, lease_id, renewal, now_s)
            case OpenSession(nonce=nonce):
                session = self._sessions.setdefault(nonce, index)
                self._acknowledged.setdefault(session, 0)
                return outcomes.SessionOpened(session)
            case Transact(compares=compares, ops=ops):
                return self._transact(index, compares, ops, now_s)

    def _expire(self, index: int, lease_id: str, renewal: int, now_s: float) -> outcomes.Outcome:
        lease = self._leases.get(lease_id)
        if lease is None or lease.renewal != renewal:
            return outcomes.Expired(False)
        self._counts["leases expired"] += 1
        ensure(now_s >= lease.promised_until_s, "a lease ends before its time", lease_id, lease, now_s)
        self._ended_s[lease_id] = now_s
        self._end(index, lease_id)
        return outcomes.Expired(True)

    def _end(self, index: int, lease_id: str) -> None:
        if self._leases.pop(lease_id, None) is not None:
            for key in [key for key, entry in self._keys.items() if entry.lease_id == lease_id]:
                self._set(index, key, None)

    def _transact(
        self, index: int, compares: tuple[Compare, ...], ops: tuple[Op, ...], now_s: float
    ) -> outcomes.Outcome:
        if not all(self._holds(compare) for compare in compares):
            return outcomes.Transacted(None)
        for op in ops:
            if isinstance(op, Put) and op.lease_id is not None and op.lease_id not in self._leases:
                return outcomes.LeaseUnknown(op.lease_id)
        reads = []
        for op in ops:
            match op:
                case Put(key=key, value=value, lease_id=lease_id):
                    old = self._keys.get(key)
                    created = index if old is None else old.create_revision
                    self._set(index, key, Entry(key, value, created, index, lease_id))
                    self._check_alone(key, value.decode(), now_s)
                case Delete(key=key) if key in self._keys:
                    self._set(index, key, None)
                case Get():
                    reads.append(self._read(op, index))
        return outcomes.Transacted(Committed(index, tuple(reads)))

    def _holds(self, compare: Compare) -> bool:
        match compare:
            case Absent(key=key):
                return key not in self._keys
            case At(key=key, revision=revision):
                return key in self._keys and self._keys[key].revision == revision
            case _:
                return not any(key.startswith(compare.prefix) for key in self._keys)

    def _set(self, index: int, key: str, entry: Entry | None) -> None:
        if entry is None:
            del self._keys[key]
        else:
            self._keys[key] = entry
        versions = self._versions.setdefault(key, [])
        if versions and versions[-1][0] == index:
            versions.pop()
        versions.append((index, entry))
        self._changes.append((index, key, entry))

    def _read(self, get: Get, revision: int) -> tuple[Entry, ...]:
        keys = sorted(key for key in self._versions if key.startswith(get.key)) if get.prefix else [get.key]
        found = [self._at(key, revision) for key in keys]
        return tuple(entry for entry in found if entry is not None)

    def _at(self, key: str, revision: int) -> Entry | None:
        versions = self._versions.get(key, [])
        place = bisect_right(versions, revision, key=lambda version: version[0])
        return versions[place - 1][1] if place else None

    def entries(self) -> tuple[Entry, ...]:
        """All keys as of `applied`, in their order."""
        return tuple(entry for _, entry in sorted(self._keys.items()))

    @property
    def leases(self) -> list[str]:
        """Those that live."""
        return list(self._leases)

    # What clients were told.

    def answered(self, session: int, sequence: int, told: outcomes.Outcome, asked_at: int) -> int:
        """A command's outcome; `asked_at` was the horizon when it was first asked for. Its index."""
        ensure((session, sequence) in self._answers, "acknowledged, but not committed", session, sequence, told)
        index, right = self._answers[session, sequence]
        ensure(told == right, "a wrong answer", session, sequence, index, told, right)
        ensure(index > asked_at, "done before it was asked for", session, sequence, index, asked_at)
        self.horizon = max(self.horizon, index)
        return index

    def denied(self, session: int, sequence: int) -> None:
        """Every copy of this command was answered with: surely not done. None will be sent again."""
        asked = (session, sequence)
        ensure(asked not in self._answers, "said to be surely not done, but it is", session, sequence)
        self._denied.add(asked)

    def opened(self, nonce: bytes, session: int) -> None:
        """A session was opened."""
        ensure(self._sessions.get(nonce) == session, "a session that was not opened", nonce, session)

    def read(self, ops: tuple[Get, ...], told: Committed, asked_at: int) -> None:
        """A read's answer; `asked_at` was the horizon when it was asked for."""
        ensure(told.revision >= asked_at, "a stale read", ops, told, asked_at)
        ensure(told.revision <= self.applied, "a read of what is not committed", ops, told, self.applied)
        right = tuple(self._read(get, told.revision) for get in ops)
        ensure(told.reads == right, "a wrong read", ops, told, right)
        self.horizon = max(self.horizon, told.revision)

    def watched(self, key: str, prefix: bool, after: int, event: Event) -> None:
        """An event of a watch that had told everything up to `after` (ordered, unique, atomic, reliable, resumable)."""
        ensure(event.revision >= after, "a watch goes back", key, after, event)
        ensure(event.revision <= self.applied, "a watch tells what is not committed", key, event, self.applied)
        if event.resync:
            self._counts["watch resyncs"] += 1
            return
        told = list(event.changes)
        ensure(told == sorted(told, key=lambda change: change.revision), "changes are out of order", key, after, event)
        start = bisect_right(self._changes, after, key=lambda change: change[0])
        end = bisect_right(self._changes, event.revision, key=lambda change: change[0])
        right = [
            Changed(name, entry, revision)
            for revision, name, entry in self._changes[start:end]
            if name == key or (prefix and name.startswith(key))
        ]
        same = sorted(told, key=_place) == sorted(right, key=_place)
        ensure(same, "a watch tells other changes than there were", key, after, event, right)
        self._counts["changes watched"] += len(told)

    # Leases and leaderships.

    def renewed(self, lease_id: str, ttl_s: float, asked_s: float) -> None:
        """A grant or renewal was acknowledged, which was first asked for at `asked_s`."""
        until_s = asked_s + ttl_s / SLOWEST
        if lease_id in self._ended_s:
            ensure(self._ended_s[lease_id] >= until_s, "a lease had ended before its time", lease_id, until_s)
        if lease_id in self._leases:
            lease = self._leases[lease_id]
            lease.promised_until_s = max(lease.promised_until_s, until_s)

    def believes(self, key: str, holder: str, token: int, until_s: float, now_s: float) -> None:
        """`holder` leads with `token`, and trusts in it until `until_s`, or until it says `gave_up`."""
        _, latest, _ = self._believers.get(key, (holder, 0, 0.0))
        if token >= latest:
            self._believers[key] = (holder, token, until_s)
        else:
            ensure(until_s <= now_s, "one leads with a token that is not the latest", key, holder, token, latest)

    def gave_up(self, key: str, token: int) -> None:
        """Whoever led with `token` does so no more."""
        if key in self._believers and self._believers[key][1] == token:
            holder, _, _ = self._believers[key]
            self._believers[key] = (holder, token, 0.0)

    def _check_alone(self, key: str, holder: str, now_s: float) -> None:
        if key in self._believers:
            other, token, until_s = self._believers[key]
            alone = other == holder or now_s >= until_s
            ensure(alone, "two lead at once", key, holder, other, token, now_s, until_s)


def _place(change: Changed) -> tuple[int, str]:
    return change.revision, change.key
