"""The one thread that touches the disk while a member runs. Loop in front, fdatasync behind, a queue in between.

All writes that are waiting are made durable by one sync (group commit): under load they are many, alone it is one, and
nobody waits for a timer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from leasekit.backends.raft.core.types import MemberId, Snapshot, Write
from leasekit.backends.raft.member.met import Met
from leasekit.backends.raft.server import Freeze
from leasekit.backends.raft.wal.disk import RealDisk
from leasekit.backends.raft.wal.log import Wal
from leasekit.clock import SYSTEM_CLOCK

_LOG = logging.getLogger("leasekit.raft")
_MEASURE_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the data directory takes, and what is left beside it."""

    log_bytes: int = 0
    free_bytes: int = 0


class Storage:
    """A log and the thread that writes it. The callbacks are called on the loop.

    After a failure nothing is written any more, and `failed` was called with it once.
    """

    def __init__(
        self,
        wal: Wal,
        disk: RealDisk,
        met: Met,
        directory: Path,
        *,
        persisted: Callable[[int], None],
        saved: Callable[[Snapshot], None],
        was_met: Callable[[MemberId], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.usage = Usage()
        self._wal = wal
        self._disk = disk
        self._met = met
        self._directory = directory
        self._persisted, self._saved, self._was_met, self._failed = persisted, saved, was_met, failed
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Write | Snapshot | MemberId | None] = queue.SimpleQueue()
        self._measured_at = SYSTEM_CLOCK.now()
        self._encoder = ThreadPoolExecutor(1, "leasekit-raft-snapshot")
        self._thread = threading.Thread(target=self._run, name="leasekit-raft-disk", daemon=True)
        self._thread.start()

    def write(self, write: Write) -> None:
        """Make it durable; `persisted` is then told its number."""
        self._jobs.put(write)

    def freeze(self, freeze: Freeze) -> None:
        """Make the snapshot durable and delete what it covers; `saved` is then told."""
        # In another thread than the writes: the encoding of a large state takes seconds.
        self._encoder.submit(self._encode, freeze)

    def remember(self, member: MemberId) -> None:
        """Note durably that this member was heard from; `was_met` is then told."""
        self._jobs.put(member)

    async def aclose(self, timeout_s: float) -> None:
        """Write what is waiting, and let go of the directory. A disk that hangs is given up after `timeout_s`."""
        self._encoder.shutdown(wait=False, cancel_futures=True)
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, timeout_s)
        if self._thread.is_alive():
            _LOG.error("the disk did not answer within %g s: closing without it", timeout_s)
            return
        self._wal.close()
        self._disk.close()

    def _run(self) -> None:
        try:
            self._measure()
            while (jobs := self._next()) is not None:
                self._do(jobs)
        except BaseException as error:  # noqa: BLE001 (whatever it is, nothing is written any more)
            self._measure()
            self._tell(self._failed, error)

    def _next(self) -> list[Write | Snapshot | MemberId] | None:
        """Everything that waits, at least one; None at the end."""
        while True:
            try:
                job = self._jobs.get(timeout=_MEASURE_S)
                break
            except queue.Empty:
                self._measure()
        jobs = []
        while job is not None:
            jobs.append(job)
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs
        self._jobs.put(None)  # for the next look
        return jobs or None

    def _do(self, jobs: list[Write | Snapshot | MemberId]) -> None:
        writes: list[Write] = []
        for job in jobs:
            if isinstance(job, Write):
                writes.append(job)
                continue
            self._write(writes)
            writes = []
            if isinstance(job, Snapshot):
                self._wal.compact(job)
                self._tell(self._saved, job)
            else:
                self._met.add(job)
                self._tell(self._was_met, job)
        self._write(writes)
        if self._measured_at.until(SYSTEM_CLOCK.now()) >= _MEASURE_S:
            self._measure()

    def _write(self, writes: list[Write]) -> None:
        if writes:
            number = writes[-1].number
            self._wal.write_all(writes, durable=lambda: self._tell(self._persisted, number))

    def _encode(self, freeze: Freeze) -> None:
        try:
            self._jobs.put(freeze.encode())
        except BaseException as error:  # noqa: BLE001 (a member that cannot do this has a fault)
            self._tell(self._failed, error)

    def _measure(self) -> None:
        """For people alone, so a failure here is none."""
        self._measured_at = SYSTEM_CLOCK.now()
        try:
            with os.scandir(self._directory) as entries:
                log_bytes = sum(entry.stat().st_size for entry in entries if entry.is_file())
            room = os.statvfs(self._directory)
        except OSError:
            return  # a file was deleted in between, or the disk fails: the next write will tell
        self.usage = Usage(log_bytes, room.f_bavail * room.f_frsize)

    def _tell(self, callback: Callable[[T], None], what: T) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, what)
        except RuntimeError:
            _LOG.debug("the loop has ended before the disk: %r is told to nobody", callback)
