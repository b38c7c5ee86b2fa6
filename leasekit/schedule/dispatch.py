"""A worker's part in one job: waiting for slots and claiming them. Runs on the engine's loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from math import inf
from typing import cast

from leasekit import retry
from leasekit.core.records import Keys
from leasekit.errors import ConfigError, LeasekitError, SlotTooEarly
from leasekit.schedule import plan
from leasekit.schedule.claims import Claimed, Claims, Look
from leasekit.schedule.plan import Cancel, Refuse, Start, Wait, Write
from leasekit.schedule.records import slots_key
from leasekit.schedule.times import Schedule, format_slot

LONGEST_SLEEP_S = 5.0
"""Between two looks at the clocks: no timer counts suspend, and wall clocks are set. Costs no request."""
READ_TIME_S = 3600.0
"""This machine's clocks may drift by a second in half a day, more than the store's clock is told to."""
RETRY_S = 1.0
"""After a leadership that could not be won: its holder claims, or is gone, within a moment."""
FAR_AHEAD_S = 60.0
"""A store's clock that is set right may leave the last slot a little ahead: soon over, and no news."""

_log = logging.getLogger("leasekit")


class Dispatch:
    """Claims slots of one job for this process. One `next_run` or `claim` at a time."""

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.schedule = claims.schedule
        self._begun = False
        self._turn = asyncio.Lock()
        self._silent = False
        self._far_ahead = False

    async def claim(self, slot: datetime) -> Claimed | None:
        """The run of this very slot; None if it is not this process's to run. Waits for its turn where the policy says so.

        Raises:
            SlotTooEarly: the slot is further ahead of the store's time than `max_skew_s`. Nothing was written.
            StoreUnavailable, OutcomeUnknown: the store does not answer. Asking again settles it.
        """
        ahead_s = await self.claims.time.ahead_s(slot)
        if ahead_s > self.claims.policy.max_skew_s:
            raise SlotTooEarly(format_slot(slot), ahead_s - self.claims.policy.max_skew_s)

        def planner(view: plan.View) -> plan.Step | Refuse:
            return plan.claim_step(self.schedule, self.claims.policy, view, slot)

        async with self._turn:
            while True:
                look = await self.claims.look()
                step = planner(look.view)
                if isinstance(step, Refuse):
                    _log.info("slot %s of %r is not run here: %s", format_slot(slot), self.claims.name, step.reason)
                    return None
                if (claimed := await self._do(step, look, planner)) is not None:
                    return claimed

    async def next_run(self) -> Claimed:
        """The next slot that is this process's to run, whenever that is.

        While the store does not answer it goes on asking.

        Raises:
            ConfigError: there is no schedule, or no clock to check this machine's by.
            AuthError, ProtocolError: what the store or its records say cannot be worked with.
        """
        schedule = self.scheduled()

        def planner(view: plan.View) -> plan.Step:
            return plan.next_step(self.claims.name, schedule, self.claims.policy, view)

        failures = 0
        async with self._turn:
            while True:
                try:
                    await self.claims.time.refresh()
                    look = await self.claims.look()
                    self._compare_mark(look.view)
                    step = (None if self._begun else plan.begin(schedule, look.view)) or planner(look.view)
                    claimed = await self._do(step, look, planner)
                    self._begun = True
                    failures = 0
                    self._answered()
                except retry.UNANSWERED as error:
                    failures += 1
                    self._unanswered(error)
                    await asyncio.sleep(retry.pause_s(failures, self.claims.connection.random))
                    continue
                if claimed is not None:
                    return claimed

    async def _do(
        self, step: plan.Step, look: Look, planner: Callable[[plan.View], plan.Step | Refuse]
    ) -> Claimed | None:
        """Take the step; of what waits, wait. None: look again."""
        match step:
            case Write(record):
                await self.claims.write(look, record)
            case Start():
                if (claimed := await self.claims.start(step, planner)) is not None:
                    return claimed
                await self._until_leader_changes(look, RETRY_S)
            case Cancel(token):
                await self.claims.cancel(look, token)
                await self._until_leader_changes(look, self.claims.policy.ttl_s)
            case Wait(until) if look.view.live:
                limit_s = self.claims.policy.ttl_s
                await self._until_leader_changes(look, min(limit_s, self._left_s(until)))
            case Wait(until):
                # A slot can only be claimed once it has come, so until then there is nothing to see but the time.
                while (left_s := self._left_s(until)) > 0:
                    await asyncio.sleep(min(left_s, LONGEST_SLEEP_S))
                    await self.claims.time.refresh(max_age_s=READ_TIME_S)
        return None

    def _left_s(self, until: datetime | None) -> float:
        """How long it is until then, in seconds; for ever if there is no such moment."""
        return inf if until is None else (until - self.claims.time.now()).total_seconds()

    async def _until_leader_changes(self, look: Look, timeout_s: float) -> None:
        """Until somebody is elected or leaves office, as of that look; `timeout_s` at most."""
        if timeout_s <= 0:
            return
        key = Keys(self.claims.name).leader
        changes = self.claims.connection.store.watch(key, after=look.revision)
        try:
            async with asyncio.timeout(timeout_s):
                await anext(changes)
        except (TimeoutError, StopAsyncIteration):
            pass
        finally:
            await cast(AsyncGenerator[object, None], changes).aclose()

    def scheduled(self) -> Schedule:
        """When the job fires. Raises ConfigError if nobody said so."""
        if self.schedule is None:
            raise ConfigError("schedule", "is missing: without one only slots that are named can be claimed")
        return self.schedule

    def _compare_mark(self, view: plan.View) -> None:
        """A store whose clock was far ahead for a while has used up the slots of that time. Nobody would see why none runs."""
        far_s = max(FAR_AHEAD_S, self.claims.policy.max_skew_s)
        if view.record is None or (view.record.mark - view.now).total_seconds() <= far_s:
            self._far_ahead = False
        elif not self._far_ahead:
            self._far_ahead = True
            _log.warning(
                "job %r: its last slot, %s, is far ahead of the store's time, %s (was its clock wrong?): none runs until "
                "then. To begin anew, stop the workers, delete the key %r in the store, and start them again",
                self.claims.name,
                format_slot(view.record.mark),
                format_slot(view.now.replace(microsecond=0)),
                slots_key(self.claims.name),
            )

    def _unanswered(self, error: LeasekitError) -> None:
        if not self._silent:
            _log.warning("job %r: the store does not answer (%s); trying on", self.claims.name, error)
        self._silent = True

    def _answered(self) -> None:
        if self._silent:
            _log.warning("job %r: the store answers again", self.claims.name)
        self._silent = False
