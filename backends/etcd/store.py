"""etcd, through its own gRPC API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from random import Random

from leasekit.backends.etcd import forks, wire
from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd.auth import Tokens, credentials
from leasekit.backends.etcd.client import Client, Repeat
from leasekit.backends.etcd.endpoints import Endpoints
from leasekit.backends.etcd.http_date import date
from leasekit.backends.etcd.leases import Renewals
from leasekit.backends.etcd.methods import GRANT, RANGE, REVOKE, TXN
from leasekit.backends.etcd.probe import probe
from leasekit.backends.etcd.tls import OPTIONS, load
from leasekit.backends.etcd.watches import Watches
from leasekit.backends.etcd.witnesses import Witnesses
from leasekit.errors import ConfigError, LeaseLost, OutcomeUnknown, StoreUnavailable
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
from leasekit.urls import StoreURL

_CLOSE_S = 0.8
_DATE_RESOLUTION_S = 1.0


class EtcdStore(Store):
    """A `Store` over an etcd cluster. Nothing is connected before the first request."""

    capabilities = Capabilities(
        ttl_min_s=wire.TTL_MIN_S,
        ttl_max_s=wire.TTL_MAX_S,
        expiry_late_s=0.5,
        durable=True,
        server_time=True,
        compares_empty=True,
    )

    def __init__(self, url: StoreURL, *, random: Random) -> None:
        forks.refuse_inherited()
        url.require_known_options(*OPTIONS)
        if not url.endpoints:
            raise ConfigError("store URL", "names no server: write for example etcd://127.0.0.1:2379")
        self.url = url.redacted
        self._tls = load(url)
        self._keys = wire.Keys(url.prefix)
        self._endpoints = Endpoints(url.endpoints, self._tls, random)
        self._client = Client(self._endpoints, Tokens(credentials(url)), random)
        self._witnesses = Witnesses()
        self._renewals = Renewals(self._client, self._keys, self._witnesses)
        self._watches = Watches(self._client, self._keys)

    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        # Asked again after a lost answer: a lease that nobody knows of holds no key, and ends by itself.
        request = wire.grant_request(ttl_s)
        return wire.granted(await self._client.call(GRANT, request, timeout_s=timeout_s, repeat=Repeat.HARMLESS))

    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        return await self._renewals.renew(lease_id, timeout_s=timeout_s)

    async def revoke(self, lease_id: str, *, timeout_s: float) -> None:
        number = wire.lease_number(lease_id)
        if number is None:
            return
        request = rpc.LeaseRevokeRequest(ID=number)
        with suppress(LeaseLost):
            await self._client.call(REVOKE, request, timeout_s=timeout_s, repeat=Repeat.HARMLESS, leases=[lease_id])
        self._witnesses.drop_lease(lease_id)

    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        found = (await self._read(Get(key), timeout_s)).entries
        return found[0] if found else None

    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        return await self._read(Get(prefix, prefix=True), timeout_s)

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        request = wire.transaction(self._keys, compares, ops)
        repeat = Repeat.READ if wire.reads_only(ops) else Repeat.NEVER
        try:
            answer = await self._client.call(TXN, request, timeout_s=timeout_s, repeat=repeat, leases=wire.puts_on(ops))
        except (OutcomeUnknown, asyncio.CancelledError):
            self._witnesses.doubt(ops)
            raise
        committed = wire.committed(self._keys, answer)
        if committed is not None:
            self._witnesses.applied(ops, committed.revision)
        return committed

    async def watch(self, key: str, *, prefix: bool = False, after: int) -> AsyncIterator[Changed | Resync]:
        subscription = self._watches.subscribe(key, prefix=prefix, after=after)
        try:
            while (told := await subscription.next()) is not None:
                yield told
        finally:
            self._watches.unsubscribe(subscription)

    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        if self._endpoints.closed:
            raise StoreUnavailable(self._endpoints.why_not())
        reasons = []
        share_s = timeout_s / len(self._endpoints.servers)
        for server in self._endpoints.in_order():
            try:
                async with asyncio.timeout(share_s):
                    unix_s = await date(server.host, server.port, self._tls)
            except TimeoutError:
                reasons.append(f"{server.address} does not answer")
            except (OSError, ValueError) as error:
                reasons.append(f"{server.address}: {error}")
            else:
                # The header bears whole seconds, cut off: the middle of the second is nearest on average.
                return ServerTime(unix_s + 0.5, _DATE_RESOLUTION_S)
        raise StoreUnavailable("no etcd server tells the time over HTTP: " + "; ".join(reasons))

    async def probe(self, *, timeout_s: float) -> Health:
        return await probe(self._client, self._keys.root, timeout_s=timeout_s)

    async def aclose(self) -> None:
        self._endpoints.closed = True
        if forks.inherited():
            return  # the connections are the parent's
        # What is left in the end are sockets to servers that do not answer: no reason to wait for them.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._watches.aclose()
                await self._renewals.aclose()
                await self._endpoints.aclose()

    async def _read(self, get: Get, timeout_s: float) -> Snapshot:
        request = wire.read_request(self._keys, get)
        answer = await self._client.call(RANGE, request, timeout_s=timeout_s, repeat=Repeat.READ)
        return Snapshot(wire.entries(self._keys, answer), answer.header.revision)
