"""etcd's servers: one channel each, which of them to ask next, and why none can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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

_HEAD_START_S = 0.3
"""How long a server may take to connect before the next one is tried beside it."""
_EXPLAIN_S = 1.0
_EXPLAIN_AGAIN_S = 3.0
"""So old the reason why a server cannot be connected to may grow: it may have changed, or been missed on a busy machine."""
_STEADY_S = 1.0
"""A connection that lasted so long is no sign of a server that drops every client."""

# While a request waits for a connection, gRPC is asked about it, ever less often. Its own notification will not do: it
# cannot be taken back, so it would come after closing, perhaps to a loop that is closed too.
_LOOK_FIRST_S = 0.002
_LOOK_LAST_S = 0.05

_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Called "minimum back-off"; it is how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 3000),
    # A peer that is gone without a word. etcd drops clients that ping more often than every 5 s.
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]


class Server:
    """One etcd server and the channel to it."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, random: Random) -> None:
        self.host = endpoint.host
        self.port = endpoint.port or DEFAULT_PORT
        self.address = endpoint.address(DEFAULT_PORT)
        self.encrypted = tls is not None
        self.trouble: str | None = None
        """Why it cannot be connected to, as far as known."""
        self._tls = tls
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[str, Any] = {}
        self._ready_since_s: float | None = None
        self._connecting_since_s: float | None = None
        self._backoff = Backoff(random)
        self._next_attempt_s = 0.0
        self._explaining: asyncio.Task[None] | None = None
        self._explain_next_s = 0.0

    def ready(self) -> bool:
        """Whether a request would leave at once. Sees to connecting if not."""
        forks.refuse_inherited()
        if self._channel is None:
            self._channel = self._open()
        state = self._channel.get_state()
        now_s = asyncio.get_running_loop().time()
        if state is grpc.ChannelConnectivity.READY:
            self._ready_since_s = self._ready_since_s or now_s
            self._connecting_since_s = None
            self.trouble = None
            return True
        self._connect(self._channel, state, now_s)
        return False

    def head_start_s(self) -> float:
        """How much longer to wait for this server before others are tried; zero if it is known to fail."""
        if self.trouble is not None or self._connecting_since_s is None:
            return 0.0
        return max(0.0, self._connecting_since_s + _HEAD_START_S - asyncio.get_running_loop().time())

    def unary(self, method: Method[Q, A]) -> grpc.aio.UnaryUnaryMultiCallable[Q, A]:
        """How to call `method` here. The server is to be `ready`."""
        assert self._channel is not None, "asked before it was ready"
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
        """How to open a stream of `method` here. The server is to be `ready`."""
        assert self._channel is not None, "asked before it was ready"
        return self._channel.stream_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString,
        )

    async def aclose(self) -> None:
        if self._explaining is not None:
            self._explaining.cancel()
            await asyncio.gather(self._explaining, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close(None)

    def _open(self) -> grpc.aio.Channel:
        forks.mark_used(self)
        if self._tls is None:
            return grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS)
        credentials = self._tls.channel_credentials()
        return grpc.aio.secure_channel(self.address, credentials, options=_CHANNEL_OPTIONS)

    def _connect(self, channel: grpc.aio.Channel, state: grpc.ChannelConnectivity, now_s: float) -> None:
        if self._connecting_since_s is None:
            self._connecting_since_s = now_s
        if self._ready_since_s is not None:
            if now_s - self._ready_since_s > _STEADY_S:
                self._backoff.reset()
                self._next_attempt_s = now_s
            self._ready_since_s = None
        # gRPC backs off from a server that refuses connections, but not from one that accepts and then drops them.
        if state is grpc.ChannelConnectivity.IDLE and now_s >= self._next_attempt_s:
            self._next_attempt_s = now_s + self._backoff.next_s()
            channel.get_state(try_to_connect=True)
        failing = state is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        slow = now_s - self._connecting_since_s > _HEAD_START_S
        idle = self._explaining is None or self._explaining.done()
        if (failing or slow) and idle and (self.trouble is None or now_s >= self._explain_next_s):
            self._explaining = asyncio.get_running_loop().create_task(self._explain())
        if failing:
            self.trouble = self.trouble or "cannot connect"

    async def _explain(self) -> None:
        why = await explain(self.host, self.port, self._tls, timeout_s=_EXPLAIN_S)
        self._explain_next_s = asyncio.get_running_loop().time() + _EXPLAIN_AGAIN_S
        if self._connecting_since_s is not None:
            self.trouble = why


class Endpoints:
    """The servers of a URL, in the order in which to ask them: those that failed last come last."""

    def __init__(self, endpoints: Sequence[Endpoint], tls: Tls | None, random: Random) -> None:
        self.servers = tuple(Server(endpoint, tls, random) for endpoint in endpoints)
        self.closed = False
        self._order = list(self.servers)

    def shun(self, server: Server) -> None:
        """`server` failed: ask it after all others from now on."""
        self._order.remove(server)
        self._order.append(server)

    def in_order(self) -> tuple[Server, ...]:
        """The servers, in the order in which to ask them."""
        return tuple(self._order)

    async def pick(self, give_up_s: float | None) -> Server:
        """A server that is connected: the first in order, if it makes haste.

        Waits until `give_up_s` on the loop's clock (None: for ever), then raises StoreUnavailable saying why.
        """
        look_s = _LOOK_FIRST_S
        while not self.closed:
            if server := self._connected():
                return server
            if give_up_s is not None and asyncio.get_running_loop().time() + look_s >= give_up_s:
                break
            await asyncio.sleep(look_s)
            look_s = min(look_s * 1.5, _LOOK_LAST_S)
        raise StoreUnavailable(self.why_not())

    async def wait_for(self, server: Server) -> None:
        """Wait until `server` itself is connected, for ever."""
        while not self.closed and not server.ready():
            await asyncio.sleep(_LOOK_LAST_S)

    def why_not(self) -> str:
        """Why no server could be asked."""
        if self.closed:
            return "the connection to etcd is closed"
        reasons = (f"{server.address} {server.trouble or 'does not answer'}" for server in self.servers)
        return "no etcd server can be reached: " + "; ".join(reasons)

    async def aclose(self) -> None:
        self.closed = True
        await asyncio.gather(*(server.aclose() for server in self.servers))

    def _connected(self) -> Server | None:
        """The server to ask now, None if it is worth waiting for one."""
        for server in self._order:
            if server.ready():
                return server
            if server.head_start_s() > 0:
                return None
        return None
