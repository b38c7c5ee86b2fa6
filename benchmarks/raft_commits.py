"""Three members on loopback, each with its own disk to wait for: how long a write takes, how many there are in a second,
how long nobody leads after `kill -9`, and what it costs while nothing happens.

leasekit's Raft and etcd are asked through leasekit's own store contract, each by its own client, from one process.
PySyncObj has no client: its leader writes by itself, and it does not wait for any disk.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles

from benchmarks import venvs
from benchmarks.pysyncobj import PySyncObj
from benchmarks.site import DurableEtcd, DurableRaft
from benchmarks.table import Table, middle, ms, ratio
from leasekit.backends.etcd import open_store as open_etcd
from leasekit.backends.raft import open_store as open_raft
from leasekit.errors import LeasekitError
from leasekit.store import Put, Store
from leasekit.urls import StoreURL, parse
from support.cluster import Cluster

CLIENTS = (1, 16, 64)
WRITING_S = 4.0
VALUE = b"v" * 256
SYNCS = 500
LOOK_EVERY_S = 0.005
IDLE_S = 5.0

Open = Callable[[StoreURL], Store]


async def run(rounds: int) -> list[Table]:
    """`rounds`: how many failovers."""
    floor_s = await _floor()
    commits = Table(
        "A durable write, three members",
        ["", "clients", "p50 ms", "p99 ms", "writes/s", "p50 x floor", "writes/s x etcd", "p50 x etcd"],
    )
    failovers = Table(
        "After kill -9 of the leading member, until a write succeeds", ["", "median ms", "p99 ms", "longest ms"]
    )
    costs = Table("While nothing happens, all three members together", ["", "MiB", "cpu, % of a core"])
    report = _Report(commits, failovers, costs, floor_s)
    await _measure("etcd 3.5", DurableEtcd(3), open_etcd, rounds, report)
    await _measure("leasekit raft", DurableRaft(3), open_raft, rounds, report)
    for batch in (True, False):
        name = "PySyncObj, not durable" + ("" if batch else ", no batches")
        with PySyncObj(batch=batch) as peer:
            for clients in CLIENTS:
                report.commits_of(name, clients, await asyncio.to_thread(peer.write, clients, WRITING_S))
    commits.notes = [
        (
            f"Values of {len(VALUE)} bytes; each client has one write under way. The floor, {ms(floor_s)} ms, is one round trip on"
            f" loopback between two asyncio programs and one fdatasync of as much. {CLIENTS[-1]} clients share one process."
        )
    ]
    failovers.notes = ["etcd with its default timings (1 s, +100 %), leasekit with its own (1 to 2 s)."]
    return [commits, failovers, costs]


class _Report:
    """The tables as they grow."""

    def __init__(self, commits: Table, failovers: Table, costs: Table, floor_s: float) -> None:
        self.commits, self.failovers, self.costs = commits, failovers, costs
        self._floor_s = floor_s
        self._etcd: dict[int, tuple[float, float]] = {}

    def commits_of(self, name: str, clients: int, took_s: list[float]) -> None:
        """A row; the first contestant is what the others are compared with."""
        typical_s, rate = middle(took_s), len(took_s) / WRITING_S
        etcd_s, etcd_rate = self._etcd.setdefault(clients, (typical_s, rate))
        ratios = [ratio(typical_s, self._floor_s), ratio(rate, etcd_rate), ratio(typical_s, etcd_s)]
        self.commits.add(name, clients, ms(typical_s), ms(_p99(took_s)), f"{rate:.0f}", *ratios)


async def _measure(name: str, cluster: Cluster, open_store: Open, rounds: int, report: _Report) -> None:
    with cluster:
        url = parse(cluster.url("bench"))
        mib, busy = await _idle(cluster)
        report.costs.add(name, f"{mib:.0f}", f"{busy:.1f}")
        for clients in CLIENTS:
            report.commits_of(name, clients, await _write(url, open_store, clients))
        gaps_s = [await _failover(cluster, url, open_store) for _ in range(rounds)]
        report.failovers.add(name, ms(middle(gaps_s)), ms(_p99(gaps_s)), ms(max(gaps_s)))


async def _write(url: StoreURL, open_store: Open, clients: int) -> list[float]:
    """How long each write took, `clients` of them at a time, each with a connection of its own."""
    took_s: list[float] = []
    async with _stores(url, open_store, clients) as stores:
        await asyncio.gather(*(_put(store, "warm") for store in stores))
        until_s = time.monotonic() + WRITING_S

        async def writer(store: Store, key: str) -> None:
            while (began_s := time.monotonic()) < until_s:
                await _put(store, key)
                took_s.append(time.monotonic() - began_s)

        await asyncio.gather(*(writer(store, f"key{number}") for number, store in enumerate(stores)))
    return took_s


@asynccontextmanager
async def _stores(url: StoreURL, open_store: Open, count: int) -> AsyncIterator[list[Store]]:
    stores = [open_store(url) for _ in range(count)]
    try:
        yield stores
    finally:
        await asyncio.gather(*(store.aclose() for store in stores))


def _put(store: Store, key: str) -> Awaitable[object]:
    return store.transact([], [Put(key, VALUE)], timeout_s=10)


async def _failover(cluster: Cluster, url: StoreURL, open_store: Open) -> float:
    """From the kill of the leading member until a write that was begun after it succeeds; it is started again then."""
    async with _stores(url, open_store, 1) as (store,):
        await _put(store, "before")
        leader = await asyncio.to_thread(cluster.leader_index)
        killed_s = time.monotonic()
        cluster.kill(leader)
        while True:
            try:
                await store.transact([], [Put("after", VALUE)], timeout_s=0.5)
                break
            except LeasekitError:
                await asyncio.sleep(LOOK_EVERY_S)
        gap_s = time.monotonic() - killed_s
        await asyncio.to_thread(cluster.start, leader)
        await _put(store, "whole")
    return gap_s


async def _idle(cluster: Cluster) -> tuple[float, float]:
    """Resident memory in MiB and processor time in % of a core, of all members together."""
    pids = [cluster.pid(index) for index in range(cluster.size)]
    await asyncio.sleep(1.0)
    before_s = sum(map(_cpu_s, pids))
    await asyncio.sleep(IDLE_S)
    return sum(map(_rss_mib, pids)), 100 * (sum(map(_cpu_s, pids)) - before_s) / IDLE_S


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def _floor() -> float:
    """The median of a round trip between two asyncio programs, and of an fdatasync, added up."""
    trips_s, syncs_s = [], []
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.workers.echo", stdout=asyncio.subprocess.PIPE, cwd=venvs.REPOSITORY
    )
    assert other.stdout is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", int(await other.stdout.readline()))
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, SYNCS * len(VALUE))  # as the members' logs are
        for _ in range(SYNCS):
            began_s = time.perf_counter()
            writer.write(VALUE)
            await reader.readexactly(len(VALUE))
            trips_s.append(time.perf_counter() - began_s)
            began_s = time.perf_counter()
            os.write(file.fileno(), VALUE)
            os.fdatasync(file.fileno())
            syncs_s.append(time.perf_counter() - began_s)
    writer.close()
    await other.wait()
    return middle(trips_s) + middle(syncs_s)


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[-1] if len(values) > 1 else values[0]
