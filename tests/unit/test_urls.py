"""Store URLs: what they say, what is refused, and that no secret in one is ever shown."""

from __future__ import annotations

import traceback

import pytest

from leasekit.errors import ConfigError
from leasekit.urls import Endpoint, StoreURL, parse


def test_several_endpoints_are_read() -> None:
    url = parse("etcd://h1:2379,h2,h3:2381/prod/eu")
    assert url.scheme == "etcd"
    assert url.endpoints == (Endpoint("h1", 2379), Endpoint("h2", None), Endpoint("h3", 2381))
    assert url.prefix == "prod/eu"
    assert (url.username, url.password, url.tls) == (None, None, False)


@pytest.mark.parametrize(
    ("text", "endpoint", "address"),
    [
        ("[::1]:2379", Endpoint("::1", 2379), "[::1]:2379"),
        ("[2001:db8::7]", Endpoint("2001:db8::7", None), "[2001:db8::7]:99"),
        ("127.0.0.1:1", Endpoint("127.0.0.1", 1), "127.0.0.1:1"),
        ("db.example", Endpoint("db.example", None), "db.example:99"),
        ("host:", Endpoint("host", None), "host:99"),
        ("host:65535", Endpoint("host", 65535), "host:65535"),
    ],
)
def test_addresses_of_all_kinds_are_read(text: str, endpoint: Endpoint, address: str) -> None:
    (found,) = parse(f"etcd://{text}/x").endpoints
    assert found == endpoint
    assert found.address(99) == address


def test_several_ipv6_endpoints_are_read() -> None:
    assert [e.host for e in parse("etcd://[::1]:1,[::2]:2,h:3").endpoints] == ["::1", "::2", "h"]


@pytest.mark.parametrize(
    "text",
    ["h:0", "h:65536", "h:-1", "h:x", "h:1_0", "h:٣", "h:+1", "h:1:2", "::1", "[::1", "[::1]x", "h1,,h2", ",", ":1"],
)
def test_addresses_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"etcd://{text}/x")
    assert refused.value.field == "store URL"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "etcd",
        "etcd:h1",
        "://h1",
        "h1:2379",
        "etcd://h/x#y",
        "etcd://h/x#",
        "etcd://h?x",
        "etcd://h/a\udcff",
        "sqlite:////a\udcff.db",
        "sqlite:////a%00.db",
        "etcd://h/a\0",
    ],
)
def test_what_is_no_store_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_userinfo_is_percent_decoded() -> None:
    url = parse("etcd+tls://me%40home:p%2Fw%3A%25%20@h1,h2")
    assert (url.username, url.password) == ("me@home", "p/w:% ")
    assert url.tls


@pytest.mark.parametrize(
    ("userinfo", "username", "password"),
    [("me@", "me", None), ("me:@", "me", ""), (":secret@", "", "secret"), ("a@b:c@", "a@b", "c"), ("", None, None)],
)
def test_userinfo_may_lack_a_part(userinfo: str, username: str | None, password: str | None) -> None:
    url = parse(f"etcd://{userinfo}h1")
    assert (url.username, url.password) == (username, password)


@pytest.mark.parametrize(
    "text",
    [
        "etcd://zelda:se/cret@h1:2379",
        "etcd://zelda:1234/cret@h1:2379",
        "etcd://zelda:1234?cret@h1:2379",
        "etcd://zelda:12#cret@h1:2379",
        "etcd://zelda:se[cre]t@h1:2379",
        "etcd://zelda:se\u2100cret@h1:2379",
    ],
)
def test_a_password_that_was_not_encoded_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    said = "".join(traceback.format_exception(refused.value))
    for part in ("1234", "cre", "zelda"):
        assert part not in said


def test_options_are_read_and_unknown_ones_refused() -> None:
    url = parse("consul://h?ca=%2Fetc%2Fca.pem&empty=")
    assert url.option("ca") == "/etc/ca.pem"
    assert url.option("empty") == ""
    assert url.option("key") is None
    assert url.option("key", "other") == "other"
    url.require_known_options("ca", "empty", "key")
    with pytest.raises(ConfigError, match=r"unknown option 'empty'.*known: ca, key"):
        url.require_known_options("key", "ca")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:////abs/path.db", "//abs/path.db"),
        ("sqlite:///rel.db", "/rel.db"),
        ("sqlite:////home/a@b/x.db", "//home/a@b/x.db"),
        ("sqlite:////with%20space%3F%23.db", "//with space?#.db"),
        ("sqlite://", ""),
    ],
)
def test_paths_of_files_are_read(text: str, path: str) -> None:
    url = parse(text)
    assert url.path == path
    assert url.endpoints == ()


@pytest.mark.parametrize(("path", "prefix"), [("", "leasekit"), ("/", "leasekit"), ("/a", "a"), ("/a/b/", "a/b")])
def test_the_prefix_is_the_path_and_leasekit_without_one(path: str, prefix: str) -> None:
    assert parse(f"etcd://h{path}").prefix == prefix


def test_a_redacted_url_has_all_but_the_user_and_reads_the_same() -> None:
    url = parse("etcd+tls://me:secret@h1:1,[::1]:2/a%20b/%23?ca=/x&key=%2Fy%26z")
    assert "me" not in url.redacted
    assert "secret" not in url.redacted
    again = parse(url.redacted)
    assert again == StoreURL(url.scheme, url.endpoints, url.path, url.options)


def test_the_scheme_is_case_insensitive() -> None:
    assert parse("ETCD+TLS://h").scheme == "etcd+tls"
