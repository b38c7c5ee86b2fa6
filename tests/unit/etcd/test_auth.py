"""Where user and password come from, where they never go, and how a token is replaced."""

from __future__ import annotations

import asyncio
import os

import pytest

from leasekit import urls
from leasekit.backends.etcd import open_store
from leasekit.backends.etcd.auth import Credentials, Tokens, credentials
from leasekit.errors import ConfigError

SECRET = "s3cret-word"


@pytest.fixture(autouse=True)
def _no_credentials_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEASEKIT_USERNAME", raising=False)
    monkeypatch.delenv("LEASEKIT_PASSWORD", raising=False)


def test_without_a_user_there_are_none() -> None:
    assert credentials(urls.parse("etcd://h:1")) is None


def test_they_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASEKIT_USERNAME", "ann")
    monkeypatch.setenv("LEASEKIT_PASSWORD", SECRET)
    assert credentials(urls.parse("etcd://h:1")) == Credentials("ann", SECRET)


def test_the_url_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASEKIT_USERNAME", "ann")
    monkeypatch.setenv("LEASEKIT_PASSWORD", SECRET)
    assert credentials(urls.parse("etcd://bob:other@h:1")) == Credentials("bob", "other")
    assert credentials(urls.parse("etcd://bob@h:1")) == Credentials("bob", SECRET)


@pytest.mark.parametrize(
    ("there", "missing"), [("LEASEKIT_USERNAME", "LEASEKIT_PASSWORD"), ("LEASEKIT_PASSWORD", "LEASEKIT_USERNAME")]
)
def test_half_of_them_is_a_mistake_that_names_the_other_half(
    monkeypatch: pytest.MonkeyPatch, there: str, missing: str
) -> None:
    monkeypatch.setenv(there, SECRET)
    with pytest.raises(ConfigError) as caught:
        open_store(urls.parse("etcd://h:1"))
    assert caught.value.field == missing
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("variable", ["LEASEKIT_USERNAME", "LEASEKIT_PASSWORD"])
def test_what_is_not_utf_8_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("LEASEKIT_USERNAME", "ann")
    monkeypatch.setenv("LEASEKIT_PASSWORD", SECRET)
    monkeypatch.setenv(variable, os.fsdecode(b"caf\xe9"))
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        open_store(urls.parse("etcd://h:1"))
    assert caught.value.field == variable
    assert "caf" not in str(caught.value)


def test_a_password_shows_in_no_repr() -> None:
    assert SECRET not in repr(Credentials("ann", SECRET))
    store = open_store(urls.parse(f"etcd://ann:{SECRET}@h:1"))
    assert SECRET not in store.url + repr(store) + repr(vars(store))


async def test_however_many_ask_etcd_is_asked_once() -> None:
    tokens = Tokens(Credentials("ann", SECRET))
    asked = []

    async def authenticate(who: Credentials) -> str:
        asked.append(who.username)
        await asyncio.sleep(0)
        return f"token-{len(asked)}"

    assert not tokens.known
    assert await asyncio.gather(*(tokens.fetch(authenticate) for _ in range(5))) == ["token-1"] * 5
    assert tokens.known
    assert tokens.current == "token-1"
    assert asked == ["ann"]


async def test_a_refused_token_is_replaced_once_however_many_were_refused() -> None:
    tokens = Tokens(Credentials("ann", SECRET))
    count = 0

    async def authenticate(_: Credentials) -> str:
        nonlocal count
        count += 1
        return f"token-{count}"

    await tokens.fetch(authenticate)
    tokens.refuse("token-1")
    assert await tokens.fetch(authenticate) == "token-2"
    tokens.refuse("token-1")  # a request that was under way with the old one
    assert await tokens.fetch(authenticate) == "token-2"


async def test_a_failed_authentication_is_tried_again_by_the_next_who_asks() -> None:
    tokens = Tokens(Credentials("ann", SECRET))

    async def fail(_: Credentials) -> str:
        raise OSError("down")

    async def authenticate(_: Credentials) -> str:
        return "token"

    with pytest.raises(OSError, match="down"):
        await tokens.fetch(fail)
    assert await tokens.fetch(authenticate) == "token"


def test_without_a_user_no_token_is_sent_and_none_is_replaced() -> None:
    tokens = Tokens(None)
    tokens.refuse(None)
    assert tokens.known
    assert tokens.current is None
    assert not tokens.renewable


async def test_what_a_server_repeats_is_scrubbed() -> None:
    tokens = Tokens(Credentials("ann", SECRET))

    async def authenticate(_: Credentials) -> str:
        return "abc.123"

    await tokens.fetch(authenticate)
    assert tokens.scrub(f"bad token abc.123 for ann:{SECRET}") == "bad token *** for ann:***"
