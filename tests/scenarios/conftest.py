"""The stores that scenarios are played on, each with a ttl that all of them take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import leasekit
from support.servers import ConsulCluster
from support.site import Site


@pytest.fixture(params=["etcd", "consul", "raft", "sqlite"])
def site(request: pytest.FixtureRequest, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """Each store that processes can share."""
    yield from _site(request, prefix, tmp_path, ttl_s=2.0)


@pytest.fixture(params=["etcd", "consul"])
def network_site(request: pytest.FixtureRequest, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """Each store whose client keeps to the addresses that it is given, so that a link in between can be cut; one server.

    A client of raft:// learns the members' own addresses: `tests/servers/raft` cuts off whole hosts.
    """
    yield from _site(request, prefix, tmp_path, ttl_s=2.0)


@pytest.fixture(params=["etcd", "spacious_consul"])
def crowded_site(request: pytest.FixtureRequest, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """Each store behind a network, one server, ready for many candidates from one address."""
    yield from _site(request, prefix, tmp_path, ttl_s=3.0)


@pytest.fixture
def spacious_consul() -> Iterator[ConsulCluster]:
    """Consul closes a client's connections above 200, and a waiting candidate has about four."""
    with ConsulCluster(max_connections_per_client=1000) as cluster:
        yield cluster


@pytest.fixture(params=["etcd_cluster", "consul_cluster", "raft_cluster"])
def cluster_site(request: pytest.FixtureRequest, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """Each store on three servers of this test's own. The ttl is one that survives the loss of the store's leader."""
    yield from _site(request, prefix, tmp_path, ttl_s=8.0)


def _site(request: pytest.FixtureRequest, prefix: str, folder: Path, ttl_s: float) -> Iterator[Site]:
    server = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    url = f"sqlite:///{folder}/leases.db" if server is None else server.url(prefix)
    with leasekit.connect(url) as store:
        yield Site(url, ttl_s, store, folder, prefix, server)
