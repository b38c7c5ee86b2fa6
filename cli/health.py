"""`leasekit run --health ADDR`: a small HTTP server on a thread and a loop of its own, so that no client of it, however
slow, stands in the way of a renewal.

It answers one request per connection and reads no bodies. Connections, the time of each and the size of a request are
bounded. When all places are taken, the connection that has had its own for longest gives way: a probe asks at once, and
is answered however many others hold connections and say nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Self

from leasekit.cli.session import note
from leasekit.errors import ConfigError
from leasekit.observability.health import Answer, Health, headers_of

CONNECTIONS = 32
"""Served at the same time."""
BACKLOG = 32
REQUEST_BYTES = 8192
DRAINED_BYTES = 16 * REQUEST_BYTES
"""Read of a request after the answer to it, at most."""
REQUEST_TIMEOUT_S = 5.0
"""For the whole request to come."""
SEND_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0


def parse_address(text: str) -> tuple[str, int]:
    """`PORT`, `HOST:PORT` or `[IPv6]:PORT`. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if colon and not host:
        raise ConfigError("--health", f"{text!r} names no host: {port} is this host alone, 0.0.0.0:{port} everybody")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError("--health", f"{text!r}: put an IPv6 address into brackets, [::1]:8080")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError("--health", f"{text!r} is no address: write PORT, HOST:PORT or [IPv6]:PORT")
    return host or "127.0.0.1", int(port)


class HealthServer:
    """Serves while entered."""

    def __init__(self, address: str, election: str) -> None:
        host, port = parse_address(address)
        self._socket = _listening(address, host, port)
        self._health = Health(election, campaigns=True, more=_metrics())
        self._loop = asyncio.new_event_loop()
        self._serving: dict[asyncio.Task[None], None] = {}  # in the order in which they came
        self._thread = threading.Thread(target=self._run, name="leasekit-health", daemon=True)

    def __enter__(self) -> Self:
        host, port = self._socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        note(f"health endpoints on http://{shown}:{port}: {' '.join(self._health.paths)}")
        if not ipaddress.ip_address(host).is_loopback:
            note("they are open to whoever reaches that address: they tell whether this process leads, and no secret")
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        with self._socket, contextlib.closing(self._loop):
            accepting = self._loop.create_task(self._accept())
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(accepting, *tasks, return_exceptions=True))

    async def _accept(self) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._socket)
            except OSError:  # it went before it was taken, or there is no descriptor left
                await asyncio.sleep(0.1)
                continue
            while len(self._serving) >= CONNECTIONS:
                oldest = next(iter(self._serving))
                del self._serving[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._serve(connection))
            self._serving[task] = None
            task.add_done_callback(lambda task: self._serving.pop(task, None))

    async def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, TimeoutError):
            connection.setblocking(False)
            method, answer = await self._answered(connection)
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._loop.sock_sendall(connection, _response(method, answer))
                await self._drain(connection)

    async def _answered(self, connection: socket.socket) -> tuple[str, Answer]:
        """The method that was asked with, and what to say to it."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await self._head(connection)
        except TimeoutError:
            return "GET", Answer(408, b"request timeout\n")
        if head is None:
            return "GET", Answer(431, b"request too large\n")
        method, target, version = [*head.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", "", ""][:3]
        if not (version.startswith("HTTP/1.") and target.startswith("/")):
            return "GET", Answer(400, b"bad request\n")
        return method, await self._health.answer(method, target.partition("?")[0])

    async def _head(self, connection: socket.socket) -> bytes | None:
        """The request up to the empty line; None if it is too long."""
        head = b""
        while b"\r\n\r\n" not in head:
            if len(head) >= REQUEST_BYTES:
                return None
            more = await self._loop.sock_recv(connection, REQUEST_BYTES)
            if not more:
                break
            head += more
        return head

    async def _drain(self, connection: socket.socket) -> None:
        """Read on until the client closes: closed with something unread, the answer would be lost on its way."""
        connection.shutdown(socket.SHUT_WR)
        left = DRAINED_BYTES
        while left > 0 and (more := await self._loop.sock_recv(connection, REQUEST_BYTES)):
            left -= len(more)


def _listening(address: str, host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises ConfigError if that cannot be."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # the latter: no name of a host
        raise ConfigError(
            "--health", f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}"
        ) from None
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise ConfigError("--health", f"cannot listen on {address}: {error.strerror or error}") from None
    return opened


def _metrics() -> dict[str, Callable[[], Answer]]:
    """`/metrics`, where prometheus_client is installed. With a registry of its own: leasekit's metrics alone."""
    try:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    except ImportError:
        return {}
    from leasekit.observability import prometheus

    registry = CollectorRegistry()
    prometheus.install(registry)
    return {"/metrics": lambda: Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)}


def _response(method: str, answer: Answer) -> bytes:
    reason = HTTPStatus(answer.status).phrase
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in headers_of(answer))]
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    return head if method == "HEAD" else head + answer.body
