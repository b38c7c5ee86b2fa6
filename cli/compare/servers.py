"""The stores that the comparison starts itself: how many servers of what kind, and the command line of each.

They are set as in production (they wait for their disks, and have their own default timings), with two exceptions, named
where they stand: Consul's.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random

from leasekit.cli.compare.children import Child, Children
from leasekit.cli.compare.programs import SERVERS_VARIABLE, find, free_ports
from leasekit.errors import StoreUnavailable

_PORT_TAKEN = "address already in use"
# What a server would take for its settings, and what is the user's own.
_NOT_FOR_SERVERS = ("ETCD_", "CONSUL_", "LEASEKIT_")


class PortTaken(StoreUnavailable):
    """Another program came first. Try again with other ports."""


class Servers(ABC):
    """`size` servers of one store on loopback, their data below `folder`."""

    scheme: str
    program: str | None = None
    """What has to be found; None: nothing has to."""
    package: str | None = None
    """What has to be installed to speak with it, by leasekit's extra of the scheme's name."""
    ports_per_server = 0

    def __init__(self, size: int, folder: Path, children: Children, program: Path | None, random: Random) -> None:
        self.size = size
        self._folder = folder
        self._children = children
        self._program = program
        self._ports = free_ports(size * self.ports_per_server, random)
        self._running: dict[int, Child] = {}

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"{self.scheme}://{','.join(self.endpoints)}/compare"

    @property
    def endpoints(self) -> list[str]:
        """The clients' address of each server."""
        return [f"127.0.0.1:{self.port(index)}" for index in range(self.size)]

    @property
    def pids(self) -> list[int]:
        """Those that run."""
        return [child.pid for child in self._running.values()]

    def port(self, index: int, which: int = 0) -> int:
        """Port number `which` of a server; 0 is the clients'."""
        return self._ports[index * self.ports_per_server + which]

    def data(self, index: int) -> Path:
        """Where a server keeps its data."""
        return self._folder / f"s{index}"

    def start(self, index: int) -> None:
        """Start a server, with the data that it had; it does not serve at once."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith(_NOT_FOR_SERVERS)}
        log = self.data(index).with_suffix(".log")
        self._running[index] = self._children.server(self._command(index), log, environment)

    def start_all(self) -> None:
        """Start every server."""
        for index in range(self.size):
            self.start(index)

    def kill(self, index: int) -> None:
        """SIGKILL."""
        self._running.pop(index).kill()

    def kill_all(self) -> None:
        """SIGKILL, each."""
        for index in list(self._running):
            self.kill(index)

    def check(self) -> None:
        """Raise StoreUnavailable (of it PortTaken) if a server has ended by itself."""
        for index, child in self._running.items():
            if not child.running:
                kind = PortTaken if _PORT_TAKEN in child.said.lower() else StoreUnavailable
                said = child.said_last or "it said nothing"
                raise kind(f"server {index + 1} of {self.size} ended by itself: {said}")

    @abstractmethod
    def _command(self, index: int) -> list[str | Path]:
        """The command line of a server; writes its configuration if it has any."""


class SqliteFile(Servers):
    """No server: a file."""

    scheme = "sqlite"

    @property
    def url(self) -> str:
        return f"sqlite:///{self._folder / 'leases.db'}"

    def start_all(self) -> None:
        return

    def _command(self, index: int) -> list[str | Path]:
        raise AssertionError("SQLite has no server")


class Etcd(Servers):
    """etcd with its default timings: heartbeat 100 ms, election timeout 1 s."""

    scheme = "etcd"
    program = "etcd"
    package = "grpc"
    ports_per_server = 2

    def _command(self, index: int) -> list[str | Path]:
        assert self._program is not None
        client, peers = f"http://{self.endpoints[index]}", [self._peer(other) for other in range(self.size)]
        settings = {
            "name": f"s{index}",
            "data-dir": self.data(index),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peers[index],
            "initial-advertise-peer-urls": peers[index],
            "initial-cluster": ",".join(f"s{other}={peer}" for other, peer in enumerate(peers)),
            "initial-cluster-token": f"leasekit-compare-{self.port(0)}",
            "logger": "zap",
            "log-level": "error",
        }
        return [self._program, *(f"--{name}={value}" for name, value in settings.items())]

    def _peer(self, index: int) -> str:
        return f"http://127.0.0.1:{self.port(index, 1)}"


class Consul(Servers):
    """Consul servers, not in `-dev` mode, so they are durable."""

    scheme = "consul"
    program = "consul"
    package = "consul"
    ports_per_server = 3

    def _command(self, index: int) -> list[str | Path]:
        assert self._program is not None
        file = self.data(index).with_suffix(".json")
        file.write_text(json.dumps(self._configuration(index)))
        return [self._program, "agent", f"-config-file={file}"]

    def _configuration(self, index: int) -> dict[str, object]:
        return {
            "server": True,
            "bootstrap_expect": self.size,
            "node_name": f"s{index}",
            "data_dir": str(self.data(index)),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": self.port(index),
                "https": -1,
                "server": self.port(index, 1),
                "serf_lan": self.port(index, 2),
                "serf_wan": -1,
                "dns": -1,
                "grpc": -1,
            },
            "retry_join": [f"127.0.0.1:{self.port(other, 2)}" for other in range(self.size) if other != index],
            "retry_interval": "100ms",
            # Not the default, 5, which is for the smallest machines: what Consul advises for production.
            "performance": {"raft_multiplier": 1},
            # Not the default, 10s: below it no ttl could be compared with the others'.
            "session_ttl_min": "1s",
            "disable_host_node_id": True,
            "disable_update_check": True,
            "log_level": "err",
        }


class Raft(Servers):
    """Members of leasekit's own store with their default timings: heartbeat 100 ms, election timeout 1 to 2 s."""

    scheme = "raft"
    package = "msgpack"
    ports_per_server = 1

    def _command(self, index: int) -> list[str | Path]:
        initial = ",".join(f"m{other}={address}" for other, address in enumerate(self.endpoints))
        serve = ["raft", "serve", "--id", f"m{index}", "--data", str(self.data(index)), "--initial", initial]
        return [sys.executable, "-P", "-m", "leasekit", *serve]


KINDS: dict[str, tuple[type[Servers], int, str]] = {
    "sqlite": (SqliteFile, 1, "SQLite"),
    "raft3": (Raft, 3, "Raft x3"),
    "etcd1": (Etcd, 1, "etcd x1"),
    "etcd3": (Etcd, 3, "etcd x3"),
    "consul1": (Consul, 1, "Consul x1"),
    "consul3": (Consul, 3, "Consul x3"),
}
"""What can be started: its kind, how many servers, what people call it."""


def find_programs(names: Sequence[str], folder: Path | None) -> tuple[dict[str, Path | None], dict[str, str]]:
    """The program of each of these stores, and why others cannot be started."""
    folders = [*([folder] if folder else []), *([Path(named)] if (named := os.environ.get(SERVERS_VARIABLE)) else [])]
    found: dict[str, Path | None] = {}
    missing: dict[str, str] = {}
    for name in names:
        kind = KINDS[name][0]
        where = None if kind.program is None else find(kind.program, folders)
        if kind.package is not None and find_spec(kind.package) is None:
            missing[name] = f"needs the package {kind.package!r}: pip install 'leasekit[{kind.scheme}]'"
        elif kind.program is not None and where is None:
            how = f"--servers DIR or {SERVERS_VARIABLE} names a folder with it"
            missing[name] = f"no program {kind.program!r} on PATH; {how}"
        else:
            found[name] = where
    return found, missing
