"""Slots, awaitable: what `leasekit.aio.Slots` is. Use it from any asyncio loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

from leasekit import engine
from leasekit.aio import ConnectedStore, Leadership, _on_engine, _to_its_end
from leasekit.connection import shared
from leasekit.errors import ConfigError
from leasekit.schedule import current
from leasekit.schedule.claims import Claimed
from leasekit.schedule.job import DEFAULTS, Job, under
from leasekit.schedule.plan import Guarantee, Missed, Overlap
from leasekit.schedule.records import Line, Outcome, SlotsRecord
from leasekit.schedule.times import Schedule
from leasekit.schedule.verdict import is_forked, verdict
from leasekit.schedule.workers import Worker


class Run:
    """A slot that is this process's to run. Use it with `async with`: its end is written down on the way out.

    See `leasekit.Run`.
    """

    def __init__(self, job: Job, claimed: Claimed) -> None:
        self._job = job
        self._claimed = claimed
        self._finished = False
        self._entered = ExitStack()
        self.leadership = Leadership(claimed.tenure, claimed.election)
        """Renewed while the run goes on; `leasekit.aio.current()` within it."""

    @property
    def name(self) -> str:
        """The job's name."""
        return self._job.name

    @property
    def slot(self) -> datetime:
        """The nominal instant that this run is for, UTC."""
        return self._claimed.slot

    @property
    def attempt(self) -> int:
        """1, or more where an earlier run of this slot was lost."""
        return self._claimed.attempt

    @property
    def token(self) -> int:
        """The fencing token: strictly higher than that of every earlier run of this job."""
        return self._claimed.tenure.token

    async def finish(self, outcome: Outcome, detail: str | None = None) -> None:
        """Write down how it ended, and let go. Stop the work first. Once; later calls do nothing.

        A store that cannot be reached is tried until the lease has run out; then it is logged that the run counts as lost.
        """
        if not self._finished and not is_forked(self.leadership):
            self._finished = True
            await _to_its_end(self._job.finish(self._claimed, outcome, detail))
            await self.leadership.resign()

    async def __aenter__(self) -> Self:
        self._entered.enter_context(current.within(self))
        self._entered.enter_context(under(self.leadership))
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._entered.close()
        await self.finish(*verdict(self.leadership, error))

    def __repr__(self) -> str:
        return (
            f"<Run of {self.name!r}, slot {self.slot:%Y-%m-%dT%H:%M:%SZ}, attempt {self.attempt}, token {self.token}>"
        )


class Slots:
    """The slots of one job: each is claimed by one process, on whichever machine. See `leasekit.Slots`."""

    def __init__(
        self,
        name: str,
        schedule: str | Schedule | None = None,
        *,
        store: ConnectedStore | str | None = None,
        tz: str | None = None,
        id: str | None = None,
        ttl_s: float = DEFAULTS.ttl_s,
        overlap: Overlap = DEFAULTS.overlap,
        missed: Missed = DEFAULTS.missed,
        guarantee: Guarantee = DEFAULTS.guarantee,
        max_late_s: float = DEFAULTS.max_late_s,
        max_skew_s: float = DEFAULTS.max_skew_s,
        jitter_s: float = DEFAULTS.jitter_s,
        allow_unchecked_clock: bool = False,
    ) -> None:
        self._job = Job(
            name,
            schedule,
            connection=store.connection if isinstance(store, ConnectedStore) else shared(store),
            tz=tz,
            id=id,
            ttl_s=ttl_s,
            overlap=overlap,
            missed=missed,
            guarantee=guarantee,
            max_late_s=max_late_s,
            max_skew_s=max_skew_s,
            jitter_s=jitter_s,
            allow_unchecked_clock=allow_unchecked_clock,
        )

    @property
    def name(self) -> str:
        """The job's name."""
        return self._job.name

    @property
    def id(self) -> str:
        """This worker's id."""
        return self._job.id

    @property
    def schedule(self) -> Schedule | None:
        """When it fires."""
        return self._job.schedule

    async def claim(self, slot: datetime | None = None) -> Run | None:
        """Claim this slot. None: it is not to be run here. See `leasekit.Slots.claim`."""

        async def claimed() -> Run | None:
            run = await self._job.claim(slot)
            return None if run is None else Run(self._job, run)

        return await _on_engine(claimed(), discard=self._discard)

    async def next_run(self, stop: asyncio.Event | None = None) -> Run | None:
        """Wait for the next slot that is this process's to run; None once `stop` is set. See `leasekit.Slots.next_run`."""
        if stop is None:
            return await _on_engine(self._next_run(), discard=self._discard)
        if stop.is_set():
            return None
        coming = asyncio.ensure_future(_on_engine(self._next_run(), discard=self._discard))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([coming, stopped], return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        except asyncio.CancelledError:
            if coming.done() and not coming.cancelled() and coming.exception() is None:
                self._discard(coming.result())
            raise
        finally:
            # Cancelled, the one gives back what it may have claimed by now.
            coming.cancel()
            stopped.cancel()

    async def lines(self, limit: int = 20) -> list[Line]:
        """What became of the last slots, the newest last; 64 are kept."""
        if limit < 1:
            raise ConfigError("limit", f"is {limit}; it must be 1 or more")
        record = await self.record()
        return [] if record is None else list(record.lines[-limit:])

    async def record(self) -> SlotsRecord | None:
        """How far the job has come; None if it has never been served."""
        return await _on_engine(self._job.record())

    async def upcoming(self, count: int = 5) -> list[datetime]:
        """The next slots, without jitter, in UTC; fewer if there are no more."""
        return await _on_engine(self._job.upcoming(count))

    async def workers(self) -> list[Worker]:
        """Who serves the job now."""
        return await _on_engine(self._job.workers())

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Show this process among the job's workers while the body runs."""
        keeping = engine.get().submit(self._job.keep_registered())
        try:
            yield
        finally:
            engine.get().abandon(keeping)

    async def _next_run(self) -> Run:
        return Run(self._job, await self._job.next_run())

    def _discard(self, run: Run | None) -> None:
        """Claimed in the moment in which the caller was cancelled."""
        if run is not None:
            run._finished = True
            engine.get().submit(self._job.give_up(run._claimed))

    def __repr__(self) -> str:
        return f"<Slots of {self.name!r} over {self._job.connection.url}>"
