"""Where a round is played: an election of its own in a store, and a way to cut its first leader off."""

from __future__ import annotations

import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from support.proxy import Proxy
from support.servers import ConsulCluster, EtcdCluster


class Place(ABC):
    """The store, as the two leaders of one round reach it. Used by one thread."""

    def __init__(self, first_url: str, second_url: str, *, blocks_everybody: bool) -> None:
        self.first_url = first_url
        self.second_url = second_url
        self.blocks_everybody = blocks_everybody
        """Whether nobody at all can be elected while the first one is cut off."""

    @abstractmethod
    def cut(self) -> None:
        """From now on nothing of the first leader reaches the store."""

    @abstractmethod
    def heal(self) -> None:
        """As before."""


class FilePlace(Place):
    """An SQLite file. Cut off: somebody holds its lock, so nobody can write."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'leases.db'}"
        super().__init__(url, url, blocks_everybody=True)
        self._file = folder / "leases.db"
        self._connection: sqlite3.Connection | None = None

    def cut(self) -> None:
        self._connection = sqlite3.connect(self._file, timeout=30, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def heal(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ServerPlace(Place):
    """A server. The first leader reaches it by a link of its own."""

    def __init__(self, server: EtcdCluster | ConsulCluster, link: Proxy) -> None:
        prefix = f"fire-{uuid.uuid4().hex[:12]}"
        super().__init__(
            server.url(prefix, endpoints=[link.address]), server.url(prefix), blocks_everybody=False
        )  # fmt: skip
        self._link = link

    def cut(self) -> None:
        self._link.cut()

    def heal(self) -> None:
        self._link.heal()


class Site(Protocol):
    """A store that rounds are played on, several at a time."""

    name: str
    ttl_s: float

    def place(self, folder: Path, stack: ExitStack) -> Place:
        """A place for one round, which ends with `stack`."""
        ...


class FileSite:
    """SQLite files, one a round."""

    name = "sqlite"

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s

    def place(self, folder: Path, stack: ExitStack) -> Place:
        place = FilePlace(folder)
        stack.callback(place.heal)
        return place


class ServerSite:
    """One server for all rounds."""

    def __init__(self, name: str, server: EtcdCluster | ConsulCluster, ttl_s: float) -> None:
        self.name = name
        self.ttl_s = ttl_s
        self._server = server

    def place(self, folder: Path, stack: ExitStack) -> Place:
        (endpoint,) = self._server.endpoints
        return ServerPlace(self._server, stack.enter_context(Proxy(endpoint)))


TTL_S: Mapping[str, float] = {"sqlite": 4.0, "etcd": 4.0, "consul": 5.0}
"""For each store. Consul lets go of a lease after twice its ttl, of which 5 s are the least that the backend takes."""


@contextmanager
def site(store: str, ttl_s: float | None = None) -> Iterator[Site]:
    """A site of that kind, its server running."""
    ttl_s = ttl_s or TTL_S[store]
    match store:
        case "sqlite":
            yield FileSite(ttl_s)
        case "etcd":
            with EtcdCluster() as etcd:
                yield ServerSite(store, etcd, ttl_s)
        case "consul":
            with ConsulCluster(max_connections_per_client=1000) as consul:
                yield ServerSite(store, consul, ttl_s)
