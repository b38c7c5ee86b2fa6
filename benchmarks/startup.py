"""How long `leasekit leader NAME` takes, from start to end, beside bare Python and the stores' own commands."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.site import ConsulCluster, DurableEtcd
from benchmarks.table import Table, middle, ms, slow
from support import binaries

BARE = "python -c pass"


async def run(rounds: int) -> list[Table]:
    """Measure all commands in turn."""
    return [await asyncio.to_thread(_measure, rounds)]


def _measure(rounds: int) -> Table:
    leasekit = str(Path(sys.executable).with_name("leasekit"))
    with DurableEtcd() as etcd, ConsulCluster() as consul, tempfile.TemporaryDirectory() as folder:
        etcdctl, consul_program = binaries.find(f"etcd-{etcd.version}", "etcdctl"), binaries.find("consul", "consul")
        sqlite = f"sqlite:///{folder}/leases.db"
        leader = ["leader", "nobody"]
        commands = {
            BARE: [sys.executable, "-c", "pass"],
            "python -c 'import click, asyncio, sqlite3'": [sys.executable, "-c", "import click, asyncio, sqlite3"],
            "leasekit leader, SQLite": [leasekit, "--store", sqlite, *leader],
            "python -c 'import click, grpc.aio'": [sys.executable, "-c", "import click, grpc.aio"],
            "leasekit leader, etcd": [leasekit, "--store", etcd.url("bench"), *leader],
            "leasekit leader, Consul": [leasekit, "--store", consul.url("bench"), *leader],
            "etcdctl get": [str(etcdctl), "--endpoints", etcd.endpoints[0], "get", "nobody"],
            "consul kv get": [str(consul_program), "kv", "get", f"-http-addr=http://{consul.endpoints[0]}", "nobody"],
        }
        took_s: dict[str, list[float]] = {name: [] for name in commands}
        cpu_s: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, command in commands.items():
                took, cpu = _time(command, f"{folder}/compiled")
                if number:  # the first is for warming up
                    took_s[name].append(took)
                    cpu_s[name].append(cpu)
    table = Table("Start to end of a command", ["", "median ms", "90 % ms", "cpu ms", "cpu ms above bare Python"])
    for name, values in took_s.items():
        cpu = middle(cpu_s[name])
        table.add(name, ms(middle(values)), ms(slow(values)), ms(cpu), ms(cpu - middle(cpu_s[BARE])))
    table.notes = [f"{rounds} rounds, each command once in each. Nobody leads: the answer is exit code 1."]
    table.notes.append("`cpu`: processor time, which a busy machine stretches less.")
    return table


def _time(command: list[str], compiled: str) -> tuple[float, float]:
    """How long it took, and how much processor time, in seconds."""
    # As installed packages are found: compiled. Where that is switched off, each start would compile all of leasekit.
    environment = {**os.environ, "ETCDCTL_API": "3", "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    took_s, after = time.monotonic() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
