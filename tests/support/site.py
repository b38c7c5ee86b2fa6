"""Where scenarios are played: a store that processes can share, of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import leasekit
from leasekit.store import Capabilities
from support.servers import ConsulCluster, EtcdCluster
from support.team import Team


@dataclass(frozen=True, slots=True)
class Site:
    """A store that runs. `store` is an observer's connection to it."""

    url: str
    ttl_s: float
    store: leasekit.ConnectedStore
    folder: Path
    server: EtcdCluster | ConsulCluster | None = None

    @property
    def capabilities(self) -> Capabilities:
        return self.store.connection.store.capabilities

    @property
    def gone_within_s(self) -> float:
        """How long after its last renewal a lease is surely gone."""
        return self.capabilities.expires_within_s(self.ttl_s)

    def team(self) -> Team:
        """Candidates over this store."""
        return Team(self.folder, self.url, ttl_s=self.ttl_s)
