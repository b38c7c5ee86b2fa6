"""The Raft store over TLS: who may ask, whom it believes, and what it says when that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from leasekit.backends.raft import open_store
from leasekit.backends.raft.transport import load
from leasekit.errors import ConfigError
from leasekit.store import Put, Store
from leasekit.urls import parse
from support.raft_certificates import Authority, Pem
from support.raft_fake import FakeCluster, fake_cluster
from support.raft_patience import unavailable

_LONG_S = 30.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
async def cluster(authority: Authority) -> AsyncIterator[FakeCluster]:
    async with fake_cluster(security=load(*authority.issue("127.0.0.1", "localhost").texts)) as cluster:
        cluster.elect(cluster.members[1])
        yield cluster


@asynccontextmanager
async def opened(cluster: FakeCluster, *, ca: Path | None, shown: Pem, host: str = "127.0.0.1") -> AsyncIterator[Store]:
    options = {"cert": str(shown.cert), "key": str(shown.key)} | ({} if ca is None else {"ca": str(ca)})
    url = cluster.url().replace("raft://", "raft+tls://").replace("127.0.0.1", host)
    store = open_store(parse(f"{url}?{urlencode(options)}"))
    try:
        yield store
    finally:
        await store.aclose()


async def _put(store: Store) -> None:
    assert await store.transact([], [Put("k", b"1")], timeout_s=_LONG_S)


async def _unavailable(store: Store, says: str) -> None:
    await unavailable(lambda timeout_s: store.get("k", timeout_s=timeout_s), says, timeout_s=0.5)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_client_with_a_certificate_is_served(authority: Authority, cluster: FakeCluster, host: str) -> None:
    async with opened(cluster, ca=authority.ca, shown=authority.issue("client.example"), host=host) as store:
        await _put(store)
        health = await store.probe(timeout_s=_LONG_S)
        assert health.reachable and health.warnings == ()


async def test_members_of_another_authority_are_not_believed(
    authority: Authority, cluster: FakeCluster, tmp_path: Path
) -> None:
    another = Authority(tmp_path / "another")
    for ca in (another.ca, None):
        async with opened(cluster, ca=ca, shown=authority.issue("client.example")) as store:
            await _unavailable(store, "certificate verify failed")
            errors = [endpoint.error for endpoint in (await store.probe(timeout_s=_LONG_S)).endpoints]
            assert all("certificate verify failed" in (error or "") for error in errors)


async def test_a_client_of_another_authority_is_refused_and_told_so(
    authority: Authority, cluster: FakeCluster, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "another").issue("client.example")
    async with opened(cluster, ca=authority.ca, shown=stranger) as store:
        await _unavailable(store, "our certificate")


async def test_a_client_without_tls_is_refused_and_told_so(authority: Authority, cluster: FakeCluster) -> None:
    store = open_store(parse(cluster.url()))
    try:
        await _unavailable(store, "TLS")
    finally:
        await store.aclose()


async def test_tls_towards_members_without_is_told_so(authority: Authority) -> None:
    async with fake_cluster() as plain, opened(plain, ca=authority.ca, shown=authority.issue("x.example")) as store:
        await _unavailable(store, "TLS")


async def test_files_that_are_no_certificates_are_named(authority: Authority, tmp_path: Path) -> None:
    pem = authority.issue("client.example")
    other = authority.issue("another.example")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for options, field in (
        ({"ca": nonsense, "cert": pem.cert, "key": pem.key}, "ca"),
        ({"ca": pem.ca, "cert": pem.cert, "key": other.key}, "key"),
        ({"ca": pem.ca, "cert": nonsense, "key": pem.key}, "key"),
    ):
        with pytest.raises(ConfigError) as refused:
            open_store(parse(f"raft+tls://127.0.0.1/p?{urlencode(options)}"))
        assert refused.value.field == field
