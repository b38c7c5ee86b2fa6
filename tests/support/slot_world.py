"""Workers of one job on virtual time: each with a network and a wall clock of its own, over one memory store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from leasekit.backends.memory import MemoryStore
from leasekit.clock import Instant
from leasekit.connection import Connection
from leasekit.schedule.claims import Claimed
from leasekit.schedule.job import Job
from leasekit.schedule.records import Outcome, SlotsRecord
from leasekit.testing import FaultyStore, ManualClock
from support.virtual import World

JOB = "nightly"


class WallClock:
    """The world's clocks, with a wall clock that is wrong by `offset_s`."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.offset_s = 0.0

    def now(self) -> Instant:
        return self._clock.now()

    def wall_s(self) -> float:
        return self._clock.wall_s() + self.offset_s


@dataclass(slots=True)
class Started:
    """One claim, as the one who made it knows it, and the world's time of it."""

    slot: datetime
    attempt: int
    token: int
    at: datetime
    worker: str
    run: Claimed = field(repr=False)
    outcome: Outcome | None = None
    """What the worker knows of its end, whether or not it could still write it down."""


class SlotWorker:
    """A process that serves the job."""

    def __init__(self, world: World, id: str, schedule: str, log: list[Started], **policy: Any) -> None:
        self.world = world
        self.id = id
        self.clock = WallClock(world.clock)
        self.connection = Connection(f"memory://{world.name}", clock=self.clock)
        self.network = FaultyStore(MemoryStore(world.name, world.clock))
        self.connection._store = self.network
        self.job = Job(JOB, schedule, connection=self.connection, tz=None, id=id, **policy)
        self.log = log
        self.tasks: list[asyncio.Task[None]] = []

    def serve(self, work_s: Callable[[], float], outcome: Outcome = Outcome.DONE) -> SlotWorker:
        """Claim slots from now on; each run takes what `work_s` says."""
        self.tasks.append(asyncio.create_task(self._serve(work_s, outcome)))
        return self

    async def _serve(self, work_s: Callable[[], float], outcome: Outcome) -> None:
        while True:
            run = await self.job.next_run()
            self.tasks = [task for task in self.tasks if not task.done()]
            self.tasks.append(asyncio.create_task(self.work(run, work_s(), outcome)))

    async def work(self, run: Claimed, duration_s: float, outcome: Outcome = Outcome.DONE) -> None:
        """Do this run, and write its end, which is lost if its leadership is."""
        began = Started(run.slot, run.attempt, run.tenure.token, self.now(), self.id, run)
        self.log.append(began)
        end = self.world.clock.now().plus(duration_s)
        run.tenure.work_begins()
        while run.tenure.loss is None and not self.world.clock.now().reached(end):
            await asyncio.sleep(0.25)
        run.tenure.work_ended()
        began.outcome = outcome if run.tenure.loss is None else Outcome.LOST
        await self.job.finish(run, began.outcome, None)

    def now(self) -> datetime:
        """The true time."""
        return datetime.fromtimestamp(self.world.clock.wall_s(), UTC)

    async def crash(self) -> None:
        """Kill -9: nothing more is sent, and nothing more is done."""
        self.network.go_down(silent=True)
        await self.stop()

    async def stop(self) -> None:
        """No more slots; the runs are cut off."""
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.tasks = []

    async def leave(self) -> None:
        """Stop and give all back."""
        await self.stop()
        await self.connection.aclose(timeout_s=5)

    async def record(self) -> SlotsRecord:
        record = await self.job.record()
        assert record is not None
        return record
