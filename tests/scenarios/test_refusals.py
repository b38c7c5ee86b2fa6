"""What is given wrongly is refused with a clear error, which names the field and the remedy, and nothing is written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import leasekit
from leasekit import engine
from support import certificates
from support.servers import ConsulCluster, EtcdCluster, RaftCluster
from support.site import Site

TTL_S = 2.0


@pytest.fixture(autouse=True)
def _no_credentials_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEASEKIT_USERNAME", "LEASEKIT_PASSWORD", "LEASEKIT_STORE", "CONSUL_HTTP_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def assert_empty(store: leasekit.ConnectedStore) -> None:
    """Nothing was written under this test's prefix."""
    snapshot = engine.get().run(store.connection.store.scan("", timeout_s=10))
    assert snapshot.entries == ()


@pytest.mark.parametrize(
    ("given", "field", "remedy"),
    [
        ({"name": ""}, "name", "1 to 200 letters"),
        ({"name": "a/b"}, "name", "letters, digits"),
        ({"name": "../up"}, "name", "letters, digits"),
        ({"name": "new\nline"}, "name", "letters, digits"),
        ({"name": "x" * 201}, "name", "1 to 200"),
        ({"name": "ü"}, "name", "letters, digits"),
        ({"id": ""}, "id", "1 to 200 letters"),
        ({"id": "a b"}, "id", "letters, digits"),
        ({"ttl_s": 0}, "ttl_s", "must be a positive number"),
        ({"ttl_s": -1}, "ttl_s", "must be a positive number"),
        ({"ttl_s": math.nan}, "ttl_s", "must be a positive number"),
        ({"ttl_s": math.inf}, "ttl_s", "must be a positive number"),
        ({"ttl_s": 0.04}, "ttl_s", "Raise it"),
        ({"ttl_s": 1e12}, "ttl_s", "this store takes"),
        ({"ttl_s": "15"}, "ttl_s", "must be a number of seconds"),
        ({"ttl_s": True}, "ttl_s", "must be a number of seconds"),
        ({"priority": "high"}, "priority", "must be an integer"),
        ({"priority": 1.5}, "priority", "must be an integer"),
        ({"meta": {"a": object()}}, "meta", "must be JSON"),
        ({"meta": {"a": "x" * 70_000}}, "meta", "at most 65536"),
    ],
)
def test_what_an_election_cannot_be_made_of(site: Site, given: dict[str, Any], field: str, remedy: str) -> None:
    with pytest.raises(leasekit.ConfigError, match=remedy) as refused:
        leasekit.Election(**{"name": "reports", "store": site.store, **given})
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")
    assert_empty(site.store)


def test_a_ttl_below_what_the_store_takes_names_its_bounds(network_site: Site) -> None:
    shortest_s = network_site.capabilities.ttl_min_s
    with pytest.raises(leasekit.ConfigError, match=f"this store takes {shortest_s:g} to") as refused:
        leasekit.Election("reports", network_site.store, ttl_s=shortest_s / 2)
    assert refused.value.field == "ttl_s"
    assert_empty(network_site.store)


def test_a_ttl_below_what_this_server_takes_names_the_option_that_would_allow_it(prefix: str) -> None:
    with ConsulCluster(session_ttl_min="10s") as cluster, leasekit.connect(cluster.url(prefix)) as store:
        with pytest.raises(leasekit.ConfigError, match="session_ttl_min") as refused:
            leasekit.Election("reports", store, ttl_s=2).campaign(30)
        assert refused.value.field == "ttl_s"
        assert_empty(store)


def test_a_negative_timeout_is_refused(site: Site) -> None:
    with pytest.raises(leasekit.ConfigError) as refused:
        leasekit.Election("reports", site.store, ttl_s=TTL_S).campaign(-1)
    assert refused.value.field == "timeout_s"
    assert_empty(site.store)


def test_a_transfer_to_nobody_changes_nothing(site: Site) -> None:
    with leasekit.Election("reports", site.store, ttl_s=60).campaign(30) as leadership:
        with pytest.raises(leasekit.ConfigError, match="nobody") as refused:
            leadership.transfer("nobody")
        assert refused.value.field == "to"
        assert leadership.valid


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:2379", "has no scheme"),
        ("zookeeper://localhost", "known: .*etcd"),
        ("etcd://localhost:port", "the port is a number from 1 to 65535"),
        ("etcd://localhost:70000", "the port is a number from 1 to 65535"),
        ("etcd://h1:2379,,h2:2379", "has no host"),
        ("etcd://", "names no server"),
        ("etcd://::1:2379", "has no host"),
        ("etcd://localhost/prefix#part", "write %23"),
        ("etcd://localhost?ca", "name=value"),
        ("consul://localhost?datacentre=dc1", "unknown option 'datacentre'"),
        ("etcd://localhost?ca=/tmp/ca.pem", "tls"),
        ("consul://localhost?ca=/tmp/ca.pem", "tls"),
    ],
)
def test_urls_that_cannot_be_meant(url: str, says: str) -> None:
    with pytest.raises(leasekit.ConfigError, match=f"(?s){says}"):
        leasekit.connect(url).close()


