"""User and password against servers that want them: tokens that expire, rights that are missing."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme

from leasekit import urls
from leasekit.backends.etcd import open_store
from leasekit.backends.etcd.client import Client
from leasekit.backends.etcd.store import EtcdStore
from leasekit.errors import AuthError, LeasekitError, OutcomeUnknown, StoreUnavailable
from leasekit.store import Absent, Changed, Put, Resync, Store
from support.servers import EtcdCluster

from .conftest import PATIENCE_S, Open

USER, PASSWORD = "ann", "s3cret-w0rd"
TOKEN_TTL_S = 2
"""A signed token ends with a whole second, so it lives for at least one."""
LEASE_S = 60


class JwtCluster(EtcdCluster):
    """etcd with signed tokens, which expire whether they are used or not."""

    keys: Path

    def _command(self, index: int) -> list[str | Path]:
        files = f"priv-key={self.keys}/jwt.key,pub-key={self.keys}/jwt.pem"
        return [*super()._command(index), f"--auth-token=jwt,{files},sign-method=ES256,ttl={TOKEN_TTL_S}s"]


@pytest.fixture(scope="module", params=["3.4", "3.5", "3.5 with JWT"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    version: Literal["3.4", "3.5"] = "3.4" if request.param == "3.4" else "3.5"
    kind = EtcdCluster
    if "JWT" in request.param:
        kind = JwtCluster
        JwtCluster.keys = tmp_path_factory.mktemp("jwt")
        issued = trustme.CA().issue_cert("jwt")
        issued.private_key_pem.write_to_path(JwtCluster.keys / "jwt.key")
        issued.cert_chain_pems[0].write_to_path(JwtCluster.keys / "jwt.pem")
    with kind(version=version, auth=(USER, PASSWORD), auth_token_ttl_s=TOKEN_TTL_S) as cluster:
        cluster.etcdctl("user", "add", "reader:pw")
        cluster.etcdctl("role", "add", "reads-public")
        cluster.etcdctl("role", "grant-permission", "reads-public", "--prefix=true", "read", "public/")
        cluster.etcdctl("user", "grant-role", "reader", "reads-public")
        yield cluster


@pytest.fixture
def store(cluster: EtcdCluster, prefix: str, opened: Open, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return opened(cluster.url(prefix))


def as_user(cluster: EtcdCluster, prefix: str, who: str) -> str:
    return cluster.url(prefix).replace("://", f"://{who}@")


async def let_the_token_expire() -> None:
    # etcd looks at the age of tokens once a second.
    await asyncio.sleep(TOKEN_TTL_S + 1.5)


async def test_credentials_come_from_the_environment(store: Store) -> None:
    assert await store.transact([Absent("key")], [Put("key", b"1")], timeout_s=PATIENCE_S)


async def test_credentials_come_from_the_url(cluster: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(cluster.url(prefix, userinfo=True))
    assert await store.transact([Absent("key")], [Put("key", b"1")], timeout_s=PATIENCE_S)


async def test_an_expired_token_is_replaced_without_anybody_noticing(store: Store) -> None:
    lease = await store.grant(LEASE_S, timeout_s=PATIENCE_S)
    await store.transact([], [Put("key", b"1", lease.id)], timeout_s=PATIENCE_S)
    await store.renew(lease.id, timeout_s=PATIENCE_S)
    await let_the_token_expire()
    assert await store.transact([], [Put("key", b"2", lease.id)], timeout_s=PATIENCE_S)
    await let_the_token_expire()
    assert await store.get("key", timeout_s=PATIENCE_S) is not None
    await let_the_token_expire()
    assert await store.renew(lease.id, timeout_s=PATIENCE_S) == lease.ttl_s
    await let_the_token_expire()
    assert (await store.grant(LEASE_S, timeout_s=PATIENCE_S)).ttl_s == LEASE_S


async def test_a_watch_goes_on_over_an_expired_token_and_so_does_a_new_one_on_the_same_stream(store: Store) -> None:
    committed = await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)
    assert committed is not None
    old = store.watch("key", after=committed.revision)
    waiting = asyncio.ensure_future(anext(old))
    await let_the_token_expire()
    new = store.watch("other", after=committed.revision)
    waiting_too = asyncio.ensure_future(anext(new))
    await store.transact([], [Put("key", b"2"), Put("other", b"2")], timeout_s=PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        assert [told.key for told in (await waiting, await waiting_too) if isinstance(told, Changed)] == [
            "key",
            "other",
        ]


async def test_requests_at_once_over_an_expired_token(store: Store) -> None:
    await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)
    await let_the_token_expire()
    entries = await asyncio.gather(*(store.get("key", timeout_s=PATIENCE_S) for _ in range(20)))
    assert all(entry is not None for entry in entries)


@pytest.mark.parametrize("ask", ["get", "renew", "watch"])
async def test_a_new_token_may_be_worthless_as_well(store: Store, ask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed token ends with a whole second, so it can be over by the time it is used."""
    assert isinstance(store, EtcdStore)
    lease = await store.grant(LEASE_S, timeout_s=PATIENCE_S)
    put = await store.transact([], [Put("other", b"1")], timeout_s=PATIENCE_S)
    assert put is not None
    authenticate, came = Client._authenticate, 0

    async def unlucky(self: Client, *arguments: Any) -> str | None:
        nonlocal came
        came += 1
        return f"expired-{came}" if came <= 2 else await authenticate(self, *arguments)

    monkeypatch.setattr(Client, "_authenticate", unlucky)
    store._client.tokens.refuse(store._client.tokens.current)
    if ask == "get":
        assert await store.get("key", timeout_s=PATIENCE_S) is None
    elif ask == "watch":
        told = await asyncio.wait_for(anext(store.watch("other", after=put.revision - 1)), PATIENCE_S)
        assert told.revision == put.revision
    else:
        assert await store.renew(lease.id, timeout_s=PATIENCE_S) == LEASE_S
    assert came >= 3


