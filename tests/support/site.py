"""Where scenarios are played: a store that processes can share, of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import leasekit
from leasekit.store import Capabilities
from support.servers import ConsulCluster, EtcdCluster, RaftCluster
from support.team import Team


@dataclass(frozen=True, slots=True)
class Site:
    """A store that runs. `store` is an observer's connection to it."""

    url: str
    ttl_s: float
    store: leasekit.ConnectedStore
    folder: Path
    prefix: str
    server: EtcdCluster | ConsulCluster | RaftCluster | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What this store promises."""
        return self.store.connection.store.capabilities

    @property
    def gone_within_s(self) -> float:
        """How long after its last renewal a lease is surely gone."""
        return self.gone_after_s(self.ttl_s)

    def gone_after_s(self, ttl_s: float) -> float:
        """The same with another ttl."""
        return self.capabilities.expires_within_s(ttl_s)

    @property
    def servers(self) -> EtcdCluster | ConsulCluster | RaftCluster:
        """The servers, where there are any."""
        assert self.server is not None, "this store has no server"
        return self.server

    @property
    def endpoint(self) -> str:
        """The address of the only server."""
        (endpoint,) = self.servers.endpoints
        return endpoint

    def url_by(self, *endpoints: str) -> str:
        """The store's URL, by way of these addresses."""
        return self.servers.url(self.prefix, endpoints=endpoints)

    def team(self, *, ttl_s: float | None = None) -> Team:
        """Candidates over this store."""
        return Team(self.folder, self.url, ttl_s=ttl_s or self.ttl_s)
