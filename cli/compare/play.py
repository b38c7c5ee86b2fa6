"""What the scenarios on one store share: two processes over the store, two more whose requests are counted, leaders."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from leasekit.cli.compare.children import Worker
from leasekit.cli.compare.counting import CountingDoor
from leasekit.cli.compare.stage import Stage
from leasekit.errors import StoreUnavailable

# Beyond what the store promises, on a machine that may be busy.
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Counted:
    """Two processes whose requests pass through one door; `door` is None where they cannot."""

    door: CountingDoor | None
    first: Worker
    second: Worker

    async def so_far(self) -> tuple[int, int]:
        """Requests and calls of the store contract."""
        first, second = await self.first.ask("counts"), await self.second.ask("counts")
        return self.door.requests if self.door else 0, first["calls"] + second["calls"]


async def side_by_side(*work: Coroutine[Any, Any, None]) -> None:
    """All of it at the same time. The first that fails ends the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


class Play:
    """An async context manager."""

    def __init__(self, stage: Stage, rounds: int) -> None:
        self.stage = stage
        self.rounds = rounds
        self.samples: dict[str, list[float]] = {}
        """What the present scenario has found, by the metric's name."""
        self.first = stage.worker("first")
        self.second = stage.worker("second")
        self.lapsed = 0
        """Leases that ran out in the present scenario though nobody was meant to lose one."""
        self._leaders: list[Worker] = []
        self._counted: Counted | None = None
        self._doors = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._doors.aclose()

    def record_wait(self, metric: str, began_at: float, elected: dict[str, Any]) -> None:
        """Keep how long it took until somebody was elected. Elected before: the lease of who led had run out, because the
        machine was too busy to renew it. Then there is nothing to keep, and that is said."""
        if elected["at"] >= began_at:
            self.record(metric, elected["at"] - began_at)
        else:
            self.lapsed += 1

    def record(self, metric: str, *samples: float) -> None:
        """Keep what was measured."""
        self.samples.setdefault(metric, []).extend(samples)

    async def counted(self) -> Counted:
        """The processes whose requests are counted; the same each time."""
        if self._counted is None:
            url, door = await self._doors.enter_async_context(self.stage.counted(self.first))
            self._counted = Counted(door, self.stage.worker("counted 1", url), self.stage.worker("counted 2", url))
        return self._counted

    def leaders(self, count: int) -> list[Worker]:
        """Processes to be paused and killed: those that live, and as many more as it takes."""
        self._leaders = [leader for leader in self._leaders if leader.running]
        while len(self._leaders) < count:
            self._leaders.append(self.stage.worker(f"leader {len(self._leaders) + 1}"))
        return self._leaders[:count]

    def campaign(self, worker: Worker, election: str, ttl_s: float | None = None) -> asyncio.Future[dict[str, Any]]:
        """Have it campaign; the answer tells when it was elected, and the token."""
        ttl_s = ttl_s or self.stage.ttl_s
        timeout_s = self.stage.expires_within_s + PATIENCE_S
        return worker.send("campaign", election=election, ttl_s=ttl_s, timeout_s=timeout_s)

    async def queue(self, worker: Worker, election: str, ttl_s: float | None = None) -> asyncio.Future[dict[str, Any]]:
        """The same where somebody leads: returns once it stands in the queue."""
        elected = self.campaign(worker, election, ttl_s)
        await worker.ask("queued", election=election, timeout_s=PATIENCE_S)
        return elected

    async def elected(self, campaign: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
        """Wait for it. Raises StoreUnavailable if that takes too long."""
        try:
            async with asyncio.timeout(self.stage.expires_within_s + 2 * PATIENCE_S):
                return await campaign
        except TimeoutError:
            raise StoreUnavailable("nobody was elected, long after the lease should have ended") from None
