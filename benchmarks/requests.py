"""Store requests per handover, with more and more candidates waiting: counted at the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from statistics import mean

from benchmarks import field
from benchmarks.contestants import Contestant, Workers
from benchmarks.counting import CountingProxy
from benchmarks.site import ConsulCluster, DurableEtcd, etcd_requests
from benchmarks.table import Table

CANDIDATES = (5, 20, 50, 200)
# Each of them is a process of some 20 MB, or a thread with a stream of its own.
CANDIDATES_MOST = {"etcdctl lock": 50, "consul lock": 20, "python-etcd3": 50}

# Renewals go on whether or not somebody hands over; `idle` counts them.
_RENEWAL = "LeaseKeepAlive"
_STREAM = "Watch"

_QUIET_S = 0.3
_QUIET_WITHIN_S = 15.0

Count = Callable[[], Awaitable[tuple[int, int]]]
"""How many requests there were so far, and how many messages within streams."""


async def run(rounds: int) -> list[Table]:
    """Measure on each store."""
    with DurableEtcd() as etcd:

        async def on_etcd() -> tuple[int, int]:
            counted = await asyncio.to_thread(etcd_requests, etcd)
            streamed = counted.pop(_STREAM, 0)
            counted.pop(_RENEWAL, 0)
            return sum(counted.values()), streamed

        table = Table("Requests per handover on etcd", ["", *(f"{count} waiting" for count in CANDIDATES)])
        makers: list[Callable[[], Contestant]] = [
            lambda: field.leasekit(field.LEASEKIT_AIO, etcd.url("bench")),
            lambda: field.etcdctl(etcd, "lock"),
            *(lambda index=index: field.etcd_libraries(etcd)[index] for index in range(2)),
        ]
        for make in makers:
            await _row(table, make, on_etcd, rounds)
        table.notes = [
            "Calls, + messages sent within the watch stream. Counted by etcd, from one release until all is quiet again.",
            "Renewals are left out, and so is tooz, which has no queue: each of its candidates asks on without end.",
        ]
    return [table, await _on_consul(rounds)]


async def _on_consul(rounds: int) -> Table:
    table = Table("Requests per handover on Consul", ["", *(f"{count} waiting" for count in CANDIDATES)])
    with ConsulCluster() as consul:
        async with CountingProxy(consul.endpoints[0]) as proxy:

            async def count() -> tuple[int, int]:
                return proxy.requests - proxy.blocking, proxy.blocking

            url = consul.url("bench", endpoints=[proxy.address])
            await _row(table, lambda: field.leasekit(field.LEASEKIT_AIO, url), count, rounds)
            await _row(table, lambda: field.consul_lock(proxy.address), count, rounds)
    table.notes = ["HTTP requests, + blocking queries of the watches, counted by a proxy."]
    return table


async def _row(table: Table, make: Callable[[], Contestant], count: Count, rounds: int) -> None:
    cells = []
    name = ""
    for candidates in CANDIDATES:
        contestant = make()
        name = contestant.name
        if candidates > CANDIDATES_MOST.get(name, candidates):
            cells.append("-")
            continue
        async with contestant:
            cells.append(await _handovers(contestant, candidates, count, rounds))
    table.add(name, *cells)


async def _handovers(contestant: Contestant, candidates: int, count: Count, rounds: int) -> str:
    """With `candidates` waiting at the first of the handovers."""
    await contestant.add()
    await contestant.held()
    shares = 2 if isinstance(contestant, Workers) else 1
    for share in range(shares):
        await contestant.add(candidates // shares + (candidates % shares if share == 0 else 0))
    before = await _quiet(count)
    calls, streamed = [], []
    for _ in range(min(rounds, candidates)):
        await contestant.release()
        await contestant.held()
        after = await _quiet(count)
        calls.append(after[0] - before[0])
        streamed.append(after[1] - before[1])
        before = after
    extra = f" + {mean(streamed):.0f}" if any(streamed) else ""
    return f"{mean(calls):.1f}{extra}"


async def _quiet(count: Count) -> tuple[int, int]:
    """Wait until nobody asks the store any more."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + _QUIET_WITHIN_S
    last = await count()
    while loop.time() < give_up_s:
        await asyncio.sleep(_QUIET_S)
        now = await count()
        if now == last:
            break
        last = now
    return last
