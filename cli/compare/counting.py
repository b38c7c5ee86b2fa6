"""A door that counts: what goes to a server, and comes back, passes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self

from leasekit.cli.compare.wire import Reader

_READ_BYTES = 1 << 16


class CountingDoor:
    """Forwards every connection to `target` ("host:port"), and counts. An async context manager."""

    def __init__(self, target: str, reader: Callable[[], Reader]) -> None:
        host, _, port = target.rpartition(":")
        self._target = host.strip("[]"), int(port)
        self._reader = reader
        self.requests = 0
        self.bytes = 0
        """Both ways."""
        self.address = ""
        """Where it listens."""
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            with contextlib.suppress(OSError):
                up_reader, up_writer = await asyncio.open_connection(*self._target)
                try:
                    await self._both_ways(reader, writer, up_reader, up_writer)
                finally:
                    up_writer.close()
        except asyncio.CancelledError:
            # Ours alone, at the end; asyncio's streams would report it as an error of this callback.
            return
        finally:
            writer.close()

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        """Until either side ends."""
        requests = self._reader()

        def count(data: bytes) -> None:
            self.requests += requests.feed(data)

        ways = [
            asyncio.create_task(self._forward(reader, up_writer, count)),
            asyncio.create_task(self._forward(up_reader, writer, lambda _: None)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[bytes], None]
    ) -> None:
        while data := await reader.read(_READ_BYTES):
            self.bytes += len(data)
            count(data)
            writer.write(data)
            await writer.drain()
