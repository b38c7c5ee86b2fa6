"""etcd's wall clock. gRPC does not tell it; the HTTP server on the same port does, in each answer's `Date`."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

from leasekit.backends.etcd.tls import Tls

_HEAD_BYTES_MAX = 16_384


async def date(host: str, port: int, tls: Tls | None) -> float:
    """The server's time in whole seconds since the epoch. Raises OSError or ValueError, never in time: bound it."""
    reader, writer = await asyncio.open_connection(host, port, ssl=tls.context if tls else None, limit=_HEAD_BYTES_MAX)
    try:
        name = f"[{host}]" if ":" in host else host
        writer.write(f"GET /version HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
        return date_of(await reader.readuntil(b"\r\n\r\n"))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        raise ValueError("it does not speak HTTP (--listen-client-http-urls moves that to another port)") from None
    finally:
        writer.transport.abort()


def date_of(head: bytes) -> float:
    """The `Date` in the head of an HTTP answer, in seconds since the epoch. Raises ValueError if there is none."""
    status, *lines = head.decode("latin-1").split("\r\n")
    if not status.startswith("HTTP/1."):
        raise ValueError("it does not speak HTTP")
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "date":
            return parsedate_to_datetime(value.strip()).timestamp()
    raise ValueError("its HTTP answer bears no date")
