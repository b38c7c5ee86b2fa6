"""Where the members are and how to talk to them, from the store's URL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from leasekit.backends.raft.transport.security import identify, trust
from leasekit.errors import ConfigError
from leasekit.urls import StoreURL

DEFAULT_PORT = 7001

_OPTIONS = ("ca", "cert", "key")


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the store needs to know before its first request."""

    url: str
    addresses: tuple[str, ...]
    root: str
    """What stands before every key."""
    tls: ssl.SSLContext | None


def read(url: StoreURL) -> Settings:
    """The settings in `url`; reads the files that it names. Raises ConfigError naming the option at fault."""
    url.require_known_options(*_OPTIONS)
    if not url.endpoints:
        raise ConfigError("store URL", f"names no member: write for example {url.scheme}://127.0.0.1:{DEFAULT_PORT}")
    if url.username or url.password:
        raise ConfigError("store URL", "takes no user or password: members know clients by certificates (raft+tls://)")
    addresses = dict.fromkeys(endpoint.address(DEFAULT_PORT) for endpoint in url.endpoints)
    return Settings(url.redacted, tuple(addresses), url.prefix + "/", _tls(url))


def _tls(url: StoreURL) -> ssl.SSLContext | None:
    ca, cert, key = (url.option(name) for name in _OPTIONS)
    if not url.tls:
        for name in _OPTIONS:
            if url.option(name) is not None:
                raise ConfigError(name, "is for TLS: write raft+tls:// instead of raft://")
        return None
    for name, path in (("cert", cert), ("key", key)):
        if not path:
            raise ConfigError(name, f"is missing: members ask their clients for a certificate, so add ?{name}=FILE")
    assert cert and key
    context = ssl.create_default_context() if ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        trust(context, ca)
    identify(context, cert, key)
    return context
