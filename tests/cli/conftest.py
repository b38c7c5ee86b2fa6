"""The command line over stores of the test's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import Command
from support.servers import ConsulCluster, EtcdCluster, RaftCluster


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Command]:
    """The command over an SQLite file of the test's own."""
    command = Command(f"sqlite:///{tmp_path / 'leases.db'}", tmp_path)
    yield command
    command.close()


@pytest.fixture
def cli_without_store(tmp_path: Path) -> Iterator[Command]:
    """The command with no store named, in a home of its own."""
    command = Command(None, tmp_path)
    yield command
    command.close()


@pytest.fixture(params=["sqlite", "etcd", "consul", "raft"])
def any_cli(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Iterator[Command]:
    """The command over each kind of store in turn."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'leases.db'}"
    else:
        server: EtcdCluster | ConsulCluster | RaftCluster = request.getfixturevalue(request.param)
        url = server.url(prefix)
    command = Command(url, tmp_path)
    yield command
    command.close()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port on 127.0.0.1 where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield int(reserved.getsockname()[1])


@pytest.fixture
def auth_url(prefix: str) -> Iterator[str]:
    """An etcd server that wants a password; the URL holds it."""
    with EtcdCluster(auth=("root", "s3cret")) as server:
        yield server.url(prefix, userinfo=True)
