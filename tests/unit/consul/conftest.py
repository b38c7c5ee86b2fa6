"""An agent that answers as a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it reached the agent."""

    method: str
    target: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. `hang` never answers, `drop` breaks the connection instead."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False


class ScriptedAgent:
    """Speaks just enough HTTP to be taken for Consul."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda _: Reply()
        self.port = 0
        self._connections: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        for writer in self._connections:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append(Request(method, target, headers))
        reply = self.answer(self.requests[-1])
        if reply.drop:
            return False
        if reply.hang:
            await reader.read()
            return False
        fields = {"Content-Length": str(len(reply.body.encode())), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} -", *(f"{name}: {value}" for name, value in fields.items()), "", reply.body]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        return True


@pytest.fixture
async def agents() -> AsyncIterator[Callable[[], ScriptedAgent]]:
    """Gives up to three scripted agents that listen on loopback."""
    listening = [await _listen() for _ in range(3)]
    unused = iter(listening)
    yield lambda: next(unused)[0]
    for agent, server in listening:
        server.close()
        agent.close()
        await server.wait_closed()


async def _listen() -> tuple[ScriptedAgent, asyncio.Server]:
    agent = ScriptedAgent()
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    return agent, server
