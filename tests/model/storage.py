"""A store small enough to be part of a state: the contract of `leasekit.store`, as etcd or as Consul keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from leasekit.errors import LeaseLost
from leasekit.store import Absent, At, Committed, Compare, Delete, Entry, Get, Op, Put
from model.interning import Interner

OUT_OF_TURN_TICKS = 6
"""After this long without a leader anybody may claim: 2 x ttl (rule 5)."""
FOR_EVER = -1
"""In place of the ticks that a lease has left."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What differs between stores."""

    name: str
    lease_ticks: int
    """How long after its last renewal a lease surely lives."""
    compares_empty: bool
    rebinding_creates: bool
    """Whether a put under another lease is a delete and a create."""
    checks_lease_first: bool
    """Whether a dead lease is reported even where a compare fails as well."""


ETCD = Kind("etcd", lease_ticks=3, compares_empty=True, rebinding_creates=False, checks_lease_first=False)
CONSUL = Kind("consul", lease_ticks=6, compares_empty=False, rebinding_creates=True, checks_lease_first=True)


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """The contents of a store. Made by `Shelf` only, so that equal contents are one object."""

    revision: int
    entries: tuple[Entry, ...]
    """In key order."""
    deleted: tuple[tuple[str, int], ...]
    """Keys that are gone, and since which revision."""
    leases: tuple[tuple[str, int], ...]
    """Leases and the ticks until they may run out."""
    vacant: int = 0
    """Ticks for which candidates have queued and nobody has led, no more than `OUT_OF_TURN_TICKS`. Whoever leads for
    less than a tick does not count, for a watch may tell of it when it is over."""
    by_key: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_key.update((entry.key, entry) for entry in self.entries)

    def changed_at(self, key: str) -> int:
        """The revision of the key's last change, 0 if it never was."""
        entry = self.by_key.get(key)
        return entry.revision if entry else dict(self.deleted).get(key, 0)

    def lives(self, lease_id: str) -> bool:
        return any(lease_id == known for known, _ in self.leases)


class Shelf:
    """Makes storages: all changes go through here."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._make: Interner[Storage] = Interner(Storage)

    def empty(self) -> Storage:
        return self._make(0, (), (), (), 0)

    def transact(
        self, store: Storage, compares: tuple[Compare, ...], ops: tuple[Op, ...]
    ) -> tuple[Storage, Committed | None]:
        """Raises LeaseLost, with nothing done."""
        if self.kind.checks_lease_first:
            _check_leases(store, ops)
        if not all(_holds(store, compare) for compare in compares):
            return store, None
        _check_leases(store, ops)
        revision = store.revision + 1
        entries, reads, wrote = dict(store.by_key), [], False
        for op in ops:
            match op:
                case Get(key, prefix=True):
                    reads.append(tuple(entries[name] for name in sorted(entries) if name.startswith(key)))
                case Get(key):
                    reads.append((entries[key],) if key in entries else ())
                case Delete(key):
                    wrote |= entries.pop(key, None) is not None
                case Put():
                    entries[op.key] = self._put(op, entries.get(op.key), revision)
                    wrote = True
        if not wrote:
            return store, Committed(store.revision, tuple(reads))
        return self._changed(store, entries.values()), Committed(revision, tuple(reads))

    def _put(self, op: Put, old: Entry | None, revision: int) -> Entry:
        anew = old is None or (self.kind.rebinding_creates and old.lease_id != op.lease_id)
        create_revision = revision if anew or old is None else old.create_revision
        return Entry(op.key, op.value, create_revision, revision, op.lease_id)

    def _changed(self, store: Storage, entries: Iterable[Entry]) -> Storage:
        """The storage with these entries, one revision later."""
        left = {entry.key: entry for entry in entries}
        gone = {key: store.revision + 1 for key in store.by_key if key not in left}
        deleted = {key: at for key, at in (dict(store.deleted) | gone).items() if key not in left}
        kept = tuple(left[key] for key in sorted(left))
        return self._make(store.revision + 1, kept, tuple(sorted(deleted.items())), store.leases, store.vacant)

    def granted(self, store: Storage, lease_id: str) -> Storage:
        """Also what a renewal does."""
        leases = dict(store.leases) | {lease_id: self.kind.lease_ticks}
        return self._with_leases(store, leases)

    def ended(self, store: Storage, lease_id: str) -> Storage:
        """The lease has run out or was revoked: its keys go with it."""
        if not store.lives(lease_id):
            return store
        leases = {known: left for known, left in store.leases if known != lease_id}
        without = self._with_leases(store, leases)
        kept = [entry for entry in store.entries if entry.lease_id != lease_id]
        return without if len(kept) == len(store.entries) else self._changed(without, kept)

    def immortal(self, store: Storage, lease_id: str) -> Storage:
        """With a lease that never ends: a process that hangs, but renews."""
        return self._with_leases(store, dict(store.leases) | {lease_id: FOR_EVER})

    def aged(self, store: Storage) -> Storage:
        """One tick later."""
        later = self._with_leases(store, {known: left if left <= 0 else left - 1 for known, left in store.leases})
        vacant = min(OUT_OF_TURN_TICKS, store.vacant + 1) if is_vacant(store.entries) else 0
        return self._make(later.revision, later.entries, later.deleted, later.leases, vacant)

    def _with_leases(self, store: Storage, leases: dict[str, int]) -> Storage:
        return self._make(store.revision, store.entries, store.deleted, tuple(sorted(leases.items())), store.vacant)


def is_vacant(entries: tuple[Entry, ...]) -> bool:
    """Whether candidates queue and nobody leads."""
    return any("/candidates/" in entry.key for entry in entries) and not any(
        entry.key.endswith("/leader") for entry in entries
    )


def _holds(store: Storage, compare: Compare) -> bool:
    match compare:
        case Absent(key):
            return key not in store.by_key
        case At(key, revision):
            return key in store.by_key and store.by_key[key].revision == revision
        case _:
            return not any(key.startswith(compare.prefix) for key in store.by_key)


def _check_leases(store: Storage, ops: tuple[Op, ...]) -> None:
    for op in ops:
        if isinstance(op, Put) and op.lease_id is not None and not store.lives(op.lease_id):
            raise LeaseLost(op.lease_id)
