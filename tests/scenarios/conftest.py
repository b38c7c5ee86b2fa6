"""The stores that scenarios are played on, each with the shortest ttl that all of them take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import leasekit
from support.site import Site


@pytest.fixture(params=["etcd", "consul", "sqlite"])
def site(request: pytest.FixtureRequest, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """Each store that processes can share."""
    yield from _site(request, prefix, tmp_path)


@pytest.fixture(params=["etcd", "consul"])
def network_site(request: pytest.FixtureRequest, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """Each store behind a network."""
    yield from _site(request, prefix, tmp_path)


def _site(request: pytest.FixtureRequest, prefix: str, folder: Path) -> Iterator[Site]:
    server = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    url = f"sqlite:///{folder}/leases.db" if server is None else server.url(prefix)
    with leasekit.connect(url) as store:
        yield Site(url, 1.0, store, folder, server)
