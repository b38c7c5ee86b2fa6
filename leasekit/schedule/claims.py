"""Looking at a job's record, claiming slots and writing down what became of them. Runs on the engine's loop.

A run is a leadership. To claim a slot is to win it, to look, and then to raise the mark in one transaction that compares
both the leadership and the record that was looked at: so of all machines one can, whatever their clocks say.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from leasekit import retry
from leasekit.connection import Connection
from leasekit.core import records
from leasekit.core.records import Keys, LeaderRecord, RequestRecord
from leasekit.election import READ_TIMEOUT_S, RELEASE_TIMEOUT_S, ElectionCore
from leasekit.errors import LeasekitError, LossReason
from leasekit.schedule import plan
from leasekit.schedule.plan import Policy, Start, View
from leasekit.schedule.records import Line, Outcome, SlotsRecord, dump_slots, load_slots, slots_key
from leasekit.schedule.store_time import StoreTime
from leasekit.schedule.times import Schedule
from leasekit.store import Absent, At, Compare, Delete, Entry, Get, Op, Put
from leasekit.tenure import Tenure

TIMEOUT_S = 5.0
FINISH_TIMEOUT_S = 5.0
STOPPED_HERE = "stop"
"""The wish of a worker that ends, and stops its runs. It never stands in the store."""

Planner = Callable[[View], plan.Step | plan.Refuse]


@dataclass(frozen=True, slots=True)
class Look:
    """The record and the leaders, as of one revision."""

    view: View
    entry: Entry | None
    leaders: dict[str, tuple[Entry, int]]
    """By election: the `leader` entry, and the token."""
    revision: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A slot that is this process's to run, and the leadership that the run is."""

    slot: datetime
    attempt: int
    election: ElectionCore
    tenure: Tenure


