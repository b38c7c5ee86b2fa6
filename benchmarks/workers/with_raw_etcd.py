"""etcd's own API through grpc: `blocking` or `aio`, as the third argument says."""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio

from benchmarks.workers.protocol import arguments, aserve, serve
from benchmarks.workers.raw import TTL_S, Pair
from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd import wire
from leasekit.backends.etcd.methods import GRANT, TXN, WATCH
from leasekit.core import records

KEYS = wire.Keys("raw")


class Requests:
    """Both transactions, ready to be sent: nothing but the call itself is to be measured."""

    def __init__(self, election: str, lease_id: str) -> None:
        self._pair = Pair(election, lease_id, compares_empty=True)
        self.acquire = wire.transaction(KEYS, self._pair.acquire.compares, self._pair.acquire.ops)
        resign = self._pair.release(1)
        self._resign = wire.transaction(KEYS, resign.compares, resign.ops)

    def release(self, acquired: rpc.TxnResponse) -> rpc.TxnRequest:
        assert acquired.succeeded
        self._resign.compare[0].mod_revision = acquired.header.revision
        return self._resign


class Candidate:
    def __init__(self, election: str, channel: grpc.Channel) -> None:
        grant = channel.unary_unary(
            GRANT.path, rpc.LeaseGrantRequest.SerializeToString, rpc.LeaseGrantResponse.FromString
        )
        self._txn = channel.unary_unary(TXN.path, rpc.TxnRequest.SerializeToString, rpc.TxnResponse.FromString)
        lease = wire.granted(grant(wire.grant_request(TTL_S)))
        self._requests = Requests(election, lease.id)

    def acquire(self) -> None:
        self._acquired = self._txn(self._requests.acquire, timeout=5)

    def release(self) -> None:
        assert self._txn(self._requests.release(self._acquired), timeout=5).succeeded


class AsyncCandidate:
    def __init__(self, election: str, channel: grpc.aio.Channel, lease_id: str) -> None:
        self._txn = channel.unary_unary(TXN.path, rpc.TxnRequest.SerializeToString, rpc.TxnResponse.FromString)
        self._watch = channel.stream_stream(
            WATCH.path, rpc.WatchRequest.SerializeToString, rpc.WatchResponse.FromString
        )
        self._leader = KEYS.encode(records.Keys(election).leader)
        self._requests = Requests(election, lease_id)

    async def acquire(self) -> None:
        while not (acquired := await self._txn(self._requests.acquire, timeout=5)).succeeded:
            await self._deleted(after=acquired.header.revision)
        self._acquired = acquired

    async def _deleted(self, after: int) -> None:
        """Wait until nobody leads: a stream of its own, one event."""
        stream = self._watch()
        create = rpc.WatchCreateRequest(key=self._leader, start_revision=after + 1)
        await stream.write(rpc.WatchRequest(create_request=create))
        async for told in stream:
            if told.events:
                stream.cancel()
                return

    async def release(self) -> None:
        assert (await self._txn(self._requests.release(self._acquired), timeout=5)).succeeded


async def main(address: str, name: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        grant = channel.unary_unary(
            GRANT.path, rpc.LeaseGrantRequest.SerializeToString, rpc.LeaseGrantResponse.FromString
        )
        lease = wire.granted(await grant(wire.grant_request(TTL_S)))
        await aserve(lambda election: AsyncCandidate(election, channel, lease.id), name)


if __name__ == "__main__":
    host, port, name = arguments()
    if sys.argv[3] == "aio":
        asyncio.run(main(f"{host}:{port}", name))
    else:
        with grpc.insecure_channel(f"{host}:{port}") as channel:
            serve(lambda election: Candidate(election, channel), name)
