"""TLS: the files that a URL names, and why a connection does not come about."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from leasekit.errors import ConfigError
from leasekit.urls import StoreURL

OPTIONS = ("ca", "cert", "key")

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)  # with an empty SETTINGS frame


@dataclass(frozen=True, slots=True)
class Tls:
    """What is needed to speak TLS. `context` says the same as the PEM texts, for what does not go through gRPC."""

    context: ssl.SSLContext
    roots: bytes | None
    cert: bytes | None
    key: bytes | None = field(repr=False)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The same, for a gRPC channel."""
        return grpc.ssl_channel_credentials(self.roots, self.key, self.cert)


def load(url: StoreURL) -> Tls | None:
    """Read the files that the URL names; None if it asks for no TLS. Raises ConfigError naming the option at fault."""
    named = {name: url.option(name) for name in OPTIONS}
    if not url.tls:
        for name, path in named.items():
            if path is not None:
                raise ConfigError(name, "is for TLS: write etcd+tls:// instead of etcd://")
        return None
    for name, other in (("cert", "key"), ("key", "cert")):
        if named[name] and not named[other]:
            raise ConfigError(other, f"is missing: ?{name}= needs ?{other}= beside it")
    pem = {name: _read(name, path) if path is not None else None for name, path in named.items()}
    context = _context(pem["ca"], named["cert"], named["key"])
    return Tls(context, pem["ca"] or _system_roots(context), pem["cert"], pem["key"])


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(name, f"cannot read {path!r} ({error.strerror}): name a PEM file") from None


def _context(ca: bytes | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=ca.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError):
            raise ConfigError("ca", "holds no PEM certificate that can be read") from None
    if cert is not None and key is not None:
        try:
            context.load_cert_chain(cert, key, password=lambda: b"")
        except ssl.SSLError as error:
            mismatch = "MISMATCH" in (error.reason or "")
            say = (
                "belongs to another certificate"
                if mismatch
                else "or ?cert= cannot be read: both are PEM, no passphrase"
            )
            raise ConfigError("key", say) from None
    return context


def _system_roots(context: ssl.SSLContext) -> bytes | None:
    """This system's trusted authorities, as PEM. gRPC would take a list of its own instead."""
    found = [ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True)]
    if not found:
        # A system that keeps them in a folder (loaded one by one, so none shows above) mostly has them in a file too.
        for name in (ssl.get_default_verify_paths().openssl_cafile, "/etc/ssl/certs/ca-certificates.crt"):
            with contextlib.suppress(OSError):
                return Path(name).read_bytes()
    return "".join(found).encode() or None


async def explain(host: str, port: int, tls: Tls | None, *, timeout_s: float) -> str:
    """Why gRPC cannot connect there. It hides the reason, so this connects once more and looks."""
    connected = False
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            connected = True
            try:
                return await _look(host, reader, writer, tls)
            finally:
                writer.transport.abort()
    except TimeoutError:
        return f"accepts connections and says nothing{_other_scheme(tls)}" if connected else "does not answer"
    except ssl.SSLCertVerificationError as error:
        return f"certificate verify failed: {error.verify_message}"
    except ssl.SSLError as error:
        return _tls_words(error.reason or str(error))
    except socket.gaierror as error:
        return error.strerror or "is a name that cannot be resolved"
    except OSError as error:
        if connected:
            return f"accepts connections and hangs up{_other_scheme(tls)}"
        return os.strerror(error.errno) if error.errno else str(error)


async def _look(host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: Tls | None) -> str:
    if tls is not None:
        await writer.start_tls(tls.context, server_hostname=host)
    # With TLS 1.3 a server refuses our certificate only after the handshake has ended for us: so ask and listen.
    writer.write(_HTTP2_PREFACE)
    answer = await reader.read(9)
    if answer[3:4] == b"\x04":  # a SETTINGS frame: it speaks HTTP/2
        return "accepts connections, but gRPC could not use one"
    return f"accepts connections, but does not speak etcd's protocol{_other_scheme(tls)}"


def _other_scheme(tls: Tls | None) -> str:
    return " (is it etcd+tls://?)" if tls is None else " (is it etcd:// without +tls?)"


def _tls_words(reason: str) -> str:
    words = reason.replace("_", " ").lower()
    if "CERTIFICATE_REQUIRED" in reason or "BAD_CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return f"refuses our client certificate ({words}): see ?cert= and ?key="
    if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason or "HTTP_REQUEST" in reason:
        return f"does not speak TLS: {words} (is it etcd:// without +tls?)"
    return f"TLS handshake failed: {words}"
