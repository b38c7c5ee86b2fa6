"""Who we are to etcd: user, password, and the token that stands for them for a while."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from leasekit.backends.etcd.backoff import Backoff
from leasekit.errors import ConfigError
from leasekit.urls import StoreURL, is_utf8


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and its password. Neither shows in a repr."""

    username: str = field(repr=False)
    password: str = field(repr=False)


def credentials(url: StoreURL) -> Credentials | None:
    """User and password from the URL, else from LEASEKIT_USERNAME and LEASEKIT_PASSWORD; None if there are none."""
    username = url.username or os.environ.get("LEASEKIT_USERNAME")
    password = url.password or os.environ.get("LEASEKIT_PASSWORD")
    if not username and not password:
        return None
    if not username:
        raise ConfigError("LEASEKIT_USERNAME", "is not set, although there is a password")
    if not password:
        raise ConfigError("LEASEKIT_PASSWORD", "is not set, although there is a user name")
    for variable, text in (("LEASEKIT_USERNAME", username), ("LEASEKIT_PASSWORD", password)):
        if not is_utf8(text):
            raise ConfigError(variable, "is not UTF-8, as all text is that goes to etcd")
    return Credentials(username, password)


TOKENS_MAX = 3
"""How many tokens one request may come with after its first. One is enough where tokens live for minutes. But a new
token can be worthless as well: a signed one ends with a whole second, which may be the present one, and a server that
lags behind does not know a simple one yet."""


class Tokens:
    """The token of the moment. Requests that find it expired say so, and one of them fetches the next."""

    def __init__(self, who: Credentials | None) -> None:
        self._who = who
        self._token: str | None = None
        self._good = who is None
        self._fetching = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        """Whether there is a user to authenticate, so that a refused token can be replaced."""
        return self._who is not None

    @property
    def known(self) -> bool:
        """Whether `current` is worth sending."""
        return self._good

    @property
    def current(self) -> str | None:
        """What to send; None where etcd asks for none."""
        return self._token

    async def fetch(self, authenticate: Callable[[Credentials], Awaitable[str | None]]) -> str | None:
        """The token, from etcd if the last one was refused. However many ask at once, etcd is asked once."""
        async with self._fetching:
            if not self._good and self._who is not None:
                self._token = await authenticate(self._who)
                self._good = True
            return self._token

    def refuse(self, token: str | None) -> None:
        """etcd refused `token`. It may have been replaced since."""
        if self.renewable and token == self._token:
            self._good = False

    def scrub(self, text: str) -> str:
        """`text` without anything secret, should a server ever repeat it."""
        secrets = (self._token, self._who.password if self._who else None)
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        return text


class TokenTries:
    """Whether a request that was refused for its token is worth sending again with another one."""

    def __init__(self, tokens: Tokens, backoff: Backoff) -> None:
        self._tokens = tokens
        self._backoff = backoff
        self._refused = 0

    async def another(self) -> bool:
        """Whether to try again. Waits before it says so, save for the first time."""
        if not self._tokens.renewable or self._refused == TOKENS_MAX:
            return False
        self._refused += 1
        if self._refused > 1:
            await asyncio.sleep(self._backoff.next_s())
        return True
