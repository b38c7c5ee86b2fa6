"""Leases and the keys that are bound to them. When one has run out is the leader's to judge: here is no clock."""

from __future__ import annotations

from dataclasses import dataclass

from leasekit.backends.raft.kv.limits import OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A living lease. `renewal` is the log index of its grant or last renewal: an Expire that names another is void."""

    id: str
    ttl_ms: int
    renewal: int


class Leases:
    """What lives, in the order of the grants, and what ends with it."""

    def __init__(self) -> None:
        self.states: dict[str, LeaseState] = {}
        self._keys: dict[str, set[str]] = {}

    @property
    def size_bytes(self) -> int:
        """What all leases count for against the capacity."""
        return OVERHEAD_BYTES * len(self.states)

    def set(self, state: LeaseState) -> None:
        """Grant the lease, or renew it: its keys stay."""
        self.states[state.id] = state
        self._keys.setdefault(state.id, set())

    def end(self, lease_id: str) -> list[str]:
        """End a living lease; returns its keys in key order."""
        del self.states[lease_id]
        return sorted(self._keys.pop(lease_id))

    def move(self, key: str, former: str | None, lease_id: str | None) -> None:
        """`key` was bound to the living lease `former`, and is to `lease_id` from now on (None: to none)."""
        if former != lease_id:
            if former is not None:
                self._keys[former].discard(key)
            if lease_id is not None:
                self._keys[lease_id].add(key)
