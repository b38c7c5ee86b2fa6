"""What URL and environment make of the Consul backend's settings."""

from __future__ import annotations

import pytest

from leasekit.backends.consul import settings
from leasekit.backends.consul.settings import Settings
from leasekit.errors import ConfigError
from leasekit.urls import Endpoint, parse

SECRET = "s3cr3t-token"


def read(url: str, **environ: str) -> Settings:
    return settings.read(parse(url), environ)


def test_without_anything_it_is_the_local_agent() -> None:
    found = read("consul://")
    assert found.endpoints == (Endpoint("127.0.0.1", 8500),)
    assert found.tls is None and found.token is None and found.datacenter is None
    assert (found.lock_delay_s, found.checks, found.root) == (0.0, (), "leasekit/")


def test_each_endpoint_gets_the_port_of_its_scheme() -> None:
    assert read("consul://a,b:1,[::1]/p").endpoints == (Endpoint("a", 8500), Endpoint("b", 1), Endpoint("::1", 8500))
    assert read("consul+tls://a").endpoints == (Endpoint("a", 8501),)


def test_the_address_variable_counts_only_where_the_url_names_no_endpoint() -> None:
    assert read("consul://", CONSUL_HTTP_ADDR="c:1").endpoints == (Endpoint("c", 1),)
    assert read("consul://a:2", CONSUL_HTTP_ADDR="c:1").endpoints == (Endpoint("a", 2),)
    assert read("consul:///prefix", CONSUL_HTTP_ADDR="c:1").url == "consul://c:1/prefix"


def test_an_https_address_turns_tls_on() -> None:
    found = read("consul://", CONSUL_HTTP_ADDR="https://c:1")
    assert found.tls is not None
    assert found.url == "consul+tls://c:1"
    assert read("consul://a:2", CONSUL_HTTP_ADDR="https://c:1").tls is None


@pytest.mark.parametrize("text", ["unix:///run/consul", "a:b", "u:" + SECRET + "@h:1", "h:1/path", "h1:1,h2:2"])
def test_an_address_that_cannot_be_used_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read("consul://", CONSUL_HTTP_ADDR=text)
    assert refused.value.field == "CONSUL_HTTP_ADDR"
    assert SECRET not in str(refused.value)


def test_the_ssl_variable_turns_tls_on_and_never_off() -> None:
    found = read("consul://a", CONSUL_HTTP_SSL="true")
    assert found.tls is not None and found.endpoints == (Endpoint("a", 8501),)
    assert read("consul+tls://a", CONSUL_HTTP_SSL="false").tls is not None


def test_tls_options_win_over_variables() -> None:
    variables = {
        "CONSUL_CACERT": "/env/ca",
        "CONSUL_CAPATH": "/env/cas",
        "CONSUL_CLIENT_CERT": "/env/cert",
        "CONSUL_CLIENT_KEY": "/env/key",
        "CONSUL_TLS_SERVER_NAME": "server.dc1.consul",
        "CONSUL_HTTP_SSL_VERIFY": "false",
    }
    found = read("consul+tls://a", **variables).tls
    assert found == settings.TLS(
        ca="/env/ca",
        ca_folder="/env/cas",
        cert="/env/cert",
        key="/env/key",
        server_name="server.dc1.consul",
        verify=False,
    )
    found = read("consul+tls://a?ca=/url/ca&cert=/url/cert&key=/url/key", **variables).tls
    assert found is not None
    assert (found.ca, found.ca_folder, found.cert, found.key) == ("/url/ca", None, "/url/cert", "/url/key")


def test_tls_files_without_tls_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"consul\+tls"):
        read("consul://a?ca=/ca.pem")


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(ConfigError, match="CONSUL_CLIENT_CERT"):
        read("consul+tls://a?key=/k.pem")


def test_the_token_comes_from_the_url_or_the_environment() -> None:
    assert read("consul://a", CONSUL_HTTP_TOKEN=SECRET).token == SECRET
    assert read(f"consul://:{SECRET}@a", CONSUL_HTTP_TOKEN="other").token == SECRET
    assert read("consul://a", CONSUL_HTTP_TOKEN_FILE="/token").token_file == "/token"


def test_a_user_in_the_url_is_refused_without_quoting_anything() -> None:
    with pytest.raises(ConfigError, match="CONSUL_HTTP_TOKEN") as refused:
        read(f"consul://alice:{SECRET}@a")
    assert SECRET not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        read(f"consul://{SECRET}@a")
    assert SECRET not in str(refused.value)


def test_no_secret_shows_in_repr_or_url() -> None:
    found = read(f"consul://:{SECRET}@a", CONSUL_HTTP_AUTH=f"user:{SECRET}")
    assert found.basic_auth == f"user:{SECRET}"
    assert SECRET not in repr(found) and SECRET not in found.url


def test_a_token_that_no_header_can_carry_is_refused_unquoted() -> None:
    with pytest.raises(ConfigError) as refused:
        read("consul://a", CONSUL_HTTP_TOKEN=f"{SECRET}\n")
    assert refused.value.field == "CONSUL_HTTP_TOKEN"
    assert SECRET not in str(refused.value)


def test_a_token_file_may_end_in_a_line_break_but_not_be_empty() -> None:
    assert settings.token_from_file("/token", f"{SECRET}\n") == SECRET
    with pytest.raises(ConfigError, match="/token is empty"):
        settings.token_from_file("/token", "\n")


def test_lock_delay_and_checks() -> None:
    found = read("consul://a?lock_delay_s=2.5&checks=serfHealth, web ")
    assert found.lock_delay_s == 2.5
    assert found.checks == ("serfHealth", "web")


@pytest.mark.parametrize("text", ["-1", "61", "soon", "", "nan"])
def test_a_lock_delay_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"consul://a?lock_delay_s={text}")
    assert refused.value.field == "lock_delay_s"


def test_unknown_options_and_odd_flags_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown option 'token'"):
        read("consul://a?token=x")
    with pytest.raises(ConfigError) as refused:
        read("consul://a", CONSUL_HTTP_SSL="perhaps")
    assert refused.value.field == "CONSUL_HTTP_SSL"


def test_an_enterprise_namespace_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        read("consul://a", CONSUL_NAMESPACE="team")
    assert refused.value.field == "CONSUL_NAMESPACE"


@pytest.mark.parametrize("path", ["/a//b", "/a/../b", "/."])
def test_a_prefix_that_consul_cannot_address_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="cannot address"):
        read(f"consul://a{path}")


def test_the_datacenter_is_taken_from_the_url() -> None:
    assert read("consul://a?dc=paris").datacenter == "paris"
