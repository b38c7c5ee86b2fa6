"""Whatever a password is made of, encoded or not, it shows in nothing that people or other processes see."""

from __future__ import annotations

import contextlib
import traceback
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

import leasekit
from leasekit.errors import ConfigError
from leasekit.urls import parse

# Marked, so that it is found wherever a piece of it turns up; letters that no message of ours has.
MARK = "Zq7"
passwords = st.text(max_size=12).map(lambda text: f"{MARK}{text}{MARK}")
rough = st.text(alphabet=st.sampled_from(list("aZ0/?#@:[]%,&=. \u2100\u00e9")), max_size=10).map(
    lambda text: f"{MARK}{text}{MARK}"
)
hosts = st.sampled_from(["h1", "h1:2379", "h1:2379,h2", "[::1]:2379", "h1:bad", "h1,,h2", "[::1", ""])
tails = st.sampled_from(["", "/", "/prod", "/a%20b", "?ca=/x", "/p?ca=/x&key=/y", "?broken", "#", "/%23"])
schemes = st.sampled_from(
    ["etcd", "etcd+tls", "consul", "consul+tls", "raft", "raft+tls", "memory", "sqlite", "nosuch"]
)


def shown(url: str) -> str:
    """Everything that is shown when this URL is parsed and opened."""
    said = []
    try:
        parsed = parse(url)
        said += [repr(parsed), str(parsed), parsed.redacted]
    except ConfigError as error:
        said += [str(error), repr(error), "".join(traceback.format_exception(error))]
    if "+tls:" in url:
        return "\n".join(said)  # certificates take long to load
    try:
        connected = leasekit.connect(url)
        said += [connected.url, repr(connected), repr(leasekit.Election("x", connected))]
    except leasekit.LeasekitError as error:
        said += [str(error), repr(error)]
    return "\n".join(said)


@settings(deadline=None)
@given(scheme=schemes, password=passwords, host=hosts, tail=tails)
def test_an_encoded_password_is_read_and_never_shown(scheme: str, password: str, host: str, tail: str) -> None:
    url = f"{scheme}://user:{quote(password, safe='')}@{host}{tail}"
    with contextlib.suppress(ConfigError):  # for what is wrong elsewhere
        assert parse(url).password == password
    seen = shown(url)
    assert MARK not in seen
    assert quote(password, safe="") not in seen


@settings(deadline=None)
@given(scheme=schemes, password=rough, host=hosts, tail=tails)
def test_a_password_that_was_not_encoded_is_never_shown_either(
    scheme: str, password: str, host: str, tail: str
) -> None:
    assert MARK not in shown(f"{scheme}://user:{password}@{host}{tail}")


@settings(deadline=None)
@given(url=st.text(max_size=40))
def test_any_text_is_a_store_url_or_a_config_error(url: str) -> None:
    try:
        parsed = parse(url)
    except ConfigError:
        return
    assert parse(parsed.redacted).endpoints == parsed.endpoints
