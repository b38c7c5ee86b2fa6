"""One watch stream to one server, from its opening until it breaks; all watches share it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Never

import grpc.aio

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd import wire
from leasekit.backends.etcd.auth import TOKENS_MAX
from leasekit.backends.etcd.client import Client
from leasekit.backends.etcd.endpoints import Server
from leasekit.backends.etcd.faults import Failure, Fault, classify
from leasekit.backends.etcd.methods import RANGE, WATCH

if TYPE_CHECKING:
    from leasekit.backends.etcd.watches import Subscription

QUIET_S = 2.0
"""After so long without a word the server is asked for one."""
ANSWER_S = 2.0
"""So long it has to answer; then another server is tried."""


class Session:
    """Requests go out through a queue, since gRPC takes one at a time. `run` raises Failure when it is over."""

    def __init__(
        self, client: Client, server: Server, keys: wire.Keys, subscriptions: dict[Subscription, None]
    ) -> None:
        self._client = client
        self._server = server
        self._keys = keys
        self._subscriptions = subscriptions
        self._token: str | None = None
        self._group: asyncio.TaskGroup | None = None
        self._outgoing: asyncio.Queue[rpc.WatchRequest] = asyncio.Queue()
        self._last_id = 0
        self._ids: dict[Subscription, int] = {}
        self._by_id: dict[int, Subscription] = {}
        # A refused creation does not say whose it was; but they are answered in order.
        self._creating: deque[int] = deque()
        self._heard_s = asyncio.get_running_loop().time()
        for subscription in subscriptions:
            self.create(subscription)

    def create(self, subscription: Subscription) -> None:
        """Watch for `subscription` from where it is."""
        watch_id = self._next_id()
        self._ids[subscription] = watch_id
        self._by_id[watch_id] = subscription
        self._outgoing.put_nowait(subscription.request(watch_id))

    def cancel(self, subscription: Subscription) -> None:
        """Watch for it no more."""
        watch_id = self._ids.pop(subscription, None)
        if watch_id is not None:
            del self._by_id[watch_id]
            self._send_cancel(watch_id)

    async def run(self) -> Never:
        """Serve until the stream breaks. Raises Failure, alone or in a group."""
        self._token, metadata = await self._client.identify(self._server, timeout_s=ANSWER_S)
        call = self._server.stream(WATCH)(metadata=metadata)
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._write(call))
                self._group.create_task(self._read(call))
                self._group.create_task(self._ask_when_quiet())
        finally:
            call.cancel()
        raise AssertionError("the stream's tasks end only by raising")

    async def _write(self, call: grpc.aio.StreamStreamCall[rpc.WatchRequest, rpc.WatchResponse]) -> Never:
        try:
            while True:
                await call.write(await self._outgoing.get())
        except grpc.aio.AioRpcError as error:
            raise self._client.failure(self._server, error) from None
        except asyncio.InvalidStateError:
            # grpc.aio says so when the call has ended; why, the reader learns.
            raise self._broken("the watch stream ended") from None

    async def _read(self, call: grpc.aio.StreamStreamCall[rpc.WatchRequest, rpc.WatchResponse]) -> Never:
        loop = asyncio.get_running_loop()
        try:
            while isinstance(answer := await call.read(), rpc.WatchResponse):
                self._heard_s = loop.time()
                self._take(answer)
        except grpc.aio.AioRpcError as error:
            failure = self._client.failure(self._server, error)
            if failure.fault is Fault.TOKEN:
                self._client.tokens.refuse(self._token)
            raise failure from None
        except asyncio.CancelledError:
            raise self._client.interrupted(self._server) from None
        raise self._broken("the server ended the watch stream")

    async def _ask_when_quiet(self) -> Never:
        """Find out about a server that is frozen or cut off: ask for a watch, which any living one answers.

        A request for progress will not do: several versions of etcd keep silent to it while nothing has changed.
        """
        loop = asyncio.get_running_loop()
        while True:
            quiet_s = loop.time() - self._heard_s
            if quiet_s < QUIET_S or not self._by_id:
                await asyncio.sleep(max(QUIET_S - quiet_s, QUIET_S / 2))
                continue
            heard_s = self._heard_s
            watch_id = self._next_id()
            self._outgoing.put_nowait(
                rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=self._keys.root, watch_id=watch_id))
            )
            await asyncio.sleep(ANSWER_S)
            if self._heard_s == heard_s:
                raise self._broken("the watch stream fell silent")

    def _take(self, answer: rpc.WatchResponse) -> None:
        if answer.created:
            if not self._creating:
                raise self._broken("a watch was created that nobody asked for")
            self._on_created(self._creating.popleft(), answer)
        elif answer.canceled:
            self._on_canceled(answer.watch_id, answer)
        elif subscription := self._by_id.get(answer.watch_id):
            for event in answer.events:
                subscription.tell(wire.change(self._keys, event))
            if not answer.events:
                subscription.progress(answer.header.revision)

    def _on_created(self, watch_id: int, answer: rpc.WatchResponse) -> None:
        subscription = self._by_id.get(watch_id)
        if subscription is None:  # a question whether anybody is there, or one that has been cancelled since
            if not answer.canceled:
                self._send_cancel(watch_id)
        elif answer.canceled:
            self._on_canceled(watch_id, answer)
        else:
            subscription.refused = 0
            if subscription.doubts(answer.header):
                assert self._group is not None, "answers come while the stream runs"
                self._group.create_task(self._look(subscription, watch_id, subscription.after))

    def _on_canceled(self, watch_id: int, answer: rpc.WatchResponse) -> None:
        subscription = self._by_id.pop(watch_id, None)
        if subscription is None:
            return
        del self._ids[subscription]
        if answer.compact_revision:
            subscription.resync(answer.compact_revision)
            self.create(subscription)
            return
        fault = classify("", answer.cancel_reason)
        words = answer.cancel_reason.rpartition("desc = ")[2] or "the watch was cancelled"
        failure = Failure(fault, self._server.address, words)
        if fault not in (Fault.TOKEN, Fault.DENIED):
            raise failure
        # etcd 3.4 says "permission denied" of an expired token too, so new ones are tried whatever it says.
        if subscription.refused == TOKENS_MAX or not self._client.tokens.renewable:
            self._subscriptions.pop(subscription, None)
            subscription.fail(failure.error(changes=False))
            return
        subscription.refused += 1
        self._client.tokens.refuse(self._token)
        raise Failure(Fault.TOKEN, self._server.address, words)

    async def _look(self, subscription: Subscription, watch_id: int, after: int) -> None:
        """Find out whether the store has gone back in time (a backup was restored), or this server only lags behind."""
        request = rpc.RangeRequest(key=subscription.key, range_end=subscription.end, count_only=True)
        answer = await self._client.attempt(self._server, RANGE, request, timeout_s=ANSWER_S)
        went_back = not subscription.recognises(answer.header) or answer.header.revision < after
        if went_back and self._ids.get(subscription) == watch_id:
            self.cancel(subscription)
            subscription.resync(answer.header.revision)
            self.create(subscription)

    def _next_id(self) -> int:
        self._last_id += 1
        self._creating.append(self._last_id)
        return self._last_id

    def _send_cancel(self, watch_id: int) -> None:
        self._outgoing.put_nowait(rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=watch_id)))

    def _broken(self, words: str) -> Failure:
        return Failure(Fault.LOST, self._server.address, words)
