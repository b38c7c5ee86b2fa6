"""leasekit through its asyncio face. The first argument is a store URL."""

from __future__ import annotations

import asyncio
import os
import sys

from benchmarks.workers.protocol import aserve
from leasekit import aio

TTL_S = float(os.environ.get("BENCHMARK_TTL_S", "60"))


class Candidate:
    def __init__(self, election: str, store: aio.ConnectedStore) -> None:
        self._election = aio.Election(election, store, ttl_s=TTL_S)
        self._leadership: aio.Leadership | None = None

    async def acquire(self) -> None:
        self._leadership = await self._election.campaign()

    async def release(self) -> None:
        assert self._leadership is not None
        await self._leadership.resign()


async def main(url: str, name: str) -> None:
    async with aio.connect(url) as store:
        await aserve(lambda election: Candidate(election, store), name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
