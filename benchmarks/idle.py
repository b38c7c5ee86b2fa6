"""What many leaderships cost a process and the store while nothing happens: requests, memory, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks import field
from benchmarks.contestants import Workers
from benchmarks.counting import CountingProxy
from benchmarks.site import ConsulCluster, DurableEtcd, etcd_requests
from benchmarks.table import Table

ELECTIONS = (1, 20, 1000)
TTL_S = 15.0
# Two renewals of a third of the ttl each, and as much time before for what comes once.
SETTLING_S = 3.0
WATCHED_S = 20.0

# python-etcd3 and aetcd are left out: they renew nothing by themselves. tooz renews each lock.
PEERS = ("tooz",)

Count = Callable[[], Awaitable[int]]


async def run(rounds: int) -> list[Table]:
    """Measure `rounds` times the time above, on each store."""
    columns = ["", "elections", "requests/s", "MiB", "KiB each", "threads"]
    table = Table("Leaderships held, and nothing happens", columns)
    with DurableEtcd() as etcd:

        async def on_etcd() -> int:
            return sum((await asyncio.to_thread(etcd_requests, etcd)).values())

        for elections in ELECTIONS:
            worker = field.leasekit(field.LEASEKIT_AIO, etcd.url(f"idle{elections}"), ttl_s=TTL_S)
            await _row(table, "leasekit, etcd", worker, elections, on_etcd, rounds)
        for elections in ELECTIONS[:2]:
            for worker in field.etcd_libraries(etcd):
                if worker.name in PEERS:
                    await _row(table, worker.name, worker, elections, on_etcd, rounds)
    with ConsulCluster() as consul:
        async with CountingProxy(consul.endpoints[0]) as proxy:

            async def on_consul() -> int:
                return proxy.requests

            for elections in ELECTIONS:
                url = consul.url(f"idle{elections}", endpoints=[proxy.address])
                worker = field.leasekit(field.LEASEKIT_AIO, url, ttl_s=TTL_S)
                await _row(table, "leasekit, Consul", worker, elections, on_consul, rounds)
    table.notes = [
        f"All in one process, ttl {TTL_S:g} s, counted at the store for {WATCHED_S * rounds:g} s.",
        "`KiB each`: resident memory above what the process had before, connections and all.",
    ]
    return [table]


async def _row(table: Table, name: str, worker: Workers, elections: int, count: Count, rounds: int) -> None:
    async with worker:
        before, after = await worker.elections(elections)
        await asyncio.sleep(SETTLING_S)
        asked = await count()
        await asyncio.sleep(WATCHED_S * rounds)
        rate = (await count() - asked) / (WATCHED_S * rounds)
    each_kib = (after["rss_mib"] - before["rss_mib"]) * 1024 / elections
    table.add(name, elections, f"{rate:.2f}", f"{after['rss_mib']:.0f}", f"{each_kib:.1f}", f"{after['threads']:.0f}")
