"""Renewing leases: one keepalive stream per server, shared, and the read that makes an answer count."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

import grpc.aio

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd import wire
from leasekit.backends.etcd.auth import TokenTries
from leasekit.backends.etcd.backoff import Backoff
from leasekit.backends.etcd.client import Client, Metadata
from leasekit.backends.etcd.endpoints import Server
from leasekit.backends.etcd.faults import Failure, Fault
from leasekit.backends.etcd.methods import KEEP_ALIVE, RANGE
from leasekit.backends.etcd.witnesses import Verdict, Witnesses, judge
from leasekit.errors import LeaseLost, OutcomeUnknown, StoreUnavailable

_Call = grpc.aio.StreamStreamCall[rpc.LeaseKeepAliveRequest, rpc.LeaseKeepAliveResponse]


class KeepAliveStream:
    """A stream to one server. etcd answers its requests one after the other, so one that hangs breaks it for all."""

    def __init__(self, client: Client, server: Server, token: str | None, metadata: Metadata) -> None:
        self._client = client
        self._server = server
        self._token = token
        self._asked: dict[int, asyncio.Future[rpc.LeaseKeepAliveResponse]] = {}
        self._writing = asyncio.Lock()
        # None once it is broken. Nothing may hold on to a call then: a channel ends only with its last call.
        self._call: _Call | None = server.stream(KEEP_ALIVE)(metadata=metadata)
        self._reading = asyncio.get_running_loop().create_task(self._read(self._call))

    @property
    def broken(self) -> bool:
        """Whether it answers no more, so that another must be opened."""
        return self._call is None

    async def ask(self, number: int) -> rpc.LeaseKeepAliveResponse:
        """Renew lease `number`. Raises Failure. If cancelled, the stream is broken off: no late answer can count."""
        answer: asyncio.Future[rpc.LeaseKeepAliveResponse] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with self._writing:
                await self._write(number)
            return await answer
        except asyncio.CancelledError:
            self._break(self._lost("a keepalive on the same stream got no answer"))
            raise
        finally:
            del self._asked[number]
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # seen, even if the write failed before anybody waited for it

    async def aclose(self) -> None:
        """End the stream; what is asked fails."""
        self._break(self._lost("the connection was closed"))
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _write(self, number: int) -> None:
        if self._call is None:
            raise self._lost("the keepalive stream broke")
        try:
            await self._call.write(rpc.LeaseKeepAliveRequest(ID=number))
        except grpc.aio.AioRpcError as error:
            raise self._client.failure(self._server, error) from None
        except asyncio.InvalidStateError:
            # grpc.aio says so when the call has ended.
            raise self._lost("the keepalive stream broke") from None

    async def _read(self, call: _Call) -> None:
        why = self._lost("the server ended the keepalive stream")
        try:
            while isinstance(reply := await call.read(), rpc.LeaseKeepAliveResponse):
                answer = self._asked.get(reply.ID)
                if answer is not None and not answer.done():
                    answer.set_result(reply)
        except grpc.aio.AioRpcError as error:
            why = self._client.failure(self._server, error)
            if why.fault is Fault.TOKEN:
                self._client.tokens.refuse(self._token)
        finally:
            self._break(why)

    def _break(self, why: Failure) -> None:
        if self._call is None:
            return
        self._call.cancel()
        self._call = None
        self._reading.cancel()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(why)

    def _lost(self, words: str) -> Failure:
        return Failure(Fault.LOST, self._server.address, words)


class Renewals:
    """Renews leases as the contract asks: an answer counts only when no deposed leader can have given it."""

    def __init__(self, client: Client, keys: wire.Keys, witnesses: Witnesses) -> None:
        self._client = client
        self._keys = keys
        self._witnesses = witnesses
        self._streams: dict[Server, KeepAliveStream] = {}
        self._one_at_a_time: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def renew(self, lease_id: str, *, timeout_s: float) -> float:
        """The lease's time to live, started anew. See `Store.renew`."""
        number = wire.lease_number(lease_id)
        if number is None:
            raise LeaseLost(lease_id)
        lock = self._one_at_a_time.setdefault(lease_id, asyncio.Lock())
        trying: list[Server] = []
        give_up_s = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout(timeout_s), lock:
                return await self._renew(lease_id, number, give_up_s, trying)
        except TimeoutError:
            if not trying:
                raise StoreUnavailable(self._client.endpoints.why_not()) from None
            self._client.endpoints.shun(trying[-1])
            raise OutcomeUnknown(
                f"etcd {trying[-1].address} did not confirm the renewal within {timeout_s:g} s"
            ) from None

    async def aclose(self) -> None:
        streams = list(self._streams.values())
        self._streams.clear()
        await asyncio.gather(*(stream.aclose() for stream in streams))

    async def _renew(self, lease_id: str, number: int, give_up_s: float, trying: list[Server]) -> float:
        """Try until a renewal counts; `trying` is told which servers. The caller's time-out ends it."""
        backoff = Backoff(self._client.random)
        tokens = TokenTries(self._client.tokens, backoff)
        other_terms = 0
        while True:
            server = await self._client.endpoints.pick(give_up_s)
            trying.append(server)
            try:
                verdict, ttl_s = await self._attempt(server, lease_id, number, give_up_s)
            except Failure as failure:
                if failure.fault is Fault.TOKEN and await tokens.another():
                    continue
                if failure.fault not in (Fault.REFUSED, Fault.LOST):
                    raise failure.error(changes=True, leases=[lease_id]) from None
                self._client.endpoints.shun(server)
                await asyncio.sleep(backoff.next_s() if len(trying) >= len(self._client.endpoints.servers) else 0)
                continue
            if verdict is Verdict.COUNTS:
                return ttl_s
            if verdict is Verdict.OTHER_TERM and other_terms:
                await asyncio.sleep(backoff.next_s())
            other_terms += verdict is Verdict.OTHER_TERM

    async def _attempt(self, server: Server, lease_id: str, number: int, give_up_s: float) -> tuple[Verdict, float]:
        """One keepalive and its confirmation: whether it counts, and its time to live. Raises LeaseLost or Failure."""
        stream = await self._stream(server, give_up_s)
        answer = await stream.ask(number)
        # That the lease is unknown is believed no sooner: a deposed leader may never have heard of it.
        witness = self._witnesses.of(lease_id) if answer.TTL > 0 else None
        seen, found_at = await self._look(server, witness[0] if witness else None, give_up_s)
        verdict = judge(
            keepalive_term=answer.header.raft_term,
            read_term=seen.raft_term,
            put_at=witness[1] if witness else None,
            found_at=found_at,
        )
        if verdict is Verdict.WITNESS_GONE and witness is not None and self._witnesses.of(lease_id) == witness:
            self._witnesses.drop(witness[0])
        if verdict is Verdict.COUNTS and answer.TTL <= 0:
            self._witnesses.drop_lease(lease_id)
            raise LeaseLost(lease_id)
        return verdict, float(answer.TTL)

    async def _look(self, server: Server, key: str | None, give_up_s: float) -> tuple[rpc.ResponseHeader, int | None]:
        """A linearizable read through `server`: its header, and the revision at which `key` stands."""
        request = rpc.RangeRequest(
            key=self._keys.root if key is None else self._keys.encode(key), count_only=key is None
        )
        left_s = give_up_s - asyncio.get_running_loop().time()
        answer = await self._client.attempt(server, RANGE, request, timeout_s=left_s)
        return answer.header, answer.kvs[0].mod_revision if answer.kvs else None

    async def _stream(self, server: Server, give_up_s: float) -> KeepAliveStream:
        stream = self._streams.get(server)
        if stream is None or stream.broken:
            left_s = give_up_s - asyncio.get_running_loop().time()
            token, metadata = await self._client.identify(server, timeout_s=left_s)
            stream = self._streams.get(server)
            if stream is None or stream.broken:
                stream = self._streams[server] = KeepAliveStream(self._client, server, token, metadata)
        return stream
