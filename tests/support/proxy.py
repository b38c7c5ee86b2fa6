"""A TCP link that can be broken in the ways that real ones break."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

_READ_BYTES = 65536
_HEAD_BYTES = 2048
_QUIET_TURNS = 5
_PATIENCE_S = 30.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards connections on a port of `host` to `target` ("host:port"). Use as a context manager.

    Works from a thread of its own, so it may be used from sync and async tests alike.
    """

    def __init__(self, target: str, *, host: str = "127.0.0.1") -> None:
        self.target = target
        self.host = host
        self.port = 0
        self.delay_s = 0.0
        """How much later everything arrives, in each direction."""
        self.connections = 0
        """Connections open now."""
        self.connections_made = 0
        """Connections ever accepted."""
        self.bytes_sent = 0
        """Bytes that reached the target."""
        self.bytes_received = 0
        """Bytes that the target's side sent and that reached the client."""
        self.bytes_lost = 0
        """Bytes of replies that were thrown away."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._cuts: set[bytes] = set()
        self._healed = asyncio.Condition()
        self.replies_vanish = False

    @property
    def address(self) -> str:
        """Where clients connect: "host:port"."""
        return f"{self.host}:{self.port}"

    def cut(self, only: bytes = b"") -> None:
        """Stop forwarding in both directions; connections stay open, new ones are accepted and lead nowhere.

        What is sent meanwhile arrives after `heal()`, as TCP would retransmit it. `only`: cut those connections
        whose first request contains it.
        """
        self._do(lambda: self._cuts.add(only))

    def drop_replies(self) -> None:
        """Let requests through and throw replies away. `heal()` closes the connections that lost some."""
        self._do(lambda: self._set_replies_vanish(True))

    def heal(self) -> None:
        """Forward again."""
        self._do(lambda: self._set_replies_vanish(False))
        asyncio.run_coroutine_threadsafe(self._end_cuts(), self._loop).result(_PATIENCE_S)

    def close_connections(self) -> None:
        """Reset all open connections; new ones are served as before."""
        self._do(self._abort_links)

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, self.host, 0), self._loop)
        self._server = start.result(_PATIENCE_S)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    async def passes(self, link: _Link) -> None:
        """Wait until no cut concerns `link`."""
        async with self._healed:
            await self._healed.wait_for(lambda: not any(cut in link.head for cut in self._cuts))

    async def _end_cuts(self) -> None:
        async with self._healed:
            self._cuts.clear()
            self._healed.notify_all()

    def _do(self, action: Callable[[], object]) -> None:
        """Run `action` in the proxy's thread and wait until it has."""

        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(_PATIENCE_S)

    def _set_replies_vanish(self, vanish: bool) -> None:
        self.replies_vanish = vanish
        if not vanish:
            for link in [link for link in self._links if link.lost_bytes]:
                link.abort()

    def _abort_links(self) -> None:
        for link in list(self._links):
            link.abort()

    async def _close(self) -> None:
        assert self._server is not None
        # A closed server loses what it has just accepted, so first it only accepts no more.
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        # What was just accepted becomes a link, and what was aborted lets go of its socket, in later turns of the loop.
        quiet = 0
        while quiet < _QUIET_TURNS:
            self._abort_links()
            quiet = 0 if self._links else quiet + 1
            await asyncio.sleep(0)
        self._server.close()
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        self._links.add(link)
        self.connections += 1
        self.connections_made += 1
        try:
            await link.run()
        finally:
            self._links.discard(link)
            self.connections -= 1


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lost_bytes = False
        self.head = b""
        """The beginning of the first request."""
        self._proxy = proxy
        self._client = reader, writer
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._task = asyncio.current_task()
        reader, writer = self._client
        writers = [writer]
        try:
            await self._proxy.passes(self)
            host, _, port = self._proxy.target.rpartition(":")
            server_reader, server_writer = await asyncio.open_connection(host, int(port))
            writers.append(server_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, server_writer, replies=False))
                both.create_task(self._pump(server_reader, writer, replies=True))
        except* (OSError, asyncio.CancelledError):
            # Either side is gone, or the link was aborted: both sides see a reset.
            for each in writers:
                with contextlib.suppress(OSError):  # that side is closed already
                    each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                each.transport.abort()
        finally:
            for each in writers:
                each.close()

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        # Arrival times are kept beside the bytes, so that a delay adds latency and takes no throughput.
        arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        async with asyncio.TaskGroup() as group:
            delivery = group.create_task(self._deliver(arriving, writer, replies=replies))
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(_READ_BYTES):
                    if not replies and len(self.head) < _HEAD_BYTES:
                        self.head += data
                    await arriving.put((self._proxy._loop.time() + self._proxy.delay_s, data))
            await arriving.put((0, b""))
            await delivery

    async def _deliver(
        self, arriving: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        while True:
            due_s, data = await arriving.get()
            await asyncio.sleep(due_s - self._proxy._loop.time())
            await self._proxy.passes(self)
            if not data:
                writer.write_eof()
                return
            if replies and self._proxy.replies_vanish:
                self.lost_bytes = True
                self._proxy.bytes_lost += len(data)
                continue
            writer.write(data)
            await writer.drain()
            if replies:
                self._proxy.bytes_received += len(data)
            else:
                self._proxy.bytes_sent += len(data)
