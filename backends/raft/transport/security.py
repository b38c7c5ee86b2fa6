"""TLS between members and from clients, and which certificates may speak for which member.

All ends show certificates of one authority. A client's is good for requests alone. A connection that says to be member
M is believed if its certificate is M's:

* `peer_names` is set: one of the certificate's names matches one of these (`*.raft.example` matches one label). Whoever
  has such a certificate is a member, whatever the membership says.
* else M must be in the membership as this member knows it, and the certificate must bear M's id, or the host of M's
  address, among its names (subject alternative names, common name).

Raft itself asks for more trust than the second rule gives (thesis section 4.1: servers take requests from leaders that
are not in their own configuration yet): a member that missed the replacement of all others does not believe the new
ones. Where that may happen, set `peer_names`. Each certificate serves both ends of connections, so it must be good for
client and server authentication.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from leasekit.backends.raft.core.types import MemberId, Membership
from leasekit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Security:
    """What a member needs to listen and to connect with TLS."""

    accepting: ssl.SSLContext
    connecting: ssl.SSLContext
    peer_names: tuple[str, ...] = ()


def load(ca: str, cert: str, key: str, *, peer_names: Iterable[str] = ()) -> Security:
    """Read a member's PEM files. Raises ConfigError naming the one at fault."""
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.verify_mode = ssl.CERT_REQUIRED
        trust(context, ca)
        identify(context, cert, key)
        contexts.append(context)
    return Security(contexts[0], contexts[1], tuple(peer_names))


def trust(context: ssl.SSLContext, ca: str) -> None:
    """Believe the authorities in the PEM file `ca`. Raises ConfigError."""
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise ConfigError("ca", f"{ca!r} holds no PEM certificate that can be read") from None
    except OSError as error:
        raise ConfigError("ca", f"cannot read {ca!r} ({error.strerror}): name a PEM file") from None


def identify(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Show this certificate. Raises ConfigError."""
    try:
        # A password callback keeps OpenSSL from asking on the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except ssl.SSLError as error:
        mismatch = "MISMATCH" in (error.reason or "")
        say = "belongs to another certificate" if mismatch else "or the certificate cannot be read: PEM, no passphrase"
        raise ConfigError("key", say) from None
    except OSError as error:
        raise ConfigError("cert", f"cannot read {cert!r} or {key!r} ({error.strerror}): name PEM files") from None


def may_be(
    certificate: Mapping[str, Any], member: MemberId, membership: Membership, peer_names: tuple[str, ...]
) -> bool:
    """Whether who shows this certificate may say to be `member`."""
    names = names_in(certificate)
    if peer_names:
        return any(_matches(name, pattern) for name in names for pattern in peer_names)
    address = membership.address(member)
    if member not in membership or address is None:
        return False
    return any(_matches(host_of(address), name) or name == member for name in names)


def names_in(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Its DNS names, addresses and common names."""
    alternative = {value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")}
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    return frozenset(alternative | {value for kind, value in subject if kind == "commonName"})


def host_of(address: str) -> str:
    """The host of `host:port`, without an IPv6 address's brackets."""
    return address.rpartition(":")[0].strip("[]")


def _matches(name: str, pattern: str) -> bool:
    """Whether `name` is `pattern`; a first label `*` stands for any one label."""
    name, pattern = _normal(name), _normal(pattern)
    if pattern.startswith("*."):
        label, dot, rest = name.partition(".")
        return bool(label and dot) and rest == pattern[2:]
    return name == pattern


def _normal(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")
