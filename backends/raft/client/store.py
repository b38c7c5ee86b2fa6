"""A store over a Raft cluster of leasekit's own."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random

from leasekit.backends.raft.client import probe
from leasekit.backends.raft.client.calls import Calls
from leasekit.backends.raft.client.keys import Keys
from leasekit.backends.raft.client.leader import Leader
from leasekit.backends.raft.client.session import Session
from leasekit.backends.raft.client.settings import Settings
from leasekit.backends.raft.client.watches import Watches
from leasekit.backends.raft.kv.commands import Command, Grant, Renew, Revoke, Transact
from leasekit.backends.raft.kv.limits import LEASE_ID_MAX_BYTES
from leasekit.backends.raft.kv.operations import utf8_size
from leasekit.backends.raft.kv.outcomes import Granted, LeaseUnknown, Outcome, Renewed, Revoked, Transacted
from leasekit.backends.raft.requests import AskTime, Read, Request, Watch
from leasekit.backends.raft.wire import CODEC
from leasekit.errors import ConfigError, LeaseLost, ProtocolError, StoreUnavailable
from leasekit.store import (
    Capabilities,
    Changed,
    Committed,
    Compare,
    Entry,
    Get,
    Health,
    Lease,
    Op,
    Resync,
    ServerTime,
    Snapshot,
    Store,
)

CAPABILITIES = Capabilities(
    ttl_min_s=0.5,
    ttl_max_s=10_000_000.0,
    expiry_late_s=0.5,
    durable=True,
    server_time=True,
    compares_empty=True,
)


class RaftStore(Store):
    """Nothing is connected before the first request."""

    capabilities = CAPABILITIES

    def __init__(self, settings: Settings, *, random: Random) -> None:
        self.url = settings.url
        self._settings = settings
        self._keys = Keys(settings.root)
        self._leader = Leader(settings.addresses, settings.tls, random)
        self._calls = Calls(self._leader)
        self._session = Session(self._calls, _nonce, self._leader.why)
        self._watches = Watches(self._leader)
        self._closed = False
        self._pid = os.getpid()

    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        low, high = CAPABILITIES.ttl_min_s, CAPABILITIES.ttl_max_s
        if not low <= ttl_s <= high:
            raise ConfigError("ttl_s", f"{ttl_s:g} is out of range: a Raft store grants {low:g} to {high:g} s")
        outcome = await self._change(Grant(math.ceil(ttl_s * 1000)), timeout_s)
        if not isinstance(outcome, Granted):
            raise _astray(outcome)
        return Lease(outcome.lease_id, outcome.ttl_ms / 1000)

    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        # Through the log, so that no deposed leader can answer it.
        outcome = LeaseUnknown(lease_id) if _foreign(lease_id) else await self._change(Renew(lease_id), timeout_s)
        match outcome:
            case Renewed():
                return outcome.ttl_ms / 1000
            case LeaseUnknown():
                raise LeaseLost(lease_id)
        raise _astray(outcome)

    async def revoke(self, lease_id: str, *, timeout_s: float) -> None:
        if _foreign(lease_id):
            return
        outcome = await self._change(Revoke(lease_id), timeout_s)
        if not isinstance(outcome, Revoked):
            raise _astray(outcome)

    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        found = (await self._scan(Get(key), timeout_s)).entries
        return found[0] if found else None

    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        return await self._scan(Get(prefix, prefix=True), timeout_s)

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        if all(isinstance(op, Get) for op in ops):
            return await self._read(compares, ops, timeout_s)
        outcome = await self._change(Transact(self._keys.compares(compares), self._keys.ops(ops)), timeout_s)
        match outcome:
            case Transacted():
                return outcome.committed and self._keys.committed(outcome.committed)
            case LeaseUnknown():
                raise LeaseLost(outcome.lease_id)
        raise _astray(outcome)

    async def watch(self, key: str, *, prefix: bool = False, after: int) -> AsyncIterator[Changed | Resync]:
        self._refuse_inherited()
        whole = self._keys.root + key
        _check(Watch(id=0, key=whole, prefix=prefix, after=0))
        subscription = self._watches.subscribe(whole, prefix=prefix, after=after)
        try:
            while (told := await subscription.next()) is not None:
                yield told if isinstance(told, Resync) else self._keys.changed(told)
        finally:
            self._watches.unsubscribe(subscription)

    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        self._usable()
        unix_s = await self._calls.read(lambda number: AskTime(id=number), timeout_s=timeout_s)
        if not isinstance(unix_s, float):
            raise _astray(unix_s)
        return ServerTime(unix_s, 0.0)

    async def probe(self, *, timeout_s: float) -> Health:
        self._refuse_inherited()
        return await probe.examine(self._settings, self._leader, self._calls, timeout_s=timeout_s)

    async def aclose(self) -> None:
        self._closed = True
        if os.getpid() != self._pid:
            return  # the connection is the parent's
        await self._watches.aclose()
        await self._leader.aclose()

    async def _change(self, command: Command, timeout_s: float) -> Outcome:
        self._usable()
        return await self._session.change(command, timeout_s=timeout_s)

    async def _scan(self, get: Get, timeout_s: float) -> Snapshot:
        committed = await self._read((), (get,), timeout_s)
        if committed is None or len(committed.reads) != 1:
            raise ProtocolError("one read was asked for, and not answered with one")
        return Snapshot(committed.reads[0], committed.revision)

    async def _read(self, compares: Sequence[Compare], ops: Sequence[Op], timeout_s: float) -> Committed | None:
        self._usable()
        whole_compares, whole_ops = self._keys.compares(compares), self._keys.ops(ops)
        make: Callable[[int], Read] = lambda number: Read(id=number, compares=whole_compares, ops=whole_ops)
        _check(make(0))
        result = await self._calls.read(make, timeout_s=timeout_s)
        if result is not None and not isinstance(result, Committed):
            raise _astray(result)
        return result and self._keys.committed(result)

    def _usable(self) -> None:
        """Raise StoreUnavailable after closing, and in a fork."""
        self._refuse_inherited()
        if self._closed:
            raise StoreUnavailable(f"{self.url} is closed")

    def _refuse_inherited(self) -> None:
        if os.getpid() != self._pid:
            raise StoreUnavailable(f"{self.url}: opened before a fork: connect anew in the child")


def _nonce() -> bytes:
    # Not from a seeded generator: two clients that draw the same would share a session, and its numbers.
    return os.urandom(16)


def _foreign(lease_id: str) -> bool:
    """Whether this cannot be a lease of any Raft store."""
    return utf8_size(lease_id) > LEASE_ID_MAX_BYTES


def _check(request: Request) -> None:
    """Raise ConfigError for a request that a member would take for a broken connection."""
    try:
        CODEC.decode_request(CODEC.encode_request(request))
    except (ProtocolError, UnicodeError) as error:
        raise ConfigError("request", str(error)) from None


def _astray(result: object) -> ProtocolError:
    return ProtocolError(f"a member's answer, {type(result).__name__}, is none to what was asked")
