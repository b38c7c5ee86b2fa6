"""The door through which requests are counted."""

from __future__ import annotations

import asyncio
import socket

import pytest

from leasekit.cli.compare.counting import CountingDoor
from leasekit.cli.compare.stage import through
from leasekit.cli.compare.wire import FrameReader

_GREETING = b"\0\0\0\2hi"
_REQUEST = b"\0\0\0\3ask"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
    writer.close()


async def test_everything_passes_and_is_counted_both_ways() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with CountingDoor(f"{host}:{port}", FrameReader) as door:
        reader, writer = await asyncio.open_connection(*door.address.split(":"))
        sent = _GREETING + 2 * _REQUEST
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        assert (door.requests, door.bytes) == (2, 2 * len(sent))
        writer.close()
    server.close()


async def test_when_one_side_hangs_up_so_does_the_other() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with CountingDoor(f"{host}:{port}", FrameReader) as door:
        reader, writer = await asyncio.open_connection(*door.address.split(":"))
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
    server.close()


async def test_a_server_that_is_not_there_is_not_there_behind_the_door_either() -> None:
    with socket.socket() as nobody:  # keeps the port to itself, and does not listen
        nobody.bind(("127.0.0.1", 0))
        async with CountingDoor(f"127.0.0.1:{nobody.getsockname()[1]}", FrameReader) as door:
            reader, writer = await asyncio.open_connection(*door.address.split(":"))
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            writer.close()


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("etcd://h1:1,h2:2/prod", "etcd://127.0.0.1:9/prod"),
        ("etcd://me@h1:1,h2:2/prod?ca=/file", "etcd://me@127.0.0.1:9/prod?ca=/file"),
        ("consul://h?stale=1", "consul://127.0.0.1:9?stale=1"),
        ("raft://h1", "raft://127.0.0.1:9"),
    ],
)
def test_only_the_address_of_a_url_is_replaced(url: str, other: str) -> None:
    assert through(url, "127.0.0.1:9") == other
