"""Store URLs: parsing, validation, and keeping their secrets out of sight.

`urllib.parse`'s `.port` cannot read several endpoints, so the network part is taken apart here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from leasekit.errors import ConfigError

DEFAULT_PREFIX = "leasekit"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's address. `port` is None where the URL names none: the backend knows its default."""

    host: str
    port: int | None

    def address(self, default_port: int) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return str(Endpoint(self.host, self.port or default_port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StoreURL:
    """A store URL taken apart. `path` has no query; `options` are the query's pairs. Secrets stay out of its repr."""

    scheme: str
    endpoints: tuple[Endpoint, ...]
    path: str
    options: Mapping[str, str]
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def tls(self) -> bool:
        """Whether the scheme asks for TLS."""
        return self.scheme.endswith("+tls")

    @property
    def prefix(self) -> str:
        """The prefix of all keys, from the path; `leasekit` if the path is empty. No slash at either end."""
        return self.path.strip("/") or DEFAULT_PREFIX

    def option(self, name: str, default: str | None = None) -> str | None:
        """The value of a query option, or `default`."""
        return self.options.get(name, default)

    def require_known_options(self, *known: str) -> None:
        """Refuse an option that the backend does not have: a misspelt `?ca=` must not pass in silence."""
        for name in self.options:
            if name not in known:
                can = ", ".join(sorted(known)) or "none"
                raise ConfigError("store URL", f"unknown option {name!r} for {self.scheme}://; known: {can}")

    @property
    def redacted(self) -> str:
        """The URL without user, password or anything secret: fit for logs, errors and a child's environment."""
        hosts = ",".join(str(endpoint) for endpoint in self.endpoints)
        query = "?" + urlencode(self.options) if self.options else ""
        return f"{self.scheme}://{hosts}{quote(self.path)}{query}"


def is_utf8(text: str) -> bool:
    """Whether all of it is text. Other bytes of the command line and the environment come as characters that no store takes."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def parse(url: str) -> StoreURL:
    """Take a store URL apart. Raises ConfigError (without echoing a password) when it is malformed."""
    scheme, separator, _ = url.partition("://")
    if not separator or not scheme:
        raise ConfigError("store URL", "has no scheme: write for example etcd://127.0.0.1:2379 or sqlite:///leases.db")
    try:
        parts = urlsplit(url)
    except ValueError:
        # What urlsplit says may quote a password.
        raise ConfigError("store URL", "is malformed; an IPv6 address is written [::1]:2379") from None
    if "\0" in unquote(url) or not is_utf8(url):
        raise ConfigError("store URL", "holds a null byte or what is not UTF-8")
    if "#" in url:
        raise ConfigError("store URL", "has a fragment ('#'); write %23 if it belongs to a name or password")
    if parts.netloc and ("@" in parts.path or "@" in parts.query):
        # Most likely a password that was cut short by a slash or a question mark in it; so nothing is quoted.
        raise ConfigError("store URL", "has '@' after the hosts; in a user, password or path write %40, %2F, %3F")
    userinfo, at, network = parts.netloc.rpartition("@")
    username, colon, password = userinfo.partition(":")
    try:
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigError("store URL", "has a malformed query: options are name=value, joined by &") from None
    return StoreURL(
        scheme=scheme.lower(),
        endpoints=tuple(_endpoint(part) for part in network.split(",")) if network else (),
        path=unquote(parts.path),
        options=options,
        username=unquote(username) if at else None,
        password=unquote(password) if colon else None,
    )


def _endpoint(text: str) -> Endpoint:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError("store URL", f"endpoint {text!r}: an IPv6 address is written [::1]:2379")
        port_text = rest[1:]
    else:
        host, _, port_text = text.partition(":")
    if not host:
        raise ConfigError("store URL", f"endpoint {text!r} has no host")
    if not port_text:
        return Endpoint(host, None)
    if not port_text.isascii() or not port_text.isdigit() or not 0 < int(port_text) < 65536:
        raise ConfigError("store URL", f"endpoint {text!r}: the port is a number from 1 to 65535")
    return Endpoint(host, int(port_text))