@pytest.mark.parametrize("scheme", ["etcd", "consul", "raft"])
@pytest.mark.parametrize("option", ["ca", "cert"])
def test_a_certificate_file_that_is_missing_is_named(scheme: str, option: str, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.pem"
    mine = certificates.issue(tmp_path / "mine")
    cert, key = (missing, missing) if option == "cert" else (mine.client_cert, mine.client_key)
    ca = missing if option == "ca" else mine.ca
    with pytest.raises(leasekit.ConfigError, match=r"nowhere\.pem") as refused:
        _campaign(f"{scheme}+tls://127.0.0.1:1?ca={ca}&cert={cert}&key={key}")
    assert refused.value.field in (option, "key")


def _campaign(url: str) -> None:
    with leasekit.connect(url) as store, leasekit.Election("reports", store, ttl_s=TTL_S).campaign(4):
        raise AssertionError("elected")


Secured = EtcdCluster | ConsulCluster | RaftCluster


@pytest.fixture(params=[EtcdCluster, ConsulCluster, RaftCluster])
def secured(request: pytest.FixtureRequest) -> Iterator[Secured]:
    """A server that speaks TLS and asks its clients for a certificate."""
    with request.param(tls="mutual") as cluster:
        yield cluster


def test_certificates_that_do_not_fit_are_said_so_and_nothing_is_written(
    secured: Secured, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = certificates.issue(tmp_path / "other")
    wrong: list[tuple[str, str]] = [
        (secured.url(prefix, ca=None), "certificate verify failed"),
        (secured.url(prefix, ca=other.ca), "certificate verify failed"),
        (secured.url(prefix, cert=None, key=None), r"cert= and .?key=|\?cert="),
        (secured.url(prefix, cert=other.client_cert, key=other.client_key), r"cert= and .?key=|our certificate"),
        (secured.url(prefix, key=None), "key"),
        (secured.url(prefix).partition("?")[0].replace("+tls", ""), r"\+tls"),
    ]
    for url, says in wrong:
        caplog.clear()
        with pytest.raises((leasekit.NotElected, leasekit.ConfigError)) as refused:
            _campaign(url)
        # The error tells of the last attempt, which on a busy machine may have got no answer at all; the log of the first.
        assert re.search(says, f"{refused.value}\n{caplog.text}")
    with leasekit.connect(secured.url(prefix)) as store:
        assert_empty(store)


def test_tls_to_a_server_that_speaks_none_says_so(
    network_site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = certificates.issue(tmp_path / "mine")
    files = f"?ca={mine.ca}&cert={mine.client_cert}&key={mine.client_key}"
    with pytest.raises((leasekit.NotElected, leasekit.ConfigError)) as refused:
        _campaign(network_site.url.replace("://", "+tls://") + files)
    # As above. The URL in the texts names the scheme, which is no explanation.
    told = f"{refused.value}\n{caplog.text}".replace("+tls://", "://")
    assert re.search("TLS|tls", told)
    assert_empty(network_site.store)


@pytest.mark.parametrize("credentials", [{}, {"LEASEKIT_USERNAME": "leo", "LEASEKIT_PASSWORD": "guess"}])
def test_a_wrong_or_missing_etcd_password_names_the_variables(
    credentials: dict[str, str], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(election: leasekit.Election) -> None:
        with pytest.raises(leasekit.AuthError, match="LEASEKIT_USERNAME and LEASEKIT_PASSWORD"):
            election.campaign(20)

    with EtcdCluster(auth=("leo", "s3cret")) as cluster:
        _assert_refused(cluster, prefix, credentials, refused, monkeypatch)


@pytest.mark.parametrize("credentials", [{}, {"CONSUL_HTTP_TOKEN": "99999999-0000-0000-0000-000000000000"}])
def test_a_wrong_or_missing_consul_token_names_the_variable(
    credentials: dict[str, str], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(election: leasekit.Election) -> None:
        with pytest.raises(leasekit.AuthError, match="CONSUL_HTTP_TOKEN"):
            election.campaign(20)

    with ConsulCluster(acl_token="11111111-2222-3333-4444-555555555555") as cluster:
        _assert_refused(cluster, prefix, credentials, refused, monkeypatch)


def _assert_refused(
    cluster: Secured,
    prefix: str,
    credentials: dict[str, str],
    refused: Callable[[leasekit.Election], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    with leasekit.connect(cluster.url(prefix)) as store:
        refused(leasekit.Election("reports", store, ttl_s=TTL_S))
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    with leasekit.connect(cluster.url(prefix)) as store:
        assert_empty(store)
