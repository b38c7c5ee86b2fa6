"""Acquire and release, uncontended, with a lease in hand: two transactions at best. Ratios to those two, sent raw."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from benchmarks import field
from benchmarks.contestants import Workers
from benchmarks.site import ConsulCluster, DurableEtcd
from benchmarks.table import Table, middle, ms, ratio, slow

BATCH = 20
WARM_UP = 40


async def run(rounds: int) -> list[Table]:
    """Measure on each store."""
    with DurableEtcd() as etcd:
        url, address = etcd.url("bench"), etcd.endpoints[0]
        on_etcd = await _measure("etcd", [*_ours(url, "etcd", address), *field.etcd_libraries(etcd)], rounds)
    with ConsulCluster() as consul:
        url, address = consul.url("bench"), consul.endpoints[0]
        on_consul = await _measure("Consul", _ours(url, "consul", address), rounds)
    return [on_etcd, on_consul]


def _ours(url: str, store: str, address: str) -> list[Workers]:
    faces = [field.leasekit(face, url) for face in (field.LEASEKIT, field.LEASEKIT_AIO)]
    return [*faces, *(field.raw(raw, store, address) for raw in (field.RAW, field.RAW_AIO))]


async def _measure(store: str, workers: Sequence[Workers], rounds: int) -> Table:
    took_s: dict[str, list[float]] = {worker.name: [] for worker in workers}
    cpu_s: dict[str, list[float]] = {worker.name: [] for worker in workers}
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
            await worker.pairs(WARM_UP)
        for _ in range(rounds):
            for worker in workers:
                took, cpu = await worker.pairs(BATCH)
                took_s[worker.name] += took
                cpu_s[worker.name].append(cpu)
    columns = ["", "median ms", "90 % ms", "cpu ms", f"x {field.RAW}", f"x {field.RAW_AIO}"]
    table = Table(f"Acquire + release on {store}", columns)
    for name, values in took_s.items():
        to_raw = (ratio(middle(values), middle(took_s[raw])) for raw in (field.RAW, field.RAW_AIO))
        table.add(name, ms(middle(values)), ms(slow(values)), ms(middle(cpu_s[name])), *to_raw)
    table.notes = [
        f"{rounds} rounds of {BATCH} pairs each, in turn. `cpu`: processor time of the client, all threads, for one pair."
    ]
    return table
