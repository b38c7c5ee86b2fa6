"""etcd servers for tests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from support import binaries
from support.certificates import TLS
from support.cluster import Cluster
from support.proxy import Proxy

_ROOT_PASSWORD = "root-of-the-test-cluster"
_ETCDCTL_S = 20


class EtcdCluster(Cluster):
    """One or three etcd servers. At the default timings one server grants a TTL of 1 s, and three of 2 s.

    Args:
        election_timeout_ms: 500 for one server; for several 1000, etcd's own default, since on a busy machine a heartbeat
            may well be half a second late.
        heartbeat_ms: a tenth of that.
        auth: turns authentication on; this user may do everything.
        auth_token_ttl_s: how long a token lives that is not used.
        peer_links: the servers talk to each other through links that `isolate` can cut.
    """

    scheme = "etcd"
    ports_per_server = 3

    def __init__(
        self,
        size: int = 1,
        *,
        version: Literal["3.4", "3.5"] = "3.5",
        tls: TLS | None = None,
        auth: tuple[str, str] | None = None,
        auth_token_ttl_s: int = 300,
        election_timeout_ms: int | None = None,
        heartbeat_ms: int | None = None,
        peer_links: bool = False,
    ) -> None:
        super().__init__(size, tls)
        self.version = version
        self.auth = auth
        self.election_timeout_ms = election_timeout_ms or (500 if size == 1 else 1000)
        self.heartbeat_ms = heartbeat_ms or self.election_timeout_ms // 10
        self.auth_token_ttl_s = auth_token_ttl_s
        self._binary: Path | None = None
        self._links_wanted = peer_links
        self._links: list[Proxy] = []
        self._member_ids: dict[str, str] = {}
        if auth is not None:
            self.environment = {"LEASEKIT_USERNAME": auth[0], "LEASEKIT_PASSWORD": auth[1]}

    def open(self) -> Self:
        self._binary = binaries.require(f"etcd-{self.version}", "etcd")
        return super().open()

    def start_all(self) -> None:
        if self._links_wanted and not self._links:
            for index in range(self.size):
                self._links.append(Proxy(f"127.0.0.1:{self.port(index, 1)}").__enter__())
        super().start_all()

    def close(self) -> None:
        super().close()
        while self._links:
            self._links.pop().__exit__()

    def isolate(self, index: int) -> None:
        """Cut server `index` off from its peers, both ways; clients still reach it. Needs `peer_links=True`."""
        assert self._links, "the cluster was made without peer_links"
        for other, link in enumerate(self._links):
            # Who dialled a connection stands in each request's header, and messages flow both ways on one.
            link.cut() if other == index else link.cut(f"X-Server-From: {self._member_ids[f's{index}']}\r\n".encode())

    def reunite(self) -> None:
        """End all isolation."""
        for link in self._links:
            link.heal()

    def etcdctl(
        self, *arguments: str, user: tuple[str, str] | None = None, servers: Sequence[int] | None = None
    ) -> str:
        """Run etcdctl against all or some servers, as the cluster's user; its stdout. Raises CalledProcessError."""
        program = binaries.require(f"etcd-{self.version}", "etcdctl")
        scheme = "https" if self.tls else "http"
        addresses = [f"{scheme}://{self.endpoints[index]}" for index in servers or range(self.size)]
        patience = f"{_ETCDCTL_S}s"
        command = [str(program), "--endpoints", ",".join(addresses)]
        command += ["--dial-timeout", patience, "--command-timeout", patience]
        if files := self.certificates:
            command += ["--cacert", str(files.ca), "--cert", str(files.client_cert), "--key", str(files.client_key)]
        if who := user or self.auth:
            command += ["--user", ":".join(who)]
        return self._run(command + list(arguments))

    def _run(self, command: list[str]) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCDCTL_")}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=3 * _ETCDCTL_S,
            env=environment | {"ETCDCTL_API": "3"},
            check=False,
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout

    def _command(self, index: int) -> list[str | Path]:
        assert self._binary is not None
        scheme = "https" if self.tls else "http"
        client = f"{scheme}://{self.endpoints[index]}"
        peers = [f"http://{link.address}" for link in self._links]
        peers = peers or [f"http://127.0.0.1:{self.port(i, 1)}" for i in range(self.size)]
        settings = {
            "name": f"s{index}",
            "data-dir": self.folder(index),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": f"http://127.0.0.1:{self.port(index, 1)}",
            "initial-advertise-peer-urls": peers[index],
            "listen-metrics-urls": f"http://127.0.0.1:{self.port(index, 2)}",
            "initial-cluster": ",".join(f"s{i}={peer}" for i, peer in enumerate(peers)),
            "initial-cluster-token": f"leasekit-{self.port(0)}",
            "election-timeout": self.election_timeout_ms,
            "heartbeat-interval": self.heartbeat_ms,
            "auth-token-ttl": self.auth_token_ttl_s,
            "logger": "zap",
            "log-level": "warn",
        }
        if self.version == "3.5":
            # Tests end processes, not machines: what was written survives that without a slow disk's say.
            settings["unsafe-no-fsync"] = "true"
        if files := self.certificates:
            settings |= {"cert-file": files.server_cert, "key-file": files.server_key}
            if self.tls == "mutual":
                settings |= {"client-cert-auth": "true", "trusted-ca-file": files.ca}
        return [self._binary, *(f"--{name}={value}" for name, value in settings.items())]

    def _prepare(self) -> None:
        if self.auth is not None:
            self._turn_authentication_on(self.auth)
        if self._links:
            members = [line.split(", ") for line in self.etcdctl("member", "list").splitlines()]
            self._member_ids = {member[2]: member[0] for member in members}

    def _turn_authentication_on(self, auth: tuple[str, str]) -> None:
        user, password = auth
        self.auth = None  # until authentication is on, etcdctl must not use it
        if user != "root":
            self.etcdctl("user", "add", f"root:{_ROOT_PASSWORD}")
            self.etcdctl("user", "grant-role", "root", "root")
        self.etcdctl("user", "add", f"{user}:{password}")
        self.etcdctl("user", "grant-role", user, "root")
        self.etcdctl("auth", "enable")
        self.auth = auth

    def _userinfo(self) -> str:
        assert self.auth is not None, "the cluster has no authentication"
        return ":".join(self.auth)

    def _answers(self, index: int) -> bool:
        # The metrics port serves health without TLS; "healthy" means that a linearizable read went through.
        answer = self._request("GET", f"http://127.0.0.1:{self.port(index, 2)}/health")
        return answer is not None and answer[0] == 200 and json.loads(answer[1])["health"] == "true"

    def _says_it_leads(self, index: int) -> bool:
        answer = self._request("GET", f"http://127.0.0.1:{self.port(index, 2)}/metrics")
        return answer is not None and b"\netcd_server_is_leader 1\n" in answer[1]
