"""The servers that are measured against: one etcd and one Consul, as durable as in production, on loopback."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.consul import ConsulCluster
from support.etcd import EtcdCluster
from support.ports import Reservation
from support.raft_cluster import RaftCluster

__all__ = ["ConsulCluster", "DurableEtcd", "DurableRaft", "EtcdCluster", "Reservation", "etcd_requests"]

# etcd counts every message that a client sends it, those within a stream too.
_COUNTER = "grpc_server_msg_received_total{"


class DurableEtcd(EtcdCluster):
    """An etcd server that waits for its disk, with etcd's own default timings."""

    def __init__(self, size: int = 1) -> None:
        super().__init__(size, election_timeout_ms=1000, heartbeat_ms=100)

    def _command(self, index: int) -> list[str | Path]:
        return [part for part in super()._command(index) if not str(part).startswith("--unsafe-no-fsync")]


class DurableRaft(RaftCluster):
    """Members of leasekit's own store with their default timings."""

    def __init__(self, size: int) -> None:
        super().__init__(size, election_timeout_ms=1000, heartbeat_ms=100)


def etcd_requests(cluster: EtcdCluster) -> dict[str, int]:
    """How many messages clients have sent so far, by method."""
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port(0, 2)}/metrics", timeout=5) as reply:
        lines = reply.read().decode().splitlines()
    counted: dict[str, int] = {}
    for line in lines:
        if line.startswith(_COUNTER):
            labels, _, count = line.rpartition(" ")
            method = labels.partition('grpc_method="')[2].partition('"')[0]
            counted[method] = counted.get(method, 0) + int(float(count))
    return counted
