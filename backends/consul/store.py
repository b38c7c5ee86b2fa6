"""`consul://` and `consul+tls://`: leases are sessions, keys are bound to them by Consul's own lock."""

from __future__ import annotations

import asyncio
import email.utils
import re
from collections.abc import Sequence

from leasekit.backends.consul import doctor, failures, wire
from leasekit.backends.consul.agents import Agents, Params
from leasekit.backends.consul.client import Answer
from leasekit.backends.consul.settings import Settings
from leasekit.backends.consul.view import Target
from leasekit.backends.consul.watches import Subscription, WatchHub
from leasekit.errors import ConfigError, LeaseLost, ProtocolError
from leasekit.store import (
    Absent,
    Capabilities,
    Committed,
    Compare,
    Delete,
    Entry,
    Get,
    Health,
    Lease,
    NoneUnder,
    Op,
    ServerTime,
    Snapshot,
    Store,
)

CAPABILITIES = Capabilities(
    # Consul's floor; what a server takes is its agent option session_ttl_min, 10 s unless lowered.
    ttl_min_s=1.0,
    ttl_max_s=86_400.0,
    # Consul ends a session at twice its TTL, to the millisecond; the rest is for a busy machine.
    expiry_factor=2.0,
    expiry_late_s=0.5,
    durable=True,
    server_time=True,
    compares_empty=False,
)

# Every read is `consistent`: Consul's leader asks its peers whether it still leads. Its default mode may answer from a
# leader that another has replaced.
_CONSISTENT: Params = (("consistent", ""),)
_SESSION_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class ConsulStore(Store):
    """A store in Consul. Opens its connections at the first request, in the loop of that request."""

    capabilities = CAPABILITIES

    def __init__(self, settings: Settings) -> None:
        self.url = settings.url
        self._settings = settings
        self._root = settings.root
        self._agents = Agents(settings)
        self._may_read = False
        self._watches = WatchHub(self._agents, settings.root)

    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        if not CAPABILITIES.ttl_min_s <= ttl_s <= CAPABILITIES.ttl_max_s:
            low, high = CAPABILITIES.ttl_min_s, CAPABILITIES.ttl_max_s
            raise ConfigError("ttl_s", f"{ttl_s:g} is out of range: Consul grants {low:g} to {high:g} s")
        body, granted_s = wire.session_request(
            ttl_s, lock_delay_s=self._settings.lock_delay_s, checks=self._settings.checks
        )
        answer = await self._agents.write("/v1/session/create", body=body, timeout_s=timeout_s)
        if answer.status != 200:
            raise failures.session_refused(ttl_s, answer.status, answer.body, agent=answer.agent)
        return Lease(wire.session_id(answer.body), granted_s)

    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        if not _SESSION_ID.fullmatch(lease_id):
            raise LeaseLost(lease_id)
        answer = await self._agents.write(f"/v1/session/renew/{lease_id}", timeout_s=timeout_s)
        if answer.status == 404:
            raise LeaseLost(lease_id)
        return wire.session_ttl_s(self._expected(answer, writes=True))

    async def revoke(self, lease_id: str, *, timeout_s: float) -> None:
        if _SESSION_ID.fullmatch(lease_id):
            self._expected(
                await self._agents.write(f"/v1/session/destroy/{lease_id}", timeout_s=timeout_s), writes=True
            )

    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        answer = await self._read(key, _CONSISTENT, timeout_s=timeout_s)
        found = wire.entries(self._root, answer.body) if answer.status == 200 else ()
        return found[0] if found else None

    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        answer = await self._read(prefix, (*_CONSISTENT, ("recurse", "")), timeout_s=timeout_s)
        found = wire.entries(self._root, answer.body) if answer.status == 200 else ()
        if not found and not self._may_read:
            # Asked for several keys, Consul leaves out those that the token may not see; a single one it refuses.
            await self._read(wire.neighbour(prefix), _CONSISTENT, timeout_s=ends_s - loop.time())
        snapshot = Snapshot(found, wire.index(answer.headers.get("X-Consul-Index")))
        self._watches.reads.remember(Target(prefix, prefix=True), snapshot.revision, found)
        return snapshot

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        transaction = wire.transaction(self._root, compares, ops)
        body = transaction.body
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        index_before = 0
        if not transaction.writes:
            # Consul gives no index with a transaction of reads. What it shows is no older than an index read before.
            first = next((step.key for step in (*ops, *compares) if not isinstance(step, NoneUnder)), "")
            before = await self._read(wire.neighbour(first), _CONSISTENT, timeout_s=timeout_s)
            index_before = wire.index(before.headers.get("X-Consul-Index"))
            timeout_s = ends_s - loop.time()
        answer = await self._agents.write("/v1/txn", _CONSISTENT, body, timeout_s=timeout_s, writes=transaction.writes)
        if answer.status == 409:
            error = failures.refused(transaction.operations, answer.body, agent=answer.agent)
            if error is not None:
                raise error
            return None
        committed = transaction.committed(self._expected(answer, writes=transaction.writes), index_before)
        if transaction.writes:
            self._remember(compares, ops, committed)
        return committed

    def watch(self, key: str, *, prefix: bool = False, after: int) -> Subscription:
        return self._watches.watch(key, prefix=prefix, after=after)

    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        answer = await self._agents.read("/v1/status/leader", timeout_s=timeout_s)
        try:
            said = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
        except ValueError:
            raise ProtocolError(f"Consul agent {answer.agent} gave no date") from None
        # It is the clock of the agent's machine, so a local agent only repeats what this machine believes. The header
        # leaves the fraction out: the middle of that second is the best guess.
        return ServerTime(said.timestamp() + 0.5, 1.0)

    async def probe(self, *, timeout_s: float) -> Health:
        return await doctor.examine(self._agents, self._settings, timeout_s=timeout_s)

    async def aclose(self) -> None:
        await self._watches.aclose()
        await self._agents.aclose()

    def _remember(self, compares: Sequence[Compare], ops: Sequence[Op], committed: Committed) -> None:
        """What the transaction left behind is known, as of its revision: watches from there need not ask first."""
        absent = {compare.key for compare in compares if isinstance(compare, Absent)}
        reads = iter(committed.reads)
        shown: dict[Target, tuple[Entry, ...]] = {}
        for op in ops:
            if isinstance(op, Get):
                shown[Target(op.key, op.prefix)] = next(reads)
                continue
            # What was read before a write is not as of the transaction's revision.
            shown = {target: entries for target, entries in shown.items() if not target.covers(op.key)}
            if isinstance(op, Delete):
                shown[Target(op.key, prefix=False)] = ()
            elif op.key in absent:  # else it may have been created earlier, at a revision that is not told
                revision = committed.revision
                shown[Target(op.key, prefix=False)] = (Entry(op.key, op.value, revision, revision, op.lease_id),)
        for target, entries in shown.items():
            self._watches.reads.remember(target, committed.revision, entries)

    async def _read(self, key: str, params: Params, *, timeout_s: float) -> Answer:
        path = "/v1/kv/" + wire.full_key(self._root, key)
        answer = await self._agents.read(path, params, timeout_s=timeout_s)
        # 404 with an index says that there is no such key; without one, that this is no key-value API.
        if answer.status != 404 or "X-Consul-Index" not in answer.headers:
            self._expected(answer, writes=False)
        self._may_read = self._may_read or "recurse" not in dict(params)
        return answer

    def _expected(self, answer: Answer, *, writes: bool) -> str:
        """The body of an answer that says 200. Raises what any other means."""
        if answer.status != 200:
            raise failures.failure(answer.status, answer.body, agent=answer.agent, writes=writes)
        return answer.body
