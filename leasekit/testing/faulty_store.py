"""A store whose network misbehaves on order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from leasekit.errors import LeasekitError, OutcomeUnknown, StoreUnavailable
from leasekit.store import Committed, Compare, Entry, Health, Lease, Op, ServerTime, Snapshot, Store
from leasekit.testing.faults import Fault, Plan, Request
from leasekit.testing.faulty_watch import FaultyWatch

_T = TypeVar("_T")


@dataclass(slots=True)
class _Ordered:
    """A fault waiting for its request."""

    fault: Fault
    on: str | None
    when: Callable[[Request], bool] | None
    skip: int
    times: int

    def concerns(self, request: Request) -> bool:
        return (self.on is None or self.on == request.kind) and (self.when is None or self.when(request))


class FaultyStore(Store):
    """Passes requests on to `store`, save for the faults that `plan` or `inject` order; counts them in `requests`.

    Deterministic: nothing here is random unless the plan is. Time is the loop's, so on a `VirtualLoop` nothing waits.
    """

    def __init__(self, store: Store, plan: Plan | None = None) -> None:
        self.url = store.url
        self.capabilities = store.capabilities
        self.store = store
        self.requests: Counter[str] = Counter()
        """How many requests of each kind were made, those that met a fault included; watches when opened."""
        self.plan = plan
        self._ordered: list[_Ordered] = []
        self._down: Fault | None = None
        self._under_way: set[asyncio.Task[object]] = set()
        self._watches: set[FaultyWatch] = set()

    # Orders.

    def inject(
        self,
        fault: Fault,
        on: str | None = None,
        *,
        when: Callable[[Request], bool] | None = None,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Let `fault` happen to the next `times` requests of kind `on` for which `when` holds, after `skip` of them."""
        self._ordered.append(_Ordered(fault, on, when, skip, times))

    def go_down(self, *, silent: bool = False) -> None:
        """Be unreachable until `come_up`: refusing at once, or, if `silent`, by time-outs. Watches stand still."""
        self._down = Fault.lose_request(silent=True) if silent else Fault.refuse()
        self.stall_watches()

    def come_up(self) -> None:
        """Be reachable again; watches go on where they were."""
        self._down = None
        self.resume_watches()

    def stall_watches(self) -> None:
        """Let the open watches say nothing, without any sign of it."""
        for watch in self._watches:
            watch.stall()

    def resume_watches(self) -> None:
        """Let stalled watches tell what they held back."""
        for watch in self._watches:
            watch.resume()

    def drop_watches(self) -> None:
        """Break the connection of each watch: it is opened anew from the last revision told."""
        for watch in self._watches:
            watch.drop()

    def resync_watches(self) -> None:
        """Let each watch miss what it has not told yet, as if it had been compacted: it says `Resync` instead."""
        for watch in self._watches:
            watch.resync()

    async def settled(self) -> None:
        """Wait until every request that was delayed has been applied."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    # The store.

    async def grant(self, ttl_s: float, *, timeout_s: float) -> Lease:
        return await self._send(Request("grant"), lambda: self.store.grant(ttl_s, timeout_s=timeout_s), timeout_s)

    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        request = Request("renew", lease_id=lease_id)
        return await self._send(request, lambda: self.store.renew(lease_id, timeout_s=timeout_s), timeout_s)

    async def revoke(self, lease_id: str, *, timeout_s: float) -> None:
        request = Request("revoke", lease_id=lease_id)
        await self._send(request, lambda: self.store.revoke(lease_id, timeout_s=timeout_s), timeout_s)

    async def get(self, key: str, *, timeout_s: float) -> Entry | None:
        return await self._send(Request("get", key=key), lambda: self.store.get(key, timeout_s=timeout_s), timeout_s)

    async def scan(self, prefix: str, *, timeout_s: float) -> Snapshot:
        request = Request("scan", key=prefix)
        return await self._send(request, lambda: self.store.scan(prefix, timeout_s=timeout_s), timeout_s)

    async def transact(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float) -> Committed | None:
        request = Request("transact", compares=tuple(compares), ops=tuple(ops))
        return await self._send(request, lambda: self.store.transact(compares, ops, timeout_s=timeout_s), timeout_s)

    def watch(self, key: str, *, prefix: bool = False, after: int) -> FaultyWatch:
        self.requests["watch"] += 1
        watch = FaultyWatch(self.store, key, prefix=prefix, after=after, closed=self._watches.discard)
        if self._down is not None:
            watch.stall()
        self._watches.add(watch)
        return watch

    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        return await self._send(Request("server_time"), lambda: self.store.server_time(timeout_s=timeout_s), timeout_s)

    async def probe(self, *, timeout_s: float) -> Health:
        return await self.store.probe(timeout_s=timeout_s)

    async def aclose(self) -> None:
        for task in self._under_way:
            task.cancel()
        for watch in list(self._watches):
            await watch.aclose()
        await self.store.aclose()

    # How a request fares.

    async def _send(self, request: Request, call: Callable[[], Awaitable[_T]], timeout_s: float) -> _T:
        self.requests[request.kind] += 1
        fault = self._fault_for(request)
        if fault is None:
            return await call()
        if fault.refused:
            raise StoreUnavailable(f"{request.kind}: refused, as ordered")
        lost = _lost(request)
        if fault.request_lost:
            await asyncio.sleep(timeout_s if fault.silent else 0)
            raise lost
        work = asyncio.create_task(_carry_out(fault, call))
        self._under_way.add(work)
        work.add_done_callback(self._forget)
        if not fault.reply_lost:
            await asyncio.wait({work}, timeout=timeout_s)
            if work.done():
                return work.result()
            raise lost
        if not fault.request_delay_s:
            await asyncio.wait({work})
        await asyncio.sleep(timeout_s if fault.silent else 0)
        raise lost

    def _fault_for(self, request: Request) -> Fault | None:
        if self._down is not None:
            return self._down
        for ordered in self._ordered:
            if ordered.concerns(request):
                if ordered.skip:
                    ordered.skip -= 1
                    continue
                ordered.times -= 1
                if not ordered.times:
                    self._ordered.remove(ordered)
                return ordered.fault
        return self.plan(request) if self.plan else None

    def _forget(self, work: asyncio.Task[object]) -> None:
        self._under_way.discard(work)
        # Whoever sent it may be gone, and nobody else is to see how it ended.
        if not work.cancelled() and not isinstance(work.exception(), LeasekitError | None):
            work.result()


async def _carry_out(fault: Fault, call: Callable[[], Awaitable[_T]]) -> _T:
    await asyncio.sleep(fault.request_delay_s)
    result = await call()
    await asyncio.sleep(fault.reply_delay_s)
    return result


def _lost(request: Request) -> LeasekitError:
    kind = StoreUnavailable if request.only_reads else OutcomeUnknown
    return kind(f"{request.kind}: no answer, as ordered")
