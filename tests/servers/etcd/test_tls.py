"""TLS: who is believed, who is let in, and what is said when a handshake fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from leasekit.store import Absent, Put, Store
from support.proxy import Proxy
from support.servers import EtcdCluster

from .conftest import PATIENCE_S, Open, complaint


@pytest.fixture(scope="module")
def server() -> Iterator[EtcdCluster]:
    with EtcdCluster(tls="server") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def mutual() -> Iterator[EtcdCluster]:
    with EtcdCluster(tls="mutual") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of an authority that the clusters do not know."""
    folder = tmp_path_factory.mktemp("strangers")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("client.example")
    issued.private_key_pem.write_to_path(folder / "client.key")
    issued.cert_chain_pems[0].write_to_path(folder / "client.pem")
    return folder


async def works(store: Store) -> None:
    assert await store.transact([Absent("key")], [Put("key", b"1")], timeout_s=PATIENCE_S)
    watch = store.watch("key", after=1)
    assert (await anext(watch)).revision > 1
    lease = await store.grant(60, timeout_s=PATIENCE_S)
    assert await store.renew(lease.id, timeout_s=PATIENCE_S) == lease.ttl_s
    assert await store.server_time(timeout_s=PATIENCE_S) is not None
    assert (await store.probe(timeout_s=PATIENCE_S)).reachable


async def refusal(store: Store, pattern: str) -> str:
    """What is said of the handshake, once the pattern is found in it."""
    return await complaint(lambda: store.get("key", timeout_s=2), pattern)


async def test_everything_works_over_tls(server: EtcdCluster, prefix: str, opened: Open) -> None:
    await works(opened(server.url(prefix)))


async def test_everything_works_over_mutual_tls(mutual: EtcdCluster, prefix: str, opened: Open) -> None:
    await works(opened(mutual.url(prefix)))


async def test_a_name_is_as_good_as_an_address_if_the_certificate_bears_it(
    server: EtcdCluster, prefix: str, opened: Open
) -> None:
    await works(opened(server.url(prefix, endpoints=[f"localhost:{server.port(0)}"])))


async def test_without_an_authority_the_systems_are_trusted(
    server: EtcdCluster, prefix: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
    await works(opened(server.url(prefix, ca=None)))


async def test_the_systems_authorities_do_not_vouch_for_a_private_one(
    server: EtcdCluster, prefix: str, opened: Open
) -> None:
    await refusal(opened(server.url(prefix, ca=None)), "certificate verify failed")


async def test_another_authority_does_not_vouch_for_the_server(
    server: EtcdCluster, prefix: str, opened: Open, strangers: Path
) -> None:
    await refusal(opened(server.url(prefix, ca=strangers / "ca.pem")), "certificate verify failed")


async def test_a_certificate_for_another_address_is_refused(server: EtcdCluster, prefix: str, opened: Open) -> None:
    with Proxy(server.endpoints[0], host="127.0.0.2") as link:
        store = opened(server.url(prefix, endpoints=[link.address]))
        assert "127.0.0.2" in await refusal(store, "certificate verify failed")


async def test_a_server_that_wants_a_certificate_says_so(mutual: EtcdCluster, prefix: str, opened: Open) -> None:
    assert "?cert=" in await refusal(opened(mutual.url(prefix, cert=None, key=None)), "client certificate")


async def test_a_server_that_does_not_know_our_authority_says_so(
    mutual: EtcdCluster, prefix: str, opened: Open, strangers: Path
) -> None:
    store = opened(mutual.url(prefix, cert=strangers / "client.pem", key=strangers / "client.key"))
    await refusal(store, "client certificate")


async def test_tls_spoken_to_a_server_without_it_is_told(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    await refusal(opened(etcd.url(prefix).replace("etcd://", "etcd+tls://")), r"etcd:// without \+tls")


async def test_no_tls_spoken_to_a_server_with_it_is_told(server: EtcdCluster, prefix: str, opened: Open) -> None:
    await refusal(opened(f"etcd://{server.endpoints[0]}/{prefix}"), r"etcd\+tls://")


async def test_a_probe_tells_why_an_endpoint_cannot_be_reached(
    server: EtcdCluster, prefix: str, opened: Open, strangers: Path
) -> None:
    store = opened(server.url(prefix, ca=strangers / "ca.pem"))
    async with asyncio.timeout(PATIENCE_S):
        while "certificate verify failed" not in ((await store.probe(timeout_s=2)).endpoints[0].error or ""):
            pass
