"""Members of leasekit's own store on hosts of their own, whose packets can be lost. As root on Linux."""

from __future__ import annotations

from pathlib import Path

from support.netns import Network
from support.raft_cluster import RaftCluster

_PORT = 7001
_NOBODY = "02:00:00:00:00:01"
"""A hardware address that no host has: what is sent to it is lost without a word."""


class HostedCluster(RaftCluster):
    """Each member on a host of `network`. Clients on this machine reach it as long as its host is not cut."""

    def __init__(self, network: Network, size: int = 3) -> None:
        super().__init__(size)
        self.hosts = [network.host() for _ in range(size)]

    @property
    def endpoints(self) -> list[str]:
        return [f"{host.address}:{_PORT}" for host in self.hosts]

    def serving(self, index: int) -> list[str | Path]:
        return [*self.hosts[index].namespace.command([]), *super().serving(index), "--insecure"]

    def lose_packets(self, sender: int, receiver: int) -> None:
        """Those from one host to the other. Connections between them then only seem to work, in the other direction."""
        address = self.hosts[receiver].address
        arguments = ("replace", address, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")
        self.hosts[sender].namespace.ip("neigh", *arguments)

    def deliver_packets(self, sender: int, receiver: int) -> None:
        """Undo `lose_packets`."""
        self.hosts[sender].namespace.ip("neigh", "del", self.hosts[receiver].address, "dev", "eth0")
