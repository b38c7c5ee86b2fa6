"""Where the proof is played: a store that can be restarted, and workers on hosts of their own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from cronproof.clocks import WrongClock, clean_up, wrong_clocks
from support.cluster import Cluster
from support.netns import Host, Network
from support.pausing import pause
from support.proxy import Proxy
from support.raft_hosts import HostedCluster
from support.servers import ConsulCluster, EtcdCluster

STORES = ("etcd", "consul", "raft", "sqlite")
PREFIX = "cronproof"
WORKER = Path(__file__).with_name("worker.py")
ELECTION_MS, HEARTBEAT_MS = 1000, 100
"""As servers are by default. Tests use shorter ones, which a busy machine does not keep."""
OUTAGE_S = 2.0
"""How long a server is down, or a file that stands for one is locked."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store. `url` is for the workers' hosts, `own_url` for this machine; `hurt` takes part of it away for a while."""

    url: str
    own_url: str
    checks_clocks: bool
    hurt: Callable[[Random], str]


@contextmanager
def place(kind: str, network: Network, folder: Path, *, servers: int = 3) -> Iterator[Place]:
    """A store of that kind, reachable from the network's hosts."""
    with ExitStack() as stack:
        if kind == "sqlite":
            url = f"sqlite:///{folder}/slots.db?prefix={PREFIX}"
            yield Place(url, url, False, lambda _random: _lock(folder / "slots.db"))
        elif kind == "raft":
            members = HostedCluster(network, servers)
            members.election_timeout_ms, members.heartbeat_ms = ELECTION_MS, HEARTBEAT_MS
            cluster = stack.enter_context(members)
            yield Place(cluster.url(PREFIX), cluster.url(PREFIX), True, lambda random: _restart(cluster, random))
        else:
            made: Cluster = ConsulCluster(servers)
            if kind == "etcd":
                made = EtcdCluster(servers, election_timeout_ms=ELECTION_MS, heartbeat_ms=HEARTBEAT_MS)
            near = stack.enter_context(made)
            links = [stack.enter_context(Proxy(at, host=network.address)) for at in near.endpoints]
            url = near.url(PREFIX, endpoints=[link.address for link in links])
            yield Place(url, near.url(PREFIX), True, lambda random: _restart(near, random))


def _restart(cluster: Cluster, random: Random) -> str:
    index = random.randrange(cluster.size)
    cluster.kill(index)
    time.sleep(OUTAGE_S)
    cluster.start(index)
    return f"server {index} killed and restarted"


def _lock(path: Path) -> str:
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(OUTAGE_S)
        connection.execute("ROLLBACK")
    return f"file locked for {OUTAGE_S:g} s"


class Worker:
    """One worker, started anew after each kill: on its host, with its clock."""

    def __init__(
        self,
        id: str,
        host: Host,
        clock: WrongClock,
        store: Place,
        folder: Path,
        options: Sequence[str],
        spawner: Executor,
    ) -> None:
        self.id = id
        self.clock = clock
        self._host = host
        self._store = store
        self._folder = folder
        self._record = folder / "record.jsonl"
        self._record.touch()
        self._options = options
        self._spawner = spawner
        self._process: subprocess.Popen[str] | None = None
        self.starts = 0

    def start(self) -> None:
        """Run it; it must not run."""
        assert self._process is None, f"{self.id} runs"
        command: list[str | Path] = [sys.executable, WORKER, self._store.url, self._record, self.id, *self._options]
        path = os.pathsep.join([str(WORKER.parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, **self.clock.environment()}
        with (self._folder / f"{self.id}.out").open("a") as output:
            start = partial(
                self._host.popen, command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )
            # In a thread that stays: the kernel kills a worker when the thread ends that has started it.
            self._process = self._spawner.submit(start).result()
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL, and wait."""
        # Forgotten first: it is not to look as if it had ended by itself.
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            clean_up(process.pid)

    def pause(self) -> None:
        """SIGSTOP."""
        pause(self._pid, self._store.url)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self._pid, signal.SIGCONT)

    def finish(self, timeout_s: float) -> str | None:
        """SIGTERM; what was wrong about its end, if anything was."""
        process = self._process
        if process is None:
            return None
        give_up_s = time.monotonic() + timeout_s
        try:
            # Before it says that it has started, SIGTERM would just end it.
            while process.poll() is None and not self._has_started(process.pid) and time.monotonic() < give_up_s:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return f"{self.id} did not end within {timeout_s:g} s of SIGTERM"
        finally:
            self.kill()
        return None if code == 0 else f"{self.id} ended with code {code}: {self.said()}"

    def said(self) -> str:
        """The end of what it wrote."""
        return (self._folder / f"{self.id}.out").read_text(errors="replace")[-1500:]

    @property
    def fallen(self) -> str | None:
        """How it ended, if it did so by itself."""
        process = self._process
        if process is None or process.poll() is None:
            return None
        return f"{self.id} ended by itself with code {process.returncode}: {self.said()}"

    def _has_started(self, pid: int) -> bool:
        started = [line for line in self._record.read_text().splitlines() if '"started"' in line]
        return any(f'"pid": {pid},' in line for line in started)

    @property
    def _pid(self) -> int:
        assert self._process is not None, f"{self.id} does not run"
        return self._process.pid


@contextmanager
def workers(network: Network, store: Place, count: int, folder: Path, options: Sequence[str]) -> Iterator[list[Worker]]:
    """So many workers, not yet started. On SQLite all share this machine's clock, which is that store's time too."""
    clocks = wrong_clocks(count, folder) if store.checks_clocks else [WrongClock("right")] * count
    with ThreadPoolExecutor(1) as spawner:
        made = [
            Worker(f"w{number}", network.host(), clock, store, folder, options, spawner)
            for number, clock in enumerate(clocks)
        ]
        try:
            yield made
        finally:
            for worker in made:
                worker.kill()
