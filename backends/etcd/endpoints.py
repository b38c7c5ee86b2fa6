"""etcd's servers: one channel each, which of them to ask next, and why none can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import grpc
import grpc.aio

from leasekit.backends.etcd import forks
from leasekit.backends.etcd.backoff import Backoff
from leasekit.backends.etcd.methods import A, Method, Q
from leasekit.backends.etcd.tls import Tls, explain
from leasekit.errors import StoreUnavailable
from leasekit.urls import Endpoint

DEFAULT_PORT = 2379

_READY = grpc.ChannelConnectivity.READY
_FAILING = grpc.ChannelConnectivity.TRANSIENT_FAILURE

_HEAD_START_S = 0.3
"""How long a server may take to connect before the next one is tried beside it."""
_EXPLAIN_S = 1.0
_STEADY_S = 1.0
"""A connection that lasted so long is no sign of a server that drops every client."""

_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Called "minimum back-off"; it is how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 3000),
    # A peer that is gone without a word. etcd drops clients that ping more often than every 5 s.
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]


class Server:
    """One etcd server and the channel to it, which reconnects by itself once it is started."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, random: Random, changed: Callable[[], None]) -> None:
        self.host = endpoint.host
        self.port = endpoint.port or DEFAULT_PORT
        self.address = endpoint.address(DEFAULT_PORT)
        self.trouble: str | None = None
        """Why it cannot be connected to, as far as known."""
        self._tls = tls
        self._changed = changed
        self._backoff = Backoff(random)
        self._channel: grpc.aio.Channel | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: dict[str, Any] = {}
        self._connecting_since_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether a request would leave at once."""
        return self._channel is not None and self._channel.get_state() is _READY

    def head_start_s(self) -> float:
        """How much longer to wait for this server before others are tried; zero if it is known to fail."""
        if self.trouble is not None:
            return 0.0
        return max(0.0, self._connecting_since_s + _HEAD_START_S - asyncio.get_running_loop().time())

    def start(self) -> None:
        """Connect, and stay connected. Does nothing the second time."""
        if self._channel is not None:
            return
        forks.mark_used()
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS)
        else:
            credentials = self._tls.channel_credentials()
            self._channel = grpc.aio.secure_channel(self.address, credentials, options=_CHANNEL_OPTIONS)
        self._connecting_since_s = asyncio.get_running_loop().time()
        self._spawn(self._follow(self._channel))

    def unary(self, method: Method[Q, A]) -> grpc.aio.UnaryUnaryMultiCallable[Q, A]:
        """How to call `method` here."""
        assert self._channel is not None, "not started"
        call = self._calls.get(method.path)
        if call is None:
            call = self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.answer.FromString,
            )
            self._calls[method.path] = call
        return call

    def stream(self, method: Method[Q, A]) -> grpc.aio.StreamStreamMultiCallable[Q, A]:
        """How to open a stream of `method` here."""
        assert self._channel is not None, "not started"
        return self._channel.stream_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString,
        )

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close(None)

    async def _follow(self, channel: grpc.aio.Channel) -> None:
        """Keep the channel connecting, and tell of its changes."""
        while True:
            state = channel.get_state(try_to_connect=True)
            if state is _READY:
                self.trouble = None
            elif state is _FAILING and self.trouble is None:
                self.trouble = "cannot connect"
                self._spawn(self._explain())
            self._changed()
            await channel.wait_for_state_change(state)
            if state is _READY:
                await self._after_loss()

    async def _after_loss(self) -> None:
        # gRPC backs off from a server that refuses connections, but not from one that accepts and then drops them.
        loop = asyncio.get_running_loop()
        if loop.time() - self._connecting_since_s > _STEADY_S:
            self._backoff.reset()
        await asyncio.sleep(self._backoff.next_s())
        self._connecting_since_s = loop.time()

    async def _explain(self) -> None:
        why = await explain(self.host, self.port, self._tls, timeout_s=_EXPLAIN_S)
        if self.trouble is not None:
            self.trouble = why

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Endpoints:
    """The servers of a URL, in the order in which to ask them: those that failed last come last."""

    def __init__(self, endpoints: Sequence[Endpoint], tls: Tls | None, random: Random) -> None:
        self.servers = tuple(Server(endpoint, tls, random, self._on_change) for endpoint in endpoints)
        self._order = list(self.servers)
        self._waiting: set[asyncio.Future[None]] = set()
        self.closed = False

    def shun(self, server: Server) -> None:
        """`server` failed: ask it after all others from now on."""
        self._order.remove(server)
        self._order.append(server)

    async def pick(self, give_up_s: float | None) -> Server:
        """A server that is connected, the first in order if it makes haste.

        Waits until `give_up_s` on the loop's clock (None: for ever), then raises StoreUnavailable saying why.
        """
        forks.refuse_inherited()
        while not self.closed:
            server, wait_s = self._choose()
            if server is not None:
                return server
            if give_up_s is not None:
                left_s = give_up_s - asyncio.get_running_loop().time()
                if left_s <= 0:
                    break
                wait_s = left_s if wait_s is None else min(wait_s, left_s)
            await self._change(wait_s)
        raise StoreUnavailable(self.why_not())

    async def ready(self, server: Server) -> None:
        """Wait until `server` itself is connected, for ever."""
        server.start()
        while not server.ready:
            await self._change(None)

    def in_order(self) -> tuple[Server, ...]:
        """The servers, in the order in which to ask them."""
        return tuple(self._order)

    def why_not(self) -> str:
        """Why no server could be asked."""
        if self.closed:
            return "the connection to etcd is closed"
        reasons = (f"{server.address} {server.trouble or 'does not answer'}" for server in self.servers)
        return "no etcd server can be reached: " + "; ".join(reasons)

    async def aclose(self) -> None:
        self.closed = True
        self._on_change()
        await asyncio.gather(*(server.aclose() for server in self.servers))

    def _choose(self) -> tuple[Server | None, float | None]:
        """The server to ask, or how long to wait before looking again (None: until something changes)."""
        for server in self._order:
            server.start()
            if server.ready:
                return server, None
            if (wait_s := server.head_start_s()) > 0:
                return None, wait_s
        return None, None

    def _on_change(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _change(self, timeout_s: float | None) -> None:
        """Until a server connects or fails to, at most `timeout_s`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait([future], timeout=timeout_s)
        finally:
            self._waiting.discard(future)
