"""Consul's own API through `http.client` (`blocking`) or `aiohttp` (`aio`), as the third argument says."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from http import HTTPStatus

import aiohttp

from benchmarks.workers.protocol import arguments, aserve, serve
from benchmarks.workers.raw import TTL_S, Pair
from leasekit.backends.consul import wire
from leasekit.core import records

ROOT = "raw/"
TXN = "/v1/txn?consistent"


class Requests:
    """Both transactions, ready to be sent: nothing but the call itself is to be measured."""

    def __init__(self, election: str, lease_id: str) -> None:
        self._pair = Pair(election, lease_id, compares_empty=False)
        acquire = self._pair.acquire
        self._acquire = wire.transaction(ROOT, acquire.compares, acquire.ops)
        self.acquire = self._acquire.body

    def release(self, acquired: str) -> bytes:
        resign = self._pair.release(self._acquire.committed(acquired).revision)
        return wire.transaction(ROOT, resign.compares, resign.ops).body


def session_body() -> bytes:
    return json.dumps({"TTL": f"{TTL_S:g}s", "Behavior": "delete", "LockDelay": "0s", "NodeChecks": []}).encode()


class Candidate:
    def __init__(self, election: str, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._requests = Requests(election, wire.session_id(self._put("/v1/session/create", session_body())))

    def _put(self, path: str, body: bytes) -> str:
        self._connection.request("PUT", path, body)
        reply = self._connection.getresponse()
        text = reply.read().decode()
        assert reply.status == 200, text
        return text

    def acquire(self) -> None:
        self._acquired = self._put(TXN, self._requests.acquire)

    def release(self) -> None:
        self._put(TXN, self._requests.release(self._acquired))


class AsyncCandidate:
    def __init__(self, election: str, session: aiohttp.ClientSession, root: str, lease_id: str) -> None:
        self._session = session
        self._txn = root + TXN
        self._leader = f"{root}/v1/kv/{ROOT}{records.Keys(election).leader}"
        self._requests = Requests(election, lease_id)

    async def _put(self, body: bytes) -> str | None:
        async with self._session.put(self._txn, data=body) as reply:
            return await reply.text() if reply.status == HTTPStatus.OK else None

    async def acquire(self) -> None:
        while (acquired := await self._put(self._requests.acquire)) is None:
            await self._deleted()
        self._acquired = acquired

    async def _deleted(self) -> None:
        """Wait until nobody leads: blocking queries."""
        query = {"wait": "60s"}
        while True:
            async with self._session.get(self._leader, params=query) as reply:
                if reply.status == HTTPStatus.NOT_FOUND:
                    return
                query["index"] = reply.headers["X-Consul-Index"]

    async def release(self) -> None:
        assert await self._put(self._requests.release(self._acquired)) is not None


async def main(root: str, name: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.put(root + "/v1/session/create", data=session_body()) as reply:
            lease_id = wire.session_id(await reply.text())
        await aserve(lambda election: AsyncCandidate(election, session, root, lease_id), name)


if __name__ == "__main__":
    host, port, name = arguments()
    if sys.argv[3] == "aio":
        asyncio.run(main(f"http://{host}:{port}", name))
    else:
        connection = http.client.HTTPConnection(host, port)
        serve(lambda election: Candidate(election, connection), name)
