"""Who is there to run a job: each worker shows itself by a key on a lease of its own. No safety rests on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import asdict, dataclass

from leasekit import retry
from leasekit.core.records import Reading, dump_record, load_record, utc
from leasekit.election import READ_TIMEOUT_S, ElectionCore
from leasekit.errors import LeasekitError, LeaseLost
from leasekit.store import Put

TTL_S = 30.0
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that serves a job. `since` is UTC, and for people."""

    id: str
    host: str
    pid: int
    since: str


async def workers_of(election: ElectionCore) -> list[Worker]:
    """Who serves the job now, in the order of their ids. One who died without a word is seen for half a minute more."""
    found = await election.connection.store.scan(f"{election.name}/workers/", timeout_s=READ_TIMEOUT_S)
    return [_load(entry.value) for entry in found.entries]


class Registration:
    """Shows this process among a job's workers while it is kept."""

    def __init__(self, election: ElectionCore) -> None:
        self._election = election
        self._store = election.connection.store
        capabilities = self._store.capabilities
        self._ttl_s = min(max(TTL_S, capabilities.ttl_min_s), capabilities.ttl_max_s)
        since = utc(election.connection.clock.wall_s())
        self._worker = Worker(election.id, socket.gethostname(), os.getpid(), since)
        self._lease_id: str | None = None
        self._shown = False

    async def keep(self) -> None:
        """Until cancelled. While the store does not answer it goes on asking."""
        failures = 0
        try:
            while True:
                try:
                    await self._show()
                    failures = 0
                except LeaseLost:
                    self._lease_id, self._shown = None, False
                    continue
                except retry.UNANSWERED:
                    failures += 1
                pause_s = retry.pause_s(failures, self._election.connection.random) if failures else self._ttl_s / 3
                await asyncio.sleep(pause_s)
        finally:
            if self._lease_id is not None:
                with contextlib.suppress(LeasekitError):
                    await self._store.revoke(self._lease_id, timeout_s=1.0)

    async def _show(self) -> None:
        if self._lease_id is not None and self._shown:
            await self._store.renew(self._lease_id, timeout_s=TIMEOUT_S)
            return
        if self._lease_id is None:
            self._lease_id = (await self._store.grant(self._ttl_s, timeout_s=TIMEOUT_S)).id
        put = Put(f"{self._election.name}/workers/{self._worker.id}", dump_record(asdict(self._worker)), self._lease_id)
        await self._store.transact((), (put,), timeout_s=TIMEOUT_S)
        self._shown = True


def _load(value: bytes) -> Worker:
    data = load_record("worker", value)
    with Reading("worker"):
        return Worker(id=str(data["id"]), host=str(data["host"]), pid=int(data["pid"]), since=str(data["since"]))