class Claims:
    """One job as one process sees it."""

    def __init__(
        self, name: str, *, connection: Connection, id: str | None, policy: Policy, schedule: Schedule | None
    ) -> None:
        self.policy = policy
        self.schedule = schedule
        self.connection = connection
        self._given_id = id
        self.own = self._election(name)
        self._key = slots_key(name)
        self._times: tuple[int, StoreTime] | None = None

    @property
    def name(self) -> str:
        """The job's name."""
        return self.own.name

    @property
    def time(self) -> StoreTime:
        """What time it is; asked anew after a fork."""
        if self._times is None or self._times[0] != os.getpid():
            self._times = (
                os.getpid(),
                StoreTime(
                    self.connection.store,
                    self.connection.clock,
                    max_skew_s=self.policy.max_skew_s,
                    unchecked=self.policy.allow_unchecked_clock,
                ),
            )
        return self._times[1]

    async def look(self, *elections: str) -> Look:
        """One transaction; a second one where runs stand in elections of their own (`overlap="allow"`)."""
        look = await self._look({self.name, *elections})
        record = look.view.record
        beside = {line.election for line in record.unfinished if line.election} if record is not None else set()
        if beside <= {self.name, *elections}:
            return look
        return await self._look({self.name, *elections, *beside})

    async def record(self) -> SlotsRecord | None:
        """The record alone, by a linearizable read."""
        entry = await self.connection.store.get(self._key, timeout_s=READ_TIMEOUT_S)
        return None if entry is None else load_slots(entry.value)

    async def write(self, look: Look, record: SlotsRecord) -> None:
        """Put the record if nobody was quicker. Of elections whose runs were written off nothing is left."""
        over = {line.election for line in look.view.dead if line.election not in (None, self.name)}
        leftovers = [Delete(Keys(election).history) for election in sorted(filter(None, over))]
        await self._put(look, record, leftovers=leftovers)

    async def cancel(self, look: Look, token: int) -> None:
        """Ask the run of this token to end, as `leasekit resign` does."""
        for election, (entry, leading) in look.leaders.items():
            if leading == token:
                keys = Keys(election)
                request = RequestRecord(token=token, action="resign", to=None)
                put = Put(keys.request, records.dump_request(request))
                unchanged = At(keys.leader, entry.revision)
                await self.connection.store.transact((unchanged,), (put,), timeout_s=TIMEOUT_S)

    async def start(self, start: Start, planner: Planner) -> Claimed | None:
        """Win the run's leadership and claim the slot. None: somebody was quicker, or is at it.

        `planner` is asked again once the leadership is won, since only what is seen from then on is certain.
        """
        election = self._election_of(start.slot)
        if election.elector().tenure is not None:  # a run of this process, which is just ending
            return None
        tenure = claimed = None
        try:
            tenure = await election.try_campaign()
            if tenure is not None:
                claimed = await self._claim(election, tenure, planner)
        finally:
            if claimed is None:
                await self._let_go(election, tenure)
        return claimed

    async def finish(self, run: Claimed, outcome: Outcome, detail: str | None) -> bool:
        """Write down how the run ended, then let go of its leadership. The work has stopped.

        False: the store could not be reached while this was the leader, or another was quicker to take the run for lost.
        One that is to be attempted again is left without an end, to be found.
        """
        again = outcome is Outcome.LOST and self.policy.guarantee == "at_least_once" and not _was_asked(run.tenure)
        try:
            return again or await self._write_end(run, outcome, detail)
        finally:
            await run.election.release(run.tenure, RELEASE_TIMEOUT_S)
            if run.election is not self.own:
                await self._clear(run.election)

    async def _look(self, elections: set[str]) -> Look:
        named = sorted(elections)
        ops: list[Op] = [Get(self._key), *(Get(Keys(election).leader) for election in named)]
        committed = await self.connection.store.transact((), ops, timeout_s=READ_TIMEOUT_S)
        assert committed is not None, "a transaction that compares nothing is not refused"
        (found, *leaders) = committed.reads
        entry = found[0] if found else None
        leading = {}
        for election, entries in zip(named, leaders, strict=True):
            for leader in entries:
                held = records.load_leader(leader.value)
                if isinstance(held, LeaderRecord):
                    leading[election] = (leader, held.base + leader.revision)
        record = None if entry is None else load_slots(entry.value)
        view = View(record, {token for _, token in leading.values()}, self.time.now())
        return Look(view, entry, leading, committed.revision)

    async def _claim(self, election: ElectionCore, tenure: Tenure, planner: Planner) -> Claimed | None:
        attempt = 0
        while tenure.loss is None:
            attempt += 1
            try:
                look = await self.look(election.name)
                if (mine := _line_of(look.view.record, tenure.token)) is not None:  # an answer was lost
                    return Claimed(mine.slot, mine.attempt, election, tenure)
                step = planner(look.view)
                leader, token = look.leaders.get(election.name, (None, None))
                if not isinstance(step, Start) or leader is None or token != tenure.token:
                    return None
                if self._election_of(step.slot).name != election.name:
                    return None
                record = plan.claimed(step, self._line(election, tenure), self.schedule)
                if await self._put(look, record, (At(election.keys.leader, leader.revision),)):
                    return Claimed(step.slot, step.attempt, election, tenure)
            except retry.UNANSWERED:
                await asyncio.sleep(retry.pause_s(attempt, self.connection.random))
        return None

    async def _put(
        self, look: Look, record: SlotsRecord, also: Sequence[Compare] = (), leftovers: Sequence[Delete] = ()
    ) -> bool:
        unchanged = Absent(self._key) if look.entry is None else At(self._key, look.entry.revision)
        ops: list[Op] = [Put(self._key, dump_slots(record)), *leftovers]
        return await self.connection.store.transact((unchanged, *also), ops, timeout_s=TIMEOUT_S) is not None

    async def _write_end(self, run: Claimed, outcome: Outcome, detail: str | None) -> bool:
        clock, store = self.connection.clock, self.connection.store
        until = clock.now().plus(max(FINISH_TIMEOUT_S, run.tenure.remaining_s))
        attempt = 0
        while not clock.now().reached(until):
            attempt += 1
            try:
                entry = await store.get(self._key, timeout_s=READ_TIMEOUT_S)
                if entry is None:
                    return False
                record = load_slots(entry.value)
                ended = record.ended(run.tenure.token, outcome, detail, records.utc(clock.wall_s()))
                if ended is record:
                    line = _line_of(record, run.tenure.token)
                    return line is not None and line.outcome is outcome
                unchanged, put = At(self._key, entry.revision), Put(self._key, dump_slots(ended))
                if await store.transact((unchanged,), (put,), timeout_s=TIMEOUT_S) is not None:
                    return True
            except retry.UNANSWERED:
                await asyncio.sleep(retry.pause_s(attempt, self.connection.random))
        return False

    async def _let_go(self, election: ElectionCore, tenure: Tenure | None) -> None:
        """The slot was not claimed here. Without a leadership there is nothing in the store to clear away."""
        if tenure is not None:
            await election.resign(tenure, RELEASE_TIMEOUT_S)
        if election is not self.own:
            await (self.connection.forget_election(election.name) if tenure is None else self._clear(election))

    async def _clear(self, election: ElectionCore) -> None:
        """A run beside others has an election of its own, which is over with it."""
        with contextlib.suppress(LeasekitError):
            await self.connection.forget_election(election.name)
            key = Delete(election.keys.history)
            await self.connection.store.transact((), (key,), timeout_s=TIMEOUT_S)

    def _line(self, election: ElectionCore, tenure: Tenure) -> Line:
        return Line(
            slot=datetime.fromtimestamp(0, UTC),  # `plan.claimed` says which
            outcome=Outcome.CLAIMED,
            token=tenure.token,
            election=election.name,
            id=tenure.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            claimed=records.utc(self.time.now().timestamp()),
        )

    def _election_of(self, slot: datetime) -> ElectionCore:
        if self.policy.overlap != "allow":
            return self.own
        return self._election(f"{self.name}@{slot:%Y%m%dT%H%M%SZ}")

    def _election(self, name: str) -> ElectionCore:
        return ElectionCore(
            name, connection=self.connection, id=self._given_id, ttl_s=self.policy.ttl_s, priority=0, meta=None
        )


def _was_asked(tenure: Tenure) -> bool:
    """Whether an operator, or a later slot, wanted the run to end: then it is not begun again."""
    if tenure.asked is None or tenure.asked.action == STOPPED_HERE:
        return False
    # Asked before its work had begun, it ends at once, unless it was to be transferred to somebody who was not there.
    return tenure.wish is not None or tenure.loss in (LossReason.RESIGNED, LossReason.TRANSFERRED)


def _line_of(record: SlotsRecord | None, token: int) -> Line | None:
    return None if record is None else next((line for line in record.lines if line.token == token), None)
