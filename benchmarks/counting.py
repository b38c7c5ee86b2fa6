"""A proxy that counts HTTP requests, for a store that does not count them itself."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

_REQUEST = b" HTTP/1.1\r\n"
_BLOCKING_QUERY = b"index="


class CountingProxy:
    """Forwards every connection to `target` ("host:port"), and counts what is asked."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self.requests = 0
        self.blocking = 0
        """How many of them were blocking queries, that is watches."""
        self.address = ""
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with contextlib.suppress(ConnectionError):
            up_reader, up_writer = await asyncio.open_connection(*self._target)
            try:
                await asyncio.gather(self._requests(reader, up_writer), self._answers(up_reader, writer))
            finally:
                up_writer.close()
                writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        before = b""
        while data := await reader.read(65536):
            self.requests += _count(_REQUEST, before, data)
            self.blocking += _count(_BLOCKING_QUERY, before, data)
            before = data
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


def _count(mark: bytes, before: bytes, data: bytes) -> int:
    """How often `mark` ends in `data`; it may have begun in what came before."""
    return (before[-(len(mark) - 1) :] + data).count(mark)
