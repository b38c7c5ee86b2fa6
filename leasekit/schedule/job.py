"""What both faces' `Slots` have in common: a job's settings, and the operations, run on the engine's loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from leasekit.connection import Connection
from leasekit.errors import ConfigError
from leasekit.leadership import LeadershipBase
from leasekit.schedule.claims import Claimed, Claims
from leasekit.schedule.dispatch import Dispatch
from leasekit.schedule.plan import Policy
from leasekit.schedule.records import Outcome, SlotsRecord
from leasekit.schedule.times import Schedule, format_slot, parse
from leasekit.schedule.verdict import NEVER_BEGAN, shortened
from leasekit.schedule.workers import Registration, Worker, workers_of

DEFAULTS = Policy()
FIRED_EARLY_S = 1.0
"""What fires a process may do so a moment before the slot."""

_log = logging.getLogger("leasekit")


class Job:
    """One job, seen through one connection."""

    def __init__(
        self,
        name: str,
        schedule: str | Schedule | None,
        *,
        connection: Connection,
        tz: str | None,
        id: str | None,
        **policy: Any,
    ) -> None:
        if isinstance(schedule, str):
            schedule = parse(schedule, tz)
        elif tz is not None:
            raise ConfigError("tz", "goes with a schedule that is given as text")
        self.connection = connection
        self.schedule = schedule
        self._claims = Claims(name, connection=connection, id=id, policy=Policy(**policy), schedule=schedule)
        self._dispatch = Dispatch(self._claims)

    @property
    def name(self) -> str:
        """The job's name."""
        return self._claims.name

    @property
    def id(self) -> str:
        """This worker's id."""
        return self._claims.own.id

    async def claim(self, slot: datetime | None) -> Claimed | None:
        return await self._dispatch.claim(self._fired_for() if slot is None else _checked(slot))

    async def next_run(self) -> Claimed:
        return await self._dispatch.next_run()

    async def finish(self, run: Claimed, outcome: Outcome, detail: str | None) -> bool:
        """Write down how it ended, and let go. False: that could not be written, and the run counts as lost."""
        written = await self._claims.finish(run, outcome, detail and shortened(detail))
        if not written and outcome is not Outcome.LOST:
            _log.warning(
                "job %r, slot %s, attempt %d, token %d is %s, which could not be written down: it counts as lost%s",
                self.name,
                format_slot(run.slot),
                run.attempt,
                run.tenure.token,
                outcome.value,
                ", and may be run again" if self._claims.policy.guarantee == "at_least_once" else "",
            )
        return written

    async def give_up(self, run: Claimed) -> None:
        """Claimed for a caller who has gone."""
        await self.finish(run, Outcome.LOST, NEVER_BEGAN)

    async def record(self) -> SlotsRecord | None:
        return await self._claims.record()

    async def upcoming(self, count: int) -> list[datetime]:
        if count < 1:
            raise ConfigError("count", f"is {count}; it must be 1 or more")
        await self._claims.time.refresh()
        slots: list[datetime] = []
        after = self._claims.time.now()
        while len(slots) < count and (slot := self._dispatch.scheduled().next_after(after)) is not None:
            slots.append(slot)
            after = slot
        return slots

    async def workers(self) -> list[Worker]:
        return await workers_of(self._claims.own)

    async def keep_registered(self) -> None:
        await Registration(self._claims.own).keep()

    def _fired_for(self) -> datetime:
        now = datetime.fromtimestamp(self.connection.clock.wall_s(), UTC)
        slot = self._dispatch.scheduled().latest_at(now + timedelta(seconds=FIRED_EARLY_S))
        if slot is None:
            raise ConfigError("schedule", "has had no slot yet")
        return slot


@contextmanager
def under(leadership: LeadershipBase) -> Iterator[None]:
    """Work under this leadership. At the end it is not let go of: how the run ended is to be written before."""
    leadership._enter()
    try:
        yield
    finally:
        leadership._leave()


def _checked(slot: datetime) -> datetime:
    if slot.tzinfo is None:
        raise ConfigError("slot", f"{slot} has no time zone: give one, for example datetime.now(UTC)")
    return slot.astimezone(UTC)
