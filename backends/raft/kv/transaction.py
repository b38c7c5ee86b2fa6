"""A transaction worked out beside the keys, so that it can still be refused when its size is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leasekit.backends.raft.kv.keys import Keys, entry_bytes
from leasekit.store import Absent, At, Compare, Entry, Get, Op, Put


@dataclass(slots=True)
class Staged:
    """What a transaction would read and write."""

    reads: tuple[tuple[Entry, ...], ...]
    writes: dict[str, Entry | None]
    """In the order of the operations. None: the key goes; one that does not exist is not named."""
    growth_bytes: int
    """By how much the keys would grow."""


def all_hold(keys: Keys, compares: Sequence[Compare]) -> bool:
    """Whether all of `compares` hold."""
    for compare in compares:
        if isinstance(compare, Absent):
            if compare.key in keys.entries:
                return False
        elif isinstance(compare, At):
            found = keys.entries.get(compare.key)
            if found is None or found.revision != compare.revision:
                return False
        elif not keys.none_under(compare.prefix):
            return False
    return True


def stage(keys: Keys, ops: Sequence[Op], revision: int) -> Staged:
    """Work out `ops`, in which no key stands in two writes, as of `revision`. Changes nothing."""
    reads: list[tuple[Entry, ...]] = []
    writes: dict[str, Entry | None] = {}
    growth_bytes = 0
    for op in ops:
        if isinstance(op, Get):
            reads.append(_read(keys, op, writes))
            continue
        old = keys.entries.get(op.key)
        if isinstance(op, Put):
            created = revision if old is None else old.create_revision
            new = Entry(op.key, op.value, created, revision, op.lease_id)
            growth_bytes += entry_bytes(new) if old is None else len(op.value) - len(old.value)
            writes[op.key] = new
        elif old is not None:
            growth_bytes -= entry_bytes(old)
            writes[op.key] = None
    return Staged(tuple(reads), writes, growth_bytes)


def _read(keys: Keys, op: Get, writes: dict[str, Entry | None]) -> tuple[Entry, ...]:
    if not op.prefix:
        found = writes[op.key] if op.key in writes else keys.entries.get(op.key)
        return () if found is None else (found,)
    under = keys.under(op.key)
    if not writes:
        return tuple(under)
    seen: dict[str, Entry | None] = {entry.key: entry for entry in under}
    seen.update({key: entry for key, entry in writes.items() if key.startswith(op.key)})
    return tuple([entry for _, entry in sorted(seen.items()) if entry is not None])
