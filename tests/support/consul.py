"""Consul servers for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from support import binaries
from support.certificates import TLS
from support.cluster import Cluster

_ANSWER_S = 20.0


class ConsulCluster(Cluster):
    """One or three Consul servers, durable (not `-dev`).

    Args:
        acl_token: turns access control on, denying by default; this token may do everything.
        session_ttl_min: the shortest TTL that sessions may have; Consul's own default is "10s".
        max_connections_per_client: Consul's `http_max_conns_per_client`; None leaves its default (200).
    """

    scheme = "consul"
    ports_per_server = 3

    def __init__(
        self,
        size: int = 1,
        *,
        tls: TLS | None = None,
        acl_token: str | None = None,
        session_ttl_min: str = "1s",
        max_connections_per_client: int | None = None,
    ) -> None:
        super().__init__(size, tls)
        self.acl_token = acl_token
        self.session_ttl_min = session_ttl_min
        self.max_connections_per_client = max_connections_per_client
        self._binary: Path | None = None
        if acl_token is not None:
            self.environment = {"CONSUL_HTTP_TOKEN": acl_token}

    def open(self) -> Self:
        self._binary = binaries.require("consul", "consul")
        return super().open()

    def http(self, method: str, path: str, body: object = None, *, server: int = 0) -> tuple[int, bytes]:
        """One request to a server's API: its status and body. Raises ConnectionError if it does not answer."""
        answer = self._ask(
            server, path, method, None if body is None else json.dumps(body).encode(), answer_s=_ANSWER_S
        )
        if answer is None:
            raise ConnectionError(f"no answer to {method} {path} from {self.endpoints[server]}")
        return answer

    def _ask(
        self, index: int, path: str, method: str = "GET", body: bytes | None = None, *, answer_s: float = 1.0
    ) -> tuple[int, bytes] | None:
        scheme = "https" if self.tls else "http"
        headers = {"X-Consul-Token": self.acl_token} if self.acl_token else {}
        url = f"{scheme}://{self.endpoints[index]}{path}"
        return self._request(method, url, body, answer_s=answer_s, **headers)

    def _command(self, index: int) -> list[str | Path]:
        assert self._binary is not None
        self.folder(index).mkdir(exist_ok=True)
        file = self.folder(index).with_suffix(".json")
        file.write_text(json.dumps(self._configuration(index)))
        return [self._binary, "agent", f"-config-file={file}"]

    def _configuration(self, index: int) -> dict[str, object]:
        limits = self.max_connections_per_client
        configuration: dict[str, object] = {
            "server": True,
            "bootstrap_expect": self.size,
            "node_name": f"s{index}",
            "data_dir": str(self.folder(index)),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": -1 if self.tls else self.port(index),
                "https": self.port(index) if self.tls else -1,
                "server": self.port(index, 1),
                "serf_lan": self.port(index, 2),
                "serf_wan": -1,
                "dns": -1,
                "grpc": -1,
            },
            "retry_join": [f"127.0.0.1:{self.port(i, 2)}" for i in range(self.size) if i != index],
            "retry_interval": "100ms",
            "performance": {"raft_multiplier": 1},
            "session_ttl_min": self.session_ttl_min,
            "limits": {} if limits is None else {"http_max_conns_per_client": limits},
            "disable_host_node_id": True,
            "disable_update_check": True,
            "log_level": "warn",
        }
        if self.acl_token is not None:
            tokens = {"master": self.acl_token, "agent": self.acl_token}
            configuration["acl"] = {"enabled": True, "default_policy": "deny", "tokens": tokens}
        if files := self.certificates:
            configuration |= {
                "ca_file": str(files.ca),
                "cert_file": str(files.server_cert),
                "key_file": str(files.server_key),
                "verify_incoming_https": self.tls == "mutual",
            }
        return configuration

    def _userinfo(self) -> str:
        raise AssertionError("Consul's token goes by the environment: use .environment")

    def _answers(self, index: int) -> bool:
        # A session needs its node in the catalogue, which comes a little after the first leader.
        nodes = self._ask(index, "/v1/catalog/nodes?consistent")
        return nodes is not None and nodes[0] == 200 and f"s{index}" in {node["Node"] for node in json.loads(nodes[1])}

    def _says_it_leads(self, index: int) -> bool:
        leader = self._ask(index, "/v1/status/leader")
        # It must also answer a consistent read: a deposed leader goes on naming itself for a while.
        own = f'"127.0.0.1:{self.port(index, 1)}"'.encode()
        return leader is not None and leader[1].strip() == own and self._answers(index)
