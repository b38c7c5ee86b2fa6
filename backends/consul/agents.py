"""The agents that the URL names: requests go to one of them until it fails, then to the next.

Reads are tried on every agent within their time. A write is tried on another agent only if it surely did not reach
the first. Blocking queries have connections of their own, so that no request waits behind a watch.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from leasekit.backends.consul import failures
from leasekit.backends.consul.client import AgentClient, Answer, NoAnswer, tls_context
from leasekit.backends.consul.settings import Settings, token_from_file
from leasekit.errors import ConfigError, OutcomeUnknown, StoreUnavailable

# An agent takes 200 connections from one address by default (limits.http_max_conns_per_client), of all processes on a
# host together. Requests take about a millisecond each, so few connections carry many.
CALL_CONNECTIONS = 8
WATCH_CONNECTIONS = 24
CONNECTIONS_MAX = CALL_CONNECTIONS + WATCH_CONNECTIONS

_CLOSE_S = 0.5

Method = Literal["GET", "PUT"]
Params = Sequence[tuple[str, str]]


class Agents:
    """Asks agents, and remembers which one answers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._params = (("dc", settings.datacenter),) if settings.datacenter else ()
        self._calls: list[AgentClient] = []
        self._watches: list[AgentClient] = []
        self._current = 0
        self._closed = False
        self.on_move: Callable[[], None] = lambda: None
        """Called when another agent becomes the one that is asked."""

    @property
    def count(self) -> int:
        """How many agents there are."""
        return len(self._settings.endpoints)

    async def read(self, path: str, params: Params = (), *, timeout_s: float) -> Answer:
        """GET from the first agent that can answer. Raises StoreUnavailable if none can in time."""
        return await self._ask("GET", path, params, b"", timeout_s=timeout_s, writes=False)

    async def write(
        self, path: str, params: Params = (), body: bytes = b"", *, timeout_s: float, writes: bool = True
    ) -> Answer:
        """PUT, sent once. Raises StoreUnavailable or OutcomeUnknown; with `writes` False it may be sent again."""
        return await self._ask("PUT", path, params, body, timeout_s=timeout_s, writes=writes)

    async def block(self, path: str, params: Params, *, timeout_s: float) -> Answer:
        """One blocking query to the present agent. Raises StoreUnavailable, after which another is asked."""
        self._open()
        agent = self._current
        client = self._watches[agent]
        try:
            answer = await client.ask(
                "GET", path, [*params, *self._params], b"", timeout_s=timeout_s, connect_s=timeout_s
            )
        except NoAnswer as failed:
            self._leave(agent)
            raise StoreUnavailable(str(failed)) from None
        if answer.status >= 500 or answer.status == 429:
            self._leave(agent)
            raise failures.failure(answer.status, answer.body, agent=client.agent, writes=False)
        return answer

    async def ask_one(self, agent: int, path: str, params: Params = (), *, timeout_s: float) -> Answer:
        """GET from this very agent. Raises NoAnswer."""
        self._open()
        client = self._calls[agent]
        return await client.ask("GET", path, [*params], b"", timeout_s=timeout_s, connect_s=timeout_s)

    async def aclose(self) -> None:
        """Let go of all connections; requests under way fail."""
        self._closed = True
        closing = [asyncio.ensure_future(client.close()) for client in (*self._calls, *self._watches)]
        if closing:
            await asyncio.wait(closing, timeout=_CLOSE_S)

    async def _ask(
        self, method: Method, path: str, params: Params, body: bytes, *, timeout_s: float, writes: bool
    ) -> Answer:
        self._open()
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        reason = "no time was left"
        for untried in range(self.count, 0, -1):
            left_s = ends_s - loop.time()
            if left_s <= 0:
                break
            agent = self._current
            client = self._calls[agent]
            share_s = left_s / untried
            try:
                answer = await client.ask(
                    method, path, [*params, *self._params], body,
                    timeout_s=left_s if writes else share_s, connect_s=share_s,
                )  # fmt: skip
            except NoAnswer as failed:
                self._leave(agent)
                if failed.sent and writes:
                    raise OutcomeUnknown(str(failed)) from None
                reason = str(failed)
                continue
            if answer.status < 429:
                return answer
            error = failures.failure(answer.status, answer.body, agent=client.agent, writes=writes)
            if not isinstance(error, StoreUnavailable):
                return answer
            self._leave(agent)
            reason = str(error)
        raise StoreUnavailable(reason)

    def _leave(self, agent: int) -> None:
        # Of several requests that fail together only the first moves on.
        if self._current == agent and self.count > 1:
            self._current = (agent + 1) % self.count
            self.on_move()

    def _open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._settings.url} is closed")
        if self._calls:
            return
        tls = tls_context(self._settings.tls) if self._settings.tls else None
        headers = self._headers()
        server_name = self._settings.tls.server_name if self._settings.tls else None
        for connections, clients in ((CALL_CONNECTIONS, self._calls), (WATCH_CONNECTIONS, self._watches)):
            for endpoint in self._settings.endpoints:
                clients.append(
                    AgentClient(endpoint, tls, server_name=server_name, headers=headers, connections=connections)
                )

    def _headers(self) -> dict[str, str]:
        token = self._settings.token
        if token is None and (path := self._settings.token_file) is not None:
            try:
                token = token_from_file(path, Path(path).read_text())
            except OSError as error:
                raise ConfigError("CONSUL_HTTP_TOKEN_FILE", f"{path} cannot be read: {error.strerror}") from None
        headers = {"X-Consul-Token": token} if token else {}
        if self._settings.basic_auth:
            headers["Authorization"] = "Basic " + base64.b64encode(self._settings.basic_auth.encode()).decode()
        return headers
