"""Where Consul is and how to talk to it: the URL and Consul's own environment variables, made one. Pure.

What the URL says wins over the environment, save that `CONSUL_HTTP_SSL=true` turns TLS on for `consul://` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leasekit.errors import ConfigError
from leasekit.urls import Endpoint, StoreURL, parse

PLAIN_PORT = 8500
TLS_PORT = 8501
# Consul's own limit on how long a key may stay refused after its session ended.
LOCK_DELAY_MAX_S = 60.0

_TRUE = {"1", "t", "true"}
_FALSE = {"0", "f", "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """How agents are authenticated, and this client to them. Paths are opened at the first request."""

    ca: str | None = None
    ca_folder: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the backend needs to know before its first request. No secret shows in its repr."""

    url: str
    endpoints: tuple[Endpoint, ...]
    prefix: str
    tls: TLS | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    basic_auth: str | None = field(default=None, repr=False)
    datacenter: str | None = None
    lock_delay_s: float = 0.0
    checks: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """What stands before every key."""
        return self.prefix + "/"


def read(url: StoreURL, environ: Mapping[str, str]) -> Settings:
    """The settings that `url` and the environment make. Raises ConfigError naming the option or variable."""
    url.require_known_options("ca", "cert", "key", "dc", "lock_delay_s", "checks")
    if environ.get("CONSUL_NAMESPACE"):
        raise ConfigError("CONSUL_NAMESPACE", "namespaces of Consul Enterprise are not supported: unset it")
    endpoints, address_tls = (url.endpoints, False) if url.endpoints else _address(environ)
    tls = url.tls or address_tls or _flag(environ, "CONSUL_HTTP_SSL", default=False)
    port = TLS_PORT if tls else PLAIN_PORT
    endpoints = tuple(Endpoint(endpoint.host, endpoint.port or port) for endpoint in endpoints)
    return Settings(
        url=_shown(url, endpoints, tls=tls),
        endpoints=endpoints,
        prefix=_prefix(url.prefix),
        tls=_tls(url, environ, wanted=tls),
        token=_token(url, environ),
        token_file=environ.get("CONSUL_HTTP_TOKEN_FILE") or None,
        basic_auth=_header_safe("CONSUL_HTTP_AUTH", environ.get("CONSUL_HTTP_AUTH")),
        datacenter=url.option("dc"),
        lock_delay_s=_lock_delay_s(url.option("lock_delay_s", "0") or ""),
        checks=tuple(check.strip() for check in (url.option("checks") or "").split(",") if check.strip()),
    )


def _address(environ: Mapping[str, str]) -> tuple[tuple[Endpoint, ...], bool]:
    """The agent that CONSUL_HTTP_ADDR names, and whether it says https. Consul's default without it."""
    name = "CONSUL_HTTP_ADDR"
    text = environ.get(name) or f"127.0.0.1:{PLAIN_PORT}"
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    if scheme not in ("http", "https"):
        raise ConfigError(name, f"{scheme}:// is not supported: write host:port, http://host:port or https://host:port")
    try:
        address = parse(f"consul://{rest}")
    except ConfigError as error:
        raise ConfigError(name, str(error).removeprefix("store URL: ")) from None
    if address.username or address.password:
        raise ConfigError(name, "takes no user or password: use CONSUL_HTTP_TOKEN or CONSUL_HTTP_AUTH")
    if address.path.strip("/") or address.options or len(address.endpoints) != 1:
        raise ConfigError(name, "takes one agent and no path: write host:port")
    return address.endpoints, scheme == "https"


def _shown(url: StoreURL, endpoints: tuple[Endpoint, ...], *, tls: bool) -> str:
    scheme = "consul+tls" if tls else "consul"
    return StoreURL(scheme=scheme, endpoints=endpoints, path=url.path, options=url.options).redacted


def _prefix(prefix: str) -> str:
    if any(segment in ("", ".", "..") for segment in prefix.split("/")):
        raise ConfigError("store URL", f"prefix {prefix!r} has an empty, '.' or '..' part, which Consul cannot address")
    return prefix


def _tls(url: StoreURL, environ: Mapping[str, str], *, wanted: bool) -> TLS | None:
    if not wanted:
        for name in ("ca", "cert", "key"):
            if url.option(name) is not None:
                raise ConfigError(name, "has no meaning without TLS: write consul+tls://")
        return None
    ca = url.option("ca")
    cert = url.option("cert") or environ.get("CONSUL_CLIENT_CERT") or None
    key = url.option("key") or environ.get("CONSUL_CLIENT_KEY") or None
    if key is not None and cert is None:
        raise ConfigError("key", "a client key needs its certificate: add cert= (or CONSUL_CLIENT_CERT)")
    return TLS(
        ca=ca or environ.get("CONSUL_CACERT") or None,
        ca_folder=None if ca else environ.get("CONSUL_CAPATH") or None,
        cert=cert,
        key=key,
        server_name=environ.get("CONSUL_TLS_SERVER_NAME") or None,
        verify=_flag(environ, "CONSUL_HTTP_SSL_VERIFY", default=True),
    )


def _token(url: StoreURL, environ: Mapping[str, str]) -> str | None:
    if url.username:
        raise ConfigError(
            "store URL",
            "names a user, but Consul has tokens: write consul://:TOKEN@host or, better, set CONSUL_HTTP_TOKEN "
            "(for a proxy that asks for a user: CONSUL_HTTP_AUTH)",
        )
    if url.password:
        return _header_safe("store URL", url.password)
    return _header_safe("CONSUL_HTTP_TOKEN", environ.get("CONSUL_HTTP_TOKEN"))


def _header_safe(name: str, secret: str | None) -> str | None:
    """The secret, None if it is empty. Refused here so that no HTTP library quotes it in an error."""
    if secret and not (secret.isascii() and secret.isprintable()):
        raise ConfigError(name, "the secret holds a character that no HTTP header can carry (a line break?)")
    return secret or None


def token_from_file(path: str, text: str) -> str:
    """The token that a token file holds. Raises ConfigError without quoting it."""
    token = _header_safe(f"CONSUL_HTTP_TOKEN_FILE ({path})", text.strip())
    if token is None:
        raise ConfigError("CONSUL_HTTP_TOKEN_FILE", f"{path} is empty")
    return token


def _flag(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environ.get(name, "").strip().lower()
    if not text:
        return default
    if text not in _TRUE | _FALSE:
        raise ConfigError(name, f"{text!r} is neither true nor false")
    return text in _TRUE


def _lock_delay_s(text: str) -> float:
    try:
        lock_delay_s = float(text)
    except ValueError:
        lock_delay_s = -1.0
    if not 0 <= lock_delay_s <= LOCK_DELAY_MAX_S:
        raise ConfigError("lock_delay_s", f"{text!r} is not a number of seconds from 0 to {LOCK_DELAY_MAX_S:g}")
    return lock_delay_s
