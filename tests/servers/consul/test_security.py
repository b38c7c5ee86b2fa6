"""Tokens and TLS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from leasekit.errors import AuthError, ConfigError, StoreUnavailable
from leasekit.store import Get, Put
from support.servers import ConsulCluster

from .conftest import PATIENCE_S, Open, commit

TOKEN = "5f0e1a52-0000-4000-8000-00000000beef"


@pytest.fixture(scope="module")
def guarded() -> Iterator[ConsulCluster]:
    """A server that lets nobody in without a token."""
    with ConsulCluster(acl_token=TOKEN) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def mutual() -> Iterator[ConsulCluster]:
    """A server that asks its clients for certificates."""
    with ConsulCluster(tls="mutual") as cluster:
        yield cluster


async def test_the_token_is_taken_from_the_environment_or_the_url(
    opened: Open, guarded: ConsulCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_url = opened(guarded.url(prefix).replace("://", f"://:{TOKEN}@"))
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", TOKEN)
    by_variable = opened(guarded.url(prefix))
    for store in (by_url, by_variable):
        lease = await store.grant(10, timeout_s=PATIENCE_S)
        await commit(store, Put("leader", b"1", lease.id))
        await store.revoke(lease.id, timeout_s=PATIENCE_S)
        assert TOKEN not in store.url
    health = await by_variable.probe(timeout_s=PATIENCE_S)
    assert health.reachable and health.endpoints[0].version


async def test_the_token_may_come_from_a_file(
    opened: Open, guarded: ConsulCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = guarded.folder(0).with_suffix(".token")
    file.write_text(TOKEN + "\n")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN_FILE", str(file))
    await commit(opened(guarded.url(prefix)), Put("key", b"1"))
    monkeypatch.setenv("CONSUL_HTTP_TOKEN_FILE", str(file) + ".missing")
    with pytest.raises(ConfigError) as refused:
        await opened(guarded.url(prefix)).get("key", timeout_s=PATIENCE_S)
    assert refused.value.field == "CONSUL_HTTP_TOKEN_FILE"


@pytest.mark.parametrize("token", ["", "22222222-0000-4000-8000-000000000bad"])
async def test_a_missing_or_wrong_token_is_refused_everywhere(
    opened: Open, guarded: ConsulCluster, prefix: str, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", token)
    store = opened(guarded.url(prefix))
    with pytest.raises(AuthError, match="CONSUL_HTTP_TOKEN") as refused:
        await store.grant(10, timeout_s=PATIENCE_S)
    assert not token or token not in str(refused.value)
    with pytest.raises(AuthError):
        await store.get("key", timeout_s=PATIENCE_S)
    with pytest.raises(AuthError):
        await store.scan("", timeout_s=PATIENCE_S)
    with pytest.raises(AuthError):
        await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)
    with pytest.raises(AuthError):
        await store.transact([], [Get("", prefix=True)], timeout_s=PATIENCE_S)
    with pytest.raises(AuthError):
        await anext(store.watch("key", after=0))
    # Consul says so much to anybody.
    assert (await store.probe(timeout_s=PATIENCE_S)).reachable


async def test_a_token_for_the_prefix_alone_is_enough(
    opened: Open, guarded: ConsulCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = _token_for(
        guarded, f'key_prefix "{prefix}/" {{ policy = "write" }} session_prefix "" {{ policy = "write" }}'
    )
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", token)
    store = opened(guarded.url(prefix))
    lease = await store.grant(10, timeout_s=PATIENCE_S)
    put = await commit(store, Put("e/leader", b"1", lease.id), Get("e/", prefix=True))
    watch = store.watch("e/leader", after=put.revision)
    await commit(store, Get("e/leader"))
    await store.revoke(lease.id, timeout_s=PATIENCE_S)
    assert (await anext(watch)).revision > put.revision
    await watch.aclose()
    assert (await store.scan("", timeout_s=PATIENCE_S)).entries == ()
    assert (await store.probe(timeout_s=PATIENCE_S)).endpoints[0].error is None
    elsewhere = opened(guarded.url("elsewhere"))
    with pytest.raises(AuthError):
        await elsewhere.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)


def _token_for(cluster: ConsulCluster, rules: str) -> str:
    name = uuid.uuid4().hex
    assert cluster.http("PUT", "/v1/acl/policy", {"Name": name, "Rules": rules})[0] == 200
    status, body = cluster.http("PUT", "/v1/acl/token", {"Policies": [{"Name": name}]})
    assert status == 200
    return str(json.loads(body)["SecretID"])


async def test_tls_with_both_certificates(opened: Open, mutual: ConsulCluster, prefix: str) -> None:
    store = opened(mutual.url(prefix))
    lease = await store.grant(10, timeout_s=PATIENCE_S)
    put = await commit(store, Put("leader", b"1", lease.id))
    watch = store.watch("leader", after=put.revision)
    await store.revoke(lease.id, timeout_s=PATIENCE_S)
    assert (await anext(watch)).revision > put.revision
    await watch.aclose()
    assert (await store.probe(timeout_s=PATIENCE_S)).reachable


async def test_tls_settings_may_come_from_consuls_variables(
    opened: Open, mutual: ConsulCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = mutual.certificates
    assert files is not None
    monkeypatch.setenv("CONSUL_HTTP_ADDR", f"https://{mutual.endpoints[0].replace('127.0.0.1', 'localhost')}")
    monkeypatch.setenv("CONSUL_CACERT", str(files.ca))
    monkeypatch.setenv("CONSUL_CLIENT_CERT", str(files.client_cert))
    monkeypatch.setenv("CONSUL_CLIENT_KEY", str(files.client_key))
    await commit(opened(f"consul:///{prefix}"), Put("key", b"1"))
    monkeypatch.setenv("CONSUL_TLS_SERVER_NAME", "other.example")
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        await opened(f"consul:///{prefix}").get("key", timeout_s=PATIENCE_S)


async def test_an_unknown_authority_is_named_as_the_fault(opened: Open, mutual: ConsulCluster, prefix: str) -> None:
    store = opened(mutual.url(prefix, ca=None))
    with pytest.raises(StoreUnavailable, match=r"certificate verify failed.*CONSUL_CACERT"):
        await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)


async def test_without_a_client_certificate_nothing_was_applied(
    opened: Open, mutual: ConsulCluster, prefix: str
) -> None:
    store = opened(mutual.url(prefix, cert=None, key=None))
    with pytest.raises(StoreUnavailable, match="cert="):
        await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)
    assert await opened(mutual.url(prefix)).get("key", timeout_s=PATIENCE_S) is None


async def test_plain_http_to_a_tls_port_says_so(opened: Open, mutual: ConsulCluster, prefix: str) -> None:
    store = opened(f"consul://{mutual.endpoints[0]}/{prefix}")
    with pytest.raises(ConfigError, match=r"consul\+tls"):
        await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)


async def test_verification_can_be_turned_off_and_is_warned_of(
    opened: Open, mutual: ConsulCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_SSL_VERIFY", "false")
    store = opened(mutual.url(prefix, ca=None))
    await commit(store, Put("key", b"1"))
    assert any("CONSUL_HTTP_SSL_VERIFY" in warning for warning in (await store.probe(timeout_s=PATIENCE_S)).warnings)


@pytest.mark.parametrize("option", ["ca", "cert"])
async def test_a_file_that_is_missing_is_named(opened: Open, mutual: ConsulCluster, prefix: str, option: str) -> None:
    missing: dict[str, Any] = {option: "/no/such/file.pem"}
    store = opened(mutual.url(prefix, **missing))
    with pytest.raises(ConfigError, match=r"/no/such/file\.pem") as refused:
        await store.get("key", timeout_s=PATIENCE_S)
    assert refused.value.field == option
