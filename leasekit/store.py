"""The store contract: the whole of what an election asks of a store. Small enough to implement in a day.

Keys are relative to the connection's prefix: a backend opened with prefix `leasekit` keeps the key `reports/leader`
as `leasekit/reports/leader`. Values are bytes. Revisions are the store's own version numbers; they only rise.

Every request takes `timeout_s` and ends within it. A request that fails says what may be concluded:

* `StoreUnavailable`: surely not applied (no connection was had, or the server said so).
* `OutcomeUnknown`: it was sent, and may have been applied or may yet be. Reads never raise it: they raise
  `StoreUnavailable`, since there is nothing to settle.
* `LeaseLost`, `AuthError`, `ConfigError`, `ProtocolError`: as `leasekit.errors` says; nothing was applied.

A store is used from one asyncio loop; opening one does no I/O. `leasekit.testing` checks a backend against all this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lease:
    """A grant with a time to live. `ttl_s` is what the store granted, which may be more than was asked."""

    id: str
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as the store has it. `revision` is its modification revision; `lease_id` what it vanishes with."""

    key: str
    value: bytes
    create_revision: int
    revision: int
    lease_id: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The keys under a prefix, in key order, as of `revision`."""

    entries: tuple[Entry, ...]
    revision: int


# What a transaction compares.


@dataclass(frozen=True, slots=True)
class Absent:
    """`key` does not exist."""

    key: str


@dataclass(frozen=True, slots=True)
class At:
    """`key` exists and its modification revision is `revision`."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class NoneUnder:
    """No key starts with `prefix`. Only where `Capabilities.compares_empty`; elsewhere `ConfigError`."""

    prefix: str


# What a transaction does.


@dataclass(frozen=True, slots=True)
class Put:
    """Set `key`, bound to `lease_id` from now on (None: to none). Whatever lease held the key before, it no longer does.

    On a store that models this by delete and create (Consul) the create revision may change.
    """

    key: str
    value: bytes
    lease_id: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `key`; a missing key is no failure."""

    key: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read `key`, or with `prefix=True` every key that starts with it, in key order.

    Sees the writes of the operations before it in the same transaction.
    """

    key: str
    prefix: bool = False


Compare = Absent | At | NoneUnder
Op = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction that was applied, at `revision`, which is the modification revision of every key that it put.

    `reads` has one tuple of entries for each `Get`, in order. For a transaction of reads alone, `revision` is the
    store's revision as of the read: nothing that the reads show is later, nothing at or before it is missing.
    """

    revision: int
    reads: tuple[tuple[Entry, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """`key` was put (`entry` says what it is now) or is gone (`entry` is None), as of `revision`.

    Changes may be coalesced: only the last of several need be told. A key that was deleted and created again may
    show as a put with another create revision.
    """

    key: str
    entry: Entry | None
    revision: int


@dataclass(frozen=True, slots=True)
class Resync:
    """Changes may have been missed (compaction, a store restored from a backup): read again, then go on watching.

    Watching goes on by itself; `revision` is that from which changes are told again.
    """

    revision: int


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The store's own wall clock, and how exact the reading is (half of the round trip not counted)."""

    unix_s: float
    resolution_s: float


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """One server, as seen from here. `error` says what is wrong with it, None if it answers."""

    endpoint: str
    error: str | None
    version: str | None = None
    round_trip_s: float | None = None
    is_store_leader: bool | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What `leasekit doctor` shows of a store. `warnings` are whole sentences about what is unsafe."""

    endpoints: tuple[EndpointHealth, ...]
    warnings: tuple[str, ...] = ()
    details: dict[str, str] = field(default_factory=dict)

    @property
    def reachable(self) -> bool:
        """Whether any endpoint answers."""
        return any(endpoint.error is None for endpoint in self.endpoints)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store promises. Each line is checked by the conformance suite."""

    ttl_min_s: float
    """`grant` below this raises ConfigError. A server may be set to refuse more, likewise by ConfigError."""
    ttl_max_s: float
    expiry_factor: float = 1.0
    """A lease ends no sooner than its granted TTL and no later than `expiry_factor * ttl_s + expiry_late_s`."""
    expiry_late_s: float
    """After the last renewal, while the store's own leader lives and answers."""
    durable: bool
    """Whether keys and leases survive a restart of the store."""
    server_time: bool
    """Whether `server_time` answers."""
    compares_empty: bool
    """Whether a transaction can compare that no key has a prefix (`NoneUnder`)."""

    def expires_within_s(self, ttl_s: float) -> float:
        """How long after its last renewal a lease is surely gone, in seconds."""
        return self.expiry_factor * ttl_s + self.expiry_late_s


class Store(ABC):
    """A place where leases live. See the module's text for what all methods have in common."""

    url: str
    """Where it is, without any secret."""
    capabilities: Capabilities

    @abstractmethod
    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        """Make a lease of `ttl_s` seconds or more; the lease says how long. Raises ConfigError if out of range."""

    @abstractmethod
    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        """Start the lease's time to live anew; returns it, in seconds.

        Returns only if a store that has already given the lease up could not have answered so (DESIGN section 5,
        rule 7). An attempt after a failed one goes to another endpoint where there is one.

        Raises:
            LeaseLost: the store does not know the lease.
            StoreUnavailable, OutcomeUnknown: not confirmed: does not count as renewed. Try again.
        """

    @abstractmethod
    async def revoke(self, lease_id: str, *, timeout_s: float) -> None:
        """End the lease and remove its keys. A lease that the store does not know is no failure."""

    @abstractmethod
    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        """The key as of now, linearizable: it reflects every write that was acknowledged before the call."""

    @abstractmethod
    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        """All keys that start with `prefix` as of now, linearizable, in key order."""

    @abstractmethod
    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        """Do all of `ops` in order, atomically, if all of `compares` hold; None if one does not: nothing was applied.

        No key stands in two writes. Where a `Put` names a lease that the store does not know, LeaseLost is raised and
        nothing is applied (where a compare fails as well, either answer may come).
        """

    @abstractmethod
    def watch(self, key: str, *, prefix: bool = False, after: int) -> AsyncIterator[Changed | Resync]:
        """Tell changes of `key` (or of all keys with that prefix) later than revision `after`, until closed.

        Changes of a key may be merged into the last one. If that leads back to what this watch told last (a key that
        was put and deleted again), nothing may be told: who has read the key in between begins another watch.

        Survives reconnects and restarts of the store, for ever, without spinning; it never ends by itself and raises
        only AuthError and the like. `aclose()` of the iterator, or cancelling the task, stops it.
        """

    @abstractmethod
    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        """The store's wall clock; None where `capabilities.server_time` is False."""

    @abstractmethod
    async def probe(self, *, timeout_s: float) -> Health:
        """Look at every endpoint. Raises nothing that `Health` can say."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections, within a second. Revokes nothing. Requests under way fail; watches end."""
