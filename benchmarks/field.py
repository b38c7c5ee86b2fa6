"""The field: leasekit, the raw calls, and its peers, made to contend on one server."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import venvs
from benchmarks.contestants import HOLD, Commands, Contestant, Workers, fresh
from benchmarks.site import ConsulCluster, EtcdCluster
from support import binaries

LEASEKIT = "leasekit"
LEASEKIT_AIO = "leasekit.aio"
LEASEKIT_RUN = "leasekit run"
RAW = "raw calls, blocking"
RAW_AIO = "raw calls, asyncio"


def leasekit(name: str, url: str, *, ttl_s: float = 60) -> Workers:
    """One of leasekit's two faces."""
    module = {LEASEKIT: "with_leasekit", LEASEKIT_AIO: "with_leasekit_aio"}[name]
    return Workers(name, module, url, fresh("bench"), environment={"BENCHMARK_TTL_S": f"{ttl_s:g}"})


def leasekit_run(url: str) -> Commands:
    """The command line, round a command that waits for the end of its stdin."""
    program = Path(sys.executable).with_name("leasekit")
    return Commands(LEASEKIT_RUN, [program, "--store", url, "run", fresh("bench"), "--", *HOLD], by_signal=False)


def raw(name: str, store: str, address: str) -> Workers:
    """The two transactions of leasekit, sent without it."""
    how = {RAW: "blocking", RAW_AIO: "aio"}[name]
    return Workers(name, f"with_raw_{store}", address, fresh("bench"), how)


def etcd_libraries(etcd: EtcdCluster) -> list[Workers]:
    """Locks of other Python libraries."""
    address = etcd.endpoints[0]
    names = {"aetcd": "aetcd", "python-etcd3": "etcd3", "tooz": "tooz"}
    return [
        Workers(name, f"with_{venv}", address, fresh("bench"), python=venvs.python(venv))
        for name, venv in names.items()
    ]


def etcdctl(etcd: EtcdCluster, verb: str, *options: str) -> Commands:
    """`etcdctl lock` or `etcdctl elect`, let go by an interrupt."""
    program = binaries.find(f"etcd-{etcd.version}", "etcdctl")
    assert program is not None
    command = [str(program), "--endpoints", etcd.endpoints[0], verb, *options, fresh("bench")]
    proposal = ["me"] if verb == "elect" else []
    return Commands(f"etcdctl {verb}", [*command, *proposal], by_signal=True, environment={"ETCDCTL_API": "3"})


def consul_lock(address: str) -> Commands:
    """`consul lock`, round a command that waits for the end of its stdin."""
    program = binaries.find("consul", "consul")
    assert program is not None
    command = [
        str(program),
        "lock",
        f"-http-addr=http://{address}",
        "-pass-stdin",
        "-shell=false",
        fresh("bench"),
        *HOLD,
    ]
    return Commands("consul lock", command, by_signal=False)


def on_etcd(etcd: EtcdCluster) -> list[Contestant]:
    """Everybody who can hand over on etcd."""
    url = etcd.url("bench")
    ours: list[Contestant] = [leasekit(LEASEKIT, url), leasekit(LEASEKIT_AIO, url), leasekit_run(url)]
    floor = raw(RAW_AIO, "etcd", etcd.endpoints[0])
    return [*ours, floor, etcdctl(etcd, "lock"), etcdctl(etcd, "elect"), *etcd_libraries(etcd)]


def on_consul(consul: ConsulCluster) -> list[Contestant]:
    """Everybody who can hand over on Consul."""
    url, address = consul.url("bench"), consul.endpoints[0]
    ours: list[Contestant] = [leasekit(LEASEKIT, url), leasekit(LEASEKIT_AIO, url), leasekit_run(url)]
    return [*ours, raw(RAW_AIO, "consul", address), consul_lock(address)]
