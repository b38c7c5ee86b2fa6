"""The stores that rounds are played on, and how a leader is cut off from each, or the store's own leader killed."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adversary.disturbances import Disturbance
from support.cluster import Cluster
from support.netns import Host, Network
from support.proxy import Proxy
from support.raft_hosts import HostedCluster
from support.servers import ConsulCluster, EtcdCluster, RaftCluster

NAMES = ("sqlite", "etcd", "consul", "raft")
CLUSTERS: dict[str, Callable[[int], Cluster]] = {"etcd": EtcdCluster, "consul": ConsulCluster, "raft": RaftCluster}
_HOSTS = 10
_NOBODY = "02:00:00:00:00:01"
"""A hardware address that no host has."""


def _unchanged(address: str) -> str:
    return address


def _cannot() -> None:
    raise AssertionError("this round is not played on such a place")


@dataclass(frozen=True, slots=True)
class Place:
    """A store as one round sees it."""

    url: str
    first_url: str
    """The same for the leader that is disturbed, which may have a way of its own."""
    first_command: list[str] = field(default_factory=list)
    """What the command line of that leader is put after."""
    reach: Callable[[str], str] = _unchanged
    """How that leader reaches a server on this machine."""
    cut: Callable[[], None] = _cannot
    heal: Callable[[], None] = _cannot
    kill_store_leader: Callable[[], None] = _cannot


class Trio:
    """Three servers shared by rounds. Kills their leader when one of the rounds asks, once for all that ask meanwhile."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._changed = threading.Condition()
        self._begun = 0
        self._done = 0
        self._killing = False

    def kill_leader(self) -> None:
        """Returns when a leader that led at the time of the call, or later, was killed, another leads, and all three run."""
        with self._changed:
            mine = self._begun + 1
            while self._done < mine:
                if self._killing:
                    self._changed.wait()
                    continue
                self._killing, self._begun = True, self._begun + 1
                number = self._begun
                self._changed.release()
                try:
                    self._kill()
                finally:
                    self._changed.acquire()
                    self._killing, self._done = False, number
                    self._changed.notify_all()

    def _kill(self) -> None:
        index = self.cluster.leader_index(30)
        self.cluster.kill(index)
        self.cluster.leader_index(30)
        self.cluster.start(index)
        self.cluster.wait_ready(30)


class Stores:
    """Starts servers when they are first wanted; they run until the stack is closed."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._singles: dict[str, Cluster] = {}
        self._trios: dict[str, Trio] = {}
        self._hosted: tuple[Network, HostedCluster, queue.SimpleQueue[Host]] | None = None

    @contextmanager
    def place(self, store: str, disturbance: Disturbance) -> Iterator[Place]:
        """A place for one round, with nothing in it yet."""
        prefix = f"round-{next(self._numbers)}"
        with ExitStack() as stack:
            if store == "sqlite":
                url = f"sqlite:///{self._folder}/{prefix}.db"
                yield Place(url, url)
            elif disturbance is Disturbance.STORE_LEADER_KILLED:
                trio = self._trio(store)
                url = trio.cluster.url(prefix)
                yield Place(url, url, kill_store_leader=trio.kill_leader)
            elif disturbance is not Disturbance.CUT:
                url = self._single(store).url(prefix)
                yield Place(url, url)
            elif store == "raft":
                yield self._on_a_host(stack, prefix)
            else:
                cluster = self._single(store)
                (endpoint,) = cluster.endpoints
                link = stack.enter_context(Proxy(endpoint))
                first_url = cluster.url(prefix, endpoints=[link.address])
                yield Place(cluster.url(prefix), first_url, cut=link.cut, heal=link.heal)

    def _single(self, store: str) -> Cluster:
        with self._lock:
            if store not in self._singles:
                self._singles[store] = self._stack.enter_context(CLUSTERS[store](1))
            return self._singles[store]

    def _trio(self, store: str) -> Trio:
        with self._lock:
            if store not in self._trios:
                self._trios[store] = Trio(self._stack.enter_context(CLUSTERS[store](3)))
            return self._trios[store]

    def _on_a_host(self, stack: ExitStack, prefix: str) -> Place:
        """A client of raft:// learns the members' own addresses, so it is the leader's host that loses what it sends to
        the member's. Its way to the resource, by another address, stays."""
        network, cluster, hosts = self._hosts()
        host = hosts.get()
        stack.callback(hosts.put, host)
        member = cluster.hosts[0].address

        def reach(address: str) -> str:
            return stack.enter_context(Proxy(address, host=network.address)).address

        def cut() -> None:
            host.namespace.ip("neigh", "replace", member, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")

        def heal() -> None:
            host.namespace.ip("neigh", "del", member, "dev", "eth0")

        url = cluster.url(prefix)
        return Place(url, url, host.namespace.command([]), reach, cut, heal)

    def _hosts(self) -> tuple[Network, HostedCluster, queue.SimpleQueue[Host]]:
        with self._lock:
            if self._hosted is None:
                network = self._stack.enter_context(Network())
                cluster = self._stack.enter_context(HostedCluster(network, 1))
                hosts: queue.SimpleQueue[Host] = queue.SimpleQueue()
                for _ in range(_HOSTS):
                    hosts.put(network.host())
                self._hosted = network, cluster, hosts
            return self._hosted