async def test_a_server_that_takes_no_token_is_believed_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()

    async def unlucky(self: Client, *_: Any) -> str | None:
        return f"expired-{next(numbers)}"

    monkeypatch.setattr(Client, "_authenticate", unlucky)
    with pytest.raises(AuthError, match="invalid auth token"):
        await asyncio.wait_for(store.get("key", timeout_s=100), PATIENCE_S)


async def test_a_wrong_password_is_refused_and_the_error_says_where_it_came_from(
    cluster: EtcdCluster, prefix: str, opened: Open
) -> None:
    store = opened(as_user(cluster, prefix, f"{USER}:wr0ng-w0rd"))
    requests = {
        "get": store.get("key", timeout_s=PATIENCE_S),
        "transact": store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S),
        "grant": store.grant(5, timeout_s=PATIENCE_S),
        "renew": store.renew("00ab", timeout_s=PATIENCE_S),
        "watch": anext(store.watch("key", after=1)),
    }
    for name, request in requests.items():
        with pytest.raises(AuthError, match=r"LEASEKIT_USERNAME and LEASEKIT_PASSWORD") as caught:
            await asyncio.wait_for(request, PATIENCE_S)
        assert "wr0ng-w0rd" not in str(caught.value), name


async def test_no_user_where_one_is_wanted_is_refused(cluster: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(cluster.url(prefix))
    with pytest.raises(AuthError, match="LEASEKIT_USERNAME"):
        await store.get("key", timeout_s=PATIENCE_S)
    with pytest.raises(AuthError, match="LEASEKIT_USERNAME"):
        await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)
    with pytest.raises(AuthError):
        await asyncio.wait_for(anext(store.watch("key", after=1)), PATIENCE_S)


async def test_a_user_without_the_right_is_refused_and_can_do_what_it_may(
    cluster: EtcdCluster, prefix: str, opened: Open, store: Store
) -> None:
    reader = opened(as_user(cluster, "public", "reader:pw"))
    assert await reader.get("key", timeout_s=PATIENCE_S) is None
    with pytest.raises(AuthError, match="permission denied"):
        await reader.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)
    elsewhere = opened(as_user(cluster, prefix, "reader:pw"))
    with pytest.raises(AuthError, match="permission denied"):
        await elsewhere.get("key", timeout_s=PATIENCE_S)


async def test_a_watch_without_the_right_is_refused_and_does_not_end_the_others(
    cluster: EtcdCluster, prefix: str, opened: Open
) -> None:
    # A store whose prefix reaches over what the user may read.
    reader = opened(as_user(cluster, "public", "reader:pw"))
    writer = opened(cluster.url("public", userinfo=True))
    committed = await writer.transact([], [Put(prefix, b"1")], timeout_s=PATIENCE_S)
    assert committed is not None
    allowed = reader.watch(prefix, after=committed.revision)
    waiting: asyncio.Future[Changed | Resync] = asyncio.ensure_future(anext(allowed))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    cluster.etcdctl("role", "revoke-permission", "reads-public", "--prefix=true", "public/")
    try:
        with pytest.raises(AuthError, match="permission denied"):
            await asyncio.wait_for(anext(reader.watch("other", after=committed.revision)), PATIENCE_S)
    finally:
        cluster.etcdctl("role", "grant-permission", "reads-public", "--prefix=true", "read", "public/")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_password_where_none_is_wanted_does_no_harm(etcd: EtcdCluster, prefix: str, opened: Open) -> None:
    store = opened(as_user(etcd, prefix, "nobody:pw"))
    assert await store.transact([Absent("key")], [Put("key", b"1")], timeout_s=PATIENCE_S)


async def test_no_secret_shows_in_logs_and_errors(
    cluster: EtcdCluster, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = open_store(urls.parse(cluster.url(prefix, userinfo=True)))
    await store.transact([], [Put("key", b"1")], timeout_s=PATIENCE_S)
    said = [store.url, repr(store)]
    cluster.pause(0)
    try:
        for request in (store.get("key", timeout_s=0.2), store.transact([], [Put("key", b"1")], timeout_s=0.2)):
            with pytest.raises((StoreUnavailable, OutcomeUnknown)) as caught:
                await request
            chain: BaseException | None = caught.value
            while chain is not None:
                said += [repr(chain), str(chain)]
                chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    finally:
        cluster.resume(0)
    await store.aclose()
    assert PASSWORD not in caplog.text + "".join(said)
    assert isinstance(caught.value, LeasekitError)
