"""aetcd's lock."""

from __future__ import annotations

import asyncio
from typing import Any

import aetcd  # type: ignore[import-not-found,unused-ignore]

from benchmarks.workers.protocol import arguments, aserve


class Candidate:
    def __init__(self, election: str, client: Any) -> None:
        self._lock = client.lock(election.encode(), ttl=60)

    async def acquire(self) -> None:
        assert await self._lock.acquire(timeout=None)

    async def release(self) -> None:
        assert await self._lock.release()


async def main() -> None:
    host, port, name = arguments()
    async with aetcd.Client(host=host, port=port) as client:
        await aserve(lambda election: Candidate(election, client), name)


if __name__ == "__main__":
    asyncio.run(main())
