"""Failover: the holder's process is killed by SIGKILL. How long until another holds, and how much of that is ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from benchmarks import field
from benchmarks.contestants import Contestant, Workers
from benchmarks.site import ConsulCluster, DurableEtcd
from benchmarks.table import Table, middle
from leasekit import urls
from leasekit.backends.consul import open_store as open_consul
from leasekit.backends.etcd import open_store as open_etcd
from leasekit.store import Changed, Store

TTL_S = 2.0
QUEUED_S = 1.0

StoreMaker = Callable[[], Store]


async def run(rounds: int) -> list[Table]:
    """Measure on each store."""
    columns = ["", "median s", "x ttl", "slowest s", "x ttl", "after the store's own expiry, ms", "slowest, ms"]
    table = Table("Failover after kill -9", columns)
    with DurableEtcd() as etcd:
        ours = field.leasekit(field.LEASEKIT, etcd.url("bench"), ttl_s=TTL_S)
        await _row(table, "leasekit, etcd", ours, rounds, lambda: open_etcd(urls.parse(etcd.url("bench"))))
        lock = field.etcdctl(etcd, "lock", f"--ttl={TTL_S:g}")
        await _row(table, "etcdctl lock", lock, rounds, None)
    with ConsulCluster() as consul:
        ours = field.leasekit(field.LEASEKIT, consul.url("bench"), ttl_s=TTL_S)
        await _row(table, "leasekit, Consul", ours, rounds, lambda: open_consul(urls.parse(consul.url("bench"))))
    table.notes = [
        f"ttl {TTL_S:g} s, killed at any moment between two renewals. etcd ends a lease up to 0.5 s late, Consul at 2 ttl.",
        "The store's own expiry: when a third process's watch tells that the record is gone.",
        "`consul lock` is left out, since its ttl is fixed at 15 s.",
    ]
    return [table]


async def _row(table: Table, name: str, contestant: Contestant, rounds: int, make: StoreMaker | None) -> None:
    took_s, behind_s = [], []
    async with contestant:
        await contestant.add()
        await contestant.held()
        for number in range(rounds):
            await contestant.add()
            # At a different moment between two renewals each time.
            await asyncio.sleep(QUEUED_S + number * TTL_S / 3 / rounds)
            async with _expiry(contestant, make) as expired:
                killed_s = await contestant.kill()
                held_s = await contestant.held()
                took_s.append(held_s - killed_s)
                if make is not None:
                    behind_s.append(held_s - await expired)
            if isinstance(contestant, Workers):
                await contestant.start()
    behind = [f"{middle(behind_s) * 1000:.0f}", f"{max(behind_s) * 1000:.0f}"] if behind_s else ["-", "-"]
    typical_s, slowest_s = middle(took_s), max(took_s)
    figures = [f"{typical_s:.2f}", f"{typical_s / TTL_S:.2f}", f"{slowest_s:.2f}", f"{slowest_s / TTL_S:.2f}"]
    table.add(name, *figures, *behind)


@asynccontextmanager
async def _expiry(contestant: Contestant, make: StoreMaker | None) -> AsyncIterator[asyncio.Future[float]]:
    """When the store lets the record go, as an observer of the store's own events sees it."""
    gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    if make is None:
        yield gone
        return
    assert isinstance(contestant, Workers)
    store = make()
    key = f"{contestant.election}/leader"
    read = await store.scan(key, timeout_s=5)

    async def watch() -> None:
        async for change in store.watch(key, after=read.revision):
            if isinstance(change, Changed) and change.entry is None and not gone.done():
                gone.set_result(time.monotonic())

    watching = asyncio.create_task(watch())
    try:
        yield gone
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await store.aclose()
