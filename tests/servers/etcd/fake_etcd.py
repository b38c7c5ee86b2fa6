"""A server that speaks enough of etcd's API to answer renewals as a script says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import grpc
import grpc.aio

from leasekit.backends.etcd import rpc_pb2 as rpc


@dataclass
class KeepAlive:
    """What a keepalive is answered; `ttl_s=None`: nothing, ever."""

    term: int
    ttl_s: int | None = 5


@dataclass
class Read:
    """What a read is answered: the term, and the revision of the key if it is there."""

    term: int
    revision: int | None = None


class FakeEtcd:
    """Answers keepalives and reads from two queues, and transactions by committing them at `revision`."""

    def __init__(self) -> None:
        self.keepalives: deque[KeepAlive] = deque()
        self.reads: deque[Read] = deque()
        self.revision = 10
        self.asked: list[str] = []
        """What came, in order: "keepalive", or "read KEY"."""
        self.streams = 0
        """Keepalive streams ever opened."""
        self.port = 0
        self._server = grpc.aio.server()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._handle(
            "Lease", "LeaseKeepAlive", grpc.stream_stream_rpc_method_handler, self._keepalive, rpc.LeaseKeepAliveRequest
        )
        self._handle("KV", "Range", grpc.unary_unary_rpc_method_handler, self._range, rpc.RangeRequest)
        self._handle("KV", "Txn", grpc.unary_unary_rpc_method_handler, self._txn, rpc.TxnRequest)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    def _handle(self, service: str, method: str, kind: Any, answer: Any, request: Any) -> None:
        handler = kind(
            answer, request_deserializer=request.FromString, response_serializer=lambda m: m.SerializeToString()
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", {method: handler}),)
        )

    async def _keepalive(
        self, requests: AsyncIterator[rpc.LeaseKeepAliveRequest], _: Any
    ) -> AsyncIterator[rpc.LeaseKeepAliveResponse]:
        self.streams += 1
        async for request in requests:
            self.asked.append("keepalive")
            answer = self.keepalives.popleft()
            if answer.ttl_s is None:
                await asyncio.Event().wait()
            yield rpc.LeaseKeepAliveResponse(
                header=rpc.ResponseHeader(raft_term=answer.term), ID=request.ID, TTL=answer.ttl_s or 0
            )

    async def _range(self, request: rpc.RangeRequest, _: Any) -> rpc.RangeResponse:
        self.asked.append("read" if request.count_only else f"read {request.key.decode()}")
        answer = self.reads.popleft()
        found = [rpc.KeyValue(key=request.key, mod_revision=answer.revision)] if answer.revision else []
        return rpc.RangeResponse(header=rpc.ResponseHeader(raft_term=answer.term), kvs=found)

    async def _txn(self, _request: rpc.TxnRequest, _: Any) -> rpc.TxnResponse:
        self.revision += 1
        return rpc.TxnResponse(header=rpc.ResponseHeader(revision=self.revision), succeeded=True)
