"""Handover: from the moment in which the holder begins to let go until a waiting process holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from benchmarks import field
from benchmarks.contestants import Contestant
from benchmarks.site import ConsulCluster, DurableEtcd
from benchmarks.table import Table, middle, ms, ratio, slow


async def run(rounds: int) -> list[Table]:
    """Measure on each store."""
    with DurableEtcd() as etcd:
        on_etcd = await _measure("etcd", field.on_etcd(etcd), rounds)
    with ConsulCluster() as consul:
        on_consul = await _measure("Consul", field.on_consul(consul), rounds)
    return [on_etcd, on_consul]


async def _measure(store: str, contestants: Sequence[Contestant], rounds: int) -> Table:
    took_s: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    async with AsyncExitStack() as stack:
        for contestant in contestants:
            await stack.enter_async_context(contestant)
            await contestant.add()
            await contestant.held()
        for number in range(rounds + 1):
            # One at a time, since some of them burn a core while they wait.
            for contestant in contestants:
                await contestant.add()
                await asyncio.sleep(contestant.queued_s)
                released_s = await contestant.release()
                held_s = await contestant.held()
                if number:  # the first is for warming up
                    took_s[contestant.name].append(held_s - released_s)
    table = Table(f"Handover on {store}", ["", "median ms", "90 % ms", f"x {contestants[0].name}"])
    ours_s = middle(took_s[contestants[0].name])
    for name, values in took_s.items():
        table.add(name, ms(middle(values)), ms(slow(values)), ratio(middle(values), ours_s))
    table.notes = [f"{rounds} handovers each, in turn, from one process to another."]
    return table
