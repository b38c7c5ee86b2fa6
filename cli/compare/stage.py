"""One store under comparison: its servers if they are ours, and the processes that contend over it."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from leasekit import urls
from leasekit.cli.compare.children import Children, Worker
from leasekit.cli.compare.counting import CountingDoor
from leasekit.cli.compare.servers import Servers
from leasekit.cli.compare.wire import READERS

_READY_TIMEOUT_S = 60.0
_CHECK_EVERY_S = 0.1
_LEAVE_TIMEOUT_S = 3.0
_LEADER_TIMEOUT_S = 20.0
_LOOK_EVERY_S = 0.02
# What would change the measured processes' ways, or write elsewhere.
_NOT_FOR_WORKERS = ("LEASEKIT_STORE", "LEASEKIT_JOURNAL")
_CREDENTIALS = ("LEASEKIT_", "CONSUL_")


class Stage:
    """Where the scenarios play.

    Args:
        url: the store's.
        servers: None for a store that was given: nothing is killed there, and what was written is deleted again.
        ttl_s: what is asked for in the scenarios.
        mark: begins the name of every key, election and process of this run.
    """

    def __init__(
        self, url: str, servers: Servers | None, *, children: Children, folder: Path, ttl_s: float, mark: str
    ) -> None:
        self.url = url
        self.servers = servers
        self.ttl_s = ttl_s
        self.granted_ttl_s = ttl_s
        self.expires_within_s = ttl_s
        """After a leader's last renewal. This and the granted ttl are known once the store was asked."""
        self.folder = folder
        self._children = children
        self._mark = mark
        self._numbers = itertools.count(1)
        self._workers: list[Worker] = []

    @property
    def is_file(self) -> bool:
        """Whether the processes lock each other out, with no server in between."""
        return urls.parse(self.url).scheme == "sqlite"

    def election(self, what: str) -> str:
        """A name that was not used before."""
        return f"{self._mark}-{what}-{next(self._numbers)}"

    def worker(self, name: str, url: str | None = None) -> Worker:
        """Start another process; it answers once it is up."""
        log = self.folder / f"worker-{next(self._numbers)}.log"
        worker = self._children.worker(name, log, self._environment(url or self.url))
        self._workers.append(worker)
        return worker

    async def end(self, *workers: Worker) -> None:
        """Let these give back what they hold, and end them."""
        leaving = [worker.send("leave") for worker in workers]
        await asyncio.wait(leaving, timeout=_LEAVE_TIMEOUT_S)
        for worker in workers:
            self.kill(worker)

    async def end_all(self) -> None:
        """The same with all of them."""
        if self._workers:
            await self.end(*self._workers)

    def kill(self, worker: Worker) -> None:
        """SIGKILL."""
        self._workers.remove(worker)
        worker.kill()

    def kill_workers(self) -> None:
        """SIGKILL, each."""
        for worker in list(self._workers):
            self.kill(worker)

    def close(self) -> None:
        """Kill all that was started here; what is in a store of ours is gone with it."""
        self.kill_workers()
        if self.servers is not None:
            self.servers.kill_all()

    async def serving(self, worker: Worker) -> None:
        """Until our servers serve, all of them. Raises StoreUnavailable, saying what a server said when it ended."""
        if self.servers is None:
            return
        ready = worker.send("ready", servers=self.servers.size, timeout_s=_READY_TIMEOUT_S)
        while not ready.done():
            self.servers.check()
            await asyncio.wait([ready], timeout=_CHECK_EVERY_S)
        await ready

    async def store_leader(self, worker: Worker) -> str | None:
        """The address of the server that leads the store; of a single one, its own. None where there is none."""
        give_up_at = asyncio.get_running_loop().time() + _LEADER_TIMEOUT_S
        while True:
            endpoints: list[dict[str, Any]] = (await worker.ask("probe"))["endpoints"]
            living = [endpoint for endpoint in endpoints if endpoint["error"] is None]
            leaders = [endpoint for endpoint in living if endpoint["is_store_leader"]]
            if len(leaders) == 1 or (len(endpoints) == 1 and living):
                return str((leaders or living)[0]["endpoint"])
            if asyncio.get_running_loop().time() > give_up_at:
                return None
            await asyncio.sleep(_LOOK_EVERY_S)

    @asynccontextmanager
    async def counted(self, worker: Worker) -> AsyncIterator[tuple[str, CountingDoor | None]]:
        """A URL by which all goes through one door, to the server that leads the store, where it is counted.

        Where that cannot be (a file, TLS), the store's own URL and no door.
        """
        parsed = urls.parse(self.url)
        leader = await self.store_leader(worker) if parsed.scheme in READERS else None
        if leader is None:
            yield self.url, None
            return
        async with CountingDoor(leader, READERS[parsed.scheme]) as door:
            yield through(self.url, door.address), door

    async def sweep(self) -> None:
        """Leave nothing in a store that is not ours. By a process of its own, so that none has to be well."""
        if self.servers is None:
            sweeper = self.worker("sweeper")
            await sweeper.ask("clean", prefix=self._mark)
            await self.end(sweeper)

    def _environment(self, url: str) -> dict[str, str]:
        # What was given needs the user's credentials; a store of ours must not be shown any.
        unwanted = _NOT_FOR_WORKERS if self.servers is None else _CREDENTIALS
        return {name: text for name, text in os.environ.items() if not name.startswith(unwanted)} | {
            "LEASEKIT_STORE": url
        }


def through(url: str, address: str) -> str:
    """The same store by way of another address."""
    parts = urlsplit(url)
    userinfo, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{userinfo}{at}{address}").geturl()
