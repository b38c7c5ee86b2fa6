"""What a worker does in elections: campaign, resign, lead, and watch its own belief."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import Any

from leasekit import aio
from leasekit.clock import SYSTEM_CLOCK
from leasekit.connection import Connection
from leasekit.errors import FencingRejected, LossReason, NotElected, StoreUnavailable
from leasekit.fencing import SqlFence

# Of a look at one's own belief, and of a look whether somebody queues.
_LOOK_EVERY_S = 0.005
_LOCKED_TIMEOUT_S = 10.0


def now_s() -> float:
    """This moment, on the clock that all processes share."""
    return SYSTEM_CLOCK.now().boot_s


@dataclass(slots=True)
class Belief:
    """What a process believed of one leadership, asked again and again."""

    leadership: aio.Leadership
    deadline_s: float = 0.0
    late_s: float = 0.0
    """For how long after its deadline it said that it leads."""
    told_at: float | None = None
    """When the program was told that it is over."""
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """In a thread of its own: nothing of leasekit's runs there, as in a program that computes."""
        while not self.over.is_set():
            asked_at = now_s()
            if self.leadership.valid:
                if asked_at > self.deadline_s > 0:
                    self.late_s = max(self.late_s, asked_at - self.deadline_s)
                if (left_s := self.leadership.remaining_s) > 0:
                    self.deadline_s = now_s() + left_s
            self.over.wait(_LOOK_EVERY_S)

    def told(self, _reason: LossReason) -> None:
        """The callback."""
        self.told_at = now_s()


class Candidacies:
    """Each method is a request; arguments and answers are JSON."""

    def __init__(self, connection: Connection) -> None:
        self._store = aio.ConnectedStore(connection)
        self._led: dict[str, aio.Leadership] = {}
        self._elections: dict[str, aio.Election] = {}
        self._beliefs: dict[str, Belief] = {}

    async def campaign(self, election: str, ttl_s: float, timeout_s: float) -> dict[str, Any]:
        """Until elected: when, and the token."""
        if election not in self._elections:
            self._elections[election] = aio.Election(election, self._store, ttl_s=ttl_s)
        contest = self._elections[election]
        try:
            leadership = self._led[election] = await contest.campaign(timeout_s=timeout_s)
        except NotElected as error:
            raise StoreUnavailable(str(error)) from error
        return {"at": now_s(), "token": leadership.token}

    async def queued(self, election: str, timeout_s: float) -> dict[str, Any]:
        """Until the candidate of this process stands in the queue."""
        contest = self._elections[election]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while contest.id not in {candidate.id for candidate in await contest.candidates()}:
                    await asyncio.sleep(_LOOK_EVERY_S)
                return {}
        raise StoreUnavailable(f"the candidate has not come into the queue within {timeout_s:g} s")

    async def resign(self, election: str) -> dict[str, Any]:
        """When it began to."""
        began_at = now_s()
        await self._led.pop(election).resign()
        return {"at": began_at}

    async def leads(self, election: str, token: int) -> dict[str, Any]:
        """Whether the leadership of that token still is."""
        leadership = self._led[election]
        return {"leads": leadership.valid and leadership.token == token}

    async def pairs(self, election: str, ttl_s: float, count: int) -> dict[str, Any]:
        """Acquire and release, again and again."""
        contest = aio.Election(election, self._store, ttl_s=ttl_s)
        took_s = []
        for _ in range(count):
            began_at = now_s()
            leadership = await contest.campaign()
            await leadership.resign()
            took_s.append(now_s() - began_at)
        return {"took_s": took_s}

    async def believe(self, election: str) -> dict[str, Any]:
        """From now on watch what this process believes."""
        belief = self._beliefs[election] = Belief(self._led[election])
        belief.leadership.add_lost_callback(belief.told)
        threading.Thread(target=belief.watch, name=f"belief-{election}", daemon=True).start()
        return {"token": belief.leadership.token, "leads": belief.leadership.valid}

    async def believed(self, election: str, timeout_s: float) -> dict[str, Any]:
        """Once the program was told that it is over: when, and for how long it was believed too long."""
        belief = self._beliefs[election]
        reason = await belief.leadership.wait_lost(timeout_s)
        if reason is None:
            raise StoreUnavailable(f"after a pause the leadership is not over within {timeout_s:g} s")
        await asyncio.sleep(2 * _LOOK_EVERY_S)  # some more answers
        belief.over.set()
        return {"late_s": belief.late_s, "told_at": belief.told_at}

    async def write(self, election: str, token: int, database: str) -> dict[str, Any]:
        """Write with this token into the fenced database, without another look at the leadership."""
        return {"accepted": await asyncio.to_thread(_write, election, token, database)}


def _write(election: str, token: int, file: str) -> bool:
    fence = SqlFence(election)
    with contextlib.closing(sqlite3.connect(file, timeout=_LOCKED_TIMEOUT_S)) as database:
        try:
            with database:
                fence.check(database, token)
                database.execute("INSERT INTO line (election, token) VALUES (?, ?)", (election, token))
        except FencingRejected:
            return False
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the fenced database: {error}") from error
    return True


def make_database(file: str) -> None:
    """What is written to, with its fence."""
    with contextlib.closing(sqlite3.connect(file, timeout=_LOCKED_TIMEOUT_S)) as database, database:
        SqlFence("any").create_table(database)
        database.execute("CREATE TABLE line (number INTEGER PRIMARY KEY, election TEXT, token INTEGER)")
