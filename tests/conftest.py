"""Fixtures that every test may use, and what a run says of the tests that could not be run."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from support.binaries import MISSING
from support.children import left_behind
from support.servers import ConsulCluster, EtcdCluster, RaftCluster
from support.signals import restore_defaults


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdCluster]:
    """One etcd 3.5 server, shared by the worker's tests: leave it running."""
    with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def etcd34() -> Iterator[EtcdCluster]:
    """One etcd 3.4 server, shared by the worker's tests: leave it running."""
    with EtcdCluster(version="3.4") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def consul() -> Iterator[ConsulCluster]:
    """One Consul server, shared by the worker's tests: leave it running."""
    with ConsulCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def raft() -> Iterator[RaftCluster]:
    """One member of leasekit's own store, shared by the worker's tests: leave it running."""
    with RaftCluster() as cluster:
        yield cluster


@pytest.fixture
def etcd_cluster() -> Iterator[EtcdCluster]:
    """Three etcd 3.5 servers for this test alone, to be broken at will."""
    with EtcdCluster(size=3) as cluster:
        yield cluster


@pytest.fixture
def consul_cluster() -> Iterator[ConsulCluster]:
    """Three Consul servers for this test alone, to be broken at will."""
    with ConsulCluster(size=3) as cluster:
        yield cluster


@pytest.fixture
def raft_cluster() -> Iterator[RaftCluster]:
    """Three members of leasekit's own store for this test alone, to be broken at will."""
    with RaftCluster(size=3) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _no_child_outlives_the_test() -> Iterator[None]:
    before = left_behind(())
    yield
    if leftover := left_behind(before, patience_s=20):
        pytest.fail("the test left child processes behind: " + ", ".join(leftover.values()), pytrace=False)


def pytest_configure() -> None:
    """Start from the same signals however the run was started, and let no machine be too slow for an example."""
    restore_defaults()
    settings.register_profile("no deadline", parent=settings(), deadline=None)
    settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take long come first: at the end all workers would wait for the last of them."""
    items.sort(key=_limit_s, reverse=True)


def _limit_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker is not None else 0.0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was not run for want of a server or of rights."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.getreports("skipped"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        if MISSING in reason:
            reasons[reason.partition(MISSING)[2]] += 1
    if reasons:
        terminalreporter.section("not run", yellow=True)
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count} tests: {reason}")
