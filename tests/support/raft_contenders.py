"""Clients that campaign for one key with leases, as plainly as can be: no election of leasekit's stands in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from leasekit.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, At, Delete, Put, Store
from support.evidence import Reign
from support.raft_history import Ending, History
from support.team import now_s

PLACE = "leader"
TTL_S = 1.0


@dataclass(slots=True)
class _Promise:
    """A lease. Nobody may see its end before `until_s`: its last acknowledged renewal was asked for a ttl before that."""

    lease_id: str
    ttl_s: float
    until_s: float


class Contender:
    """Leads for some renewals, then resigns, revokes its lease, or lets go of all without a word."""

    def __init__(self, name: str, store: Store, history: History, random: Random) -> None:
        self._name = name
        self._store = store
        self._history = history
        self._random = random

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            try:
                await self._campaign(stop)
            except (OutcomeUnknown, StoreUnavailable):
                # Whatever it holds is given up, and ends in its own time.
                self._history.counts["campaigns cut short"] += 1
            await asyncio.sleep(self._random.uniform(0.05, 0.15))

    async def _campaign(self, stop: asyncio.Event) -> None:
        asked_s = now_s()
        lease = await self._store.grant(TTL_S, timeout_s=TTL_S)
        promise = _Promise(lease.id, lease.ttl_s, asked_s + lease.ttl_s)
        try:
            while not stop.is_set():
                claim = Put(PLACE, self._name.encode(), lease.id)
                committed = await self._store.transact((Absent(PLACE),), (claim,), timeout_s=TTL_S)
                if committed is not None:
                    await self._lead(promise, committed.revision)
                    return
                await asyncio.sleep(self._random.uniform(0.02, 0.1))
                if promise.until_s - now_s() < 0.6 * TTL_S:
                    await self._renew(promise)
        except LeaseLost:
            self._history.endings.append(Ending(promise.lease_id, promise.until_s, now_s()))
            self._history.counts["leases lost"] += 1

    async def _renew(self, promise: _Promise) -> None:
        asked_s = now_s()
        ttl_s = await self._store.renew(promise.lease_id, timeout_s=TTL_S)
        promise.until_s = asked_s + ttl_s
        self._history.counts["renewals"] += 1

    async def _lead(self, promise: _Promise, token: int) -> None:
        """It believes from the answer on until what it was promised is over, or until it begins to give up."""
        reign = Reign(self._name, 0, token, since_s=now_s(), until_s=promise.until_s)
        if now_s() >= promise.until_s:
            return  # the answer came too late to be of any use
        self._history.reigns.append(reign)
        self._history.counts["reigns"] += 1
        for _ in range(self._random.randint(0, 4)):
            await asyncio.sleep(TTL_S / 4)
            await self._renew(promise)
            reign.until_s = promise.until_s
            entry = await self._store.get(PLACE, timeout_s=TTL_S)
            if entry is None or entry.revision != token:
                self._history.endings.append(Ending(promise.lease_id, promise.until_s, now_s()))
                return
        end = self._random.choice(["resign", "revoke", "vanish"])
        if end == "vanish":
            return
        reign.until_s = min(reign.until_s, now_s())
        if end == "resign":
            await self._store.transact((At(PLACE, token),), (Delete(PLACE),), timeout_s=TTL_S)
        await self._store.revoke(promise.lease_id, timeout_s=TTL_S)
