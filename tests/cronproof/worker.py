"""One process that serves the jobs and writes down what it does, for `judge` to look at.

Usage: worker.py URL RECORD ID [--ttl S] [--body S]. Appends JSON lines to RECORD. Ends on SIGTERM.

Its wall clock is wrong, so nothing here reads it: instants are CLOCK_BOOTTIME's. Nor does anything sleep by `time.sleep`,
which libfaketime breaks while it leaves the monotonic clock alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import leasekit
from leasekit.clock import SYSTEM_CLOCK
from leasekit.schedule.current import current_run
from leasekit.schedule.jobs import CronJob, cron, serve
from leasekit.schedule.records import load_slots
from leasekit.schedule.times import format_slot
from leasekit.store import Put

PR_SET_PDEATHSIG = 1
ASK_EVERY_S = 0.05


class Record:
    """The file that all workers append to, one line by one write, so that a kill loses nothing."""

    def __init__(self, path: str, id: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._id = id

    def write(self, what: str, **details: object) -> None:
        line = {"what": what, "worker": self._id, "pid": os.getpid(), "boot_s": SYSTEM_CLOCK.now().boot_s, **details}
        os.write(self._file, f"{json.dumps(line)}\n".encode())


def record_claims(store: leasekit.ConnectedStore, record: Record) -> None:
    """Write down each claim before it is sent: so no slot was claimed earlier than the record says."""
    asked = store.connection.store
    transact = asked.transact

    async def recorded(compares: Any, ops: Any, *, timeout_s: float) -> Any:
        for op in ops:
            if isinstance(op, Put) and op.key.endswith("/slots"):
                job = op.key.removesuffix("/slots")
                for line in load_slots(op.value).unfinished:
                    if line.pid == os.getpid():
                        record.write("asks", job=job, slot=format_slot(line.slot), token=line.token)
        return await transact(compares, ops, timeout_s=timeout_s)

    asked.transact = recorded  # type: ignore[method-assign]


def body(record: Record, longest_s: float) -> Callable[[], None]:
    """What a job does: it says that it begins, believes for a while, and says that it has ended."""

    def work() -> None:
        run, leadership = current_run(), leasekit.current()
        about: dict[str, Any] = {
            "job": run.name, "slot": format_slot(run.slot), "attempt": run.attempt, "token": run.token,
        }  # fmt: skip
        record.write("begins", **about)
        end = SYSTEM_CLOCK.now().plus(random.uniform(0, longest_s))
        while not (now := SYSTEM_CLOCK.now()).reached(end):
            leadership.check()
            record.write("believes", **about, asked_s=now.boot_s)
            threading.Event().wait(min(ASK_EVERY_S, max(0.001, now.until(end))))
        leadership.check()
        record.write("ends", **about)

    return work


def jobs(store: leasekit.ConnectedStore, record: Record, ttl_s: float, body_s: float) -> list[CronJob[..., Any]]:
    """Each second at least once, each ten seconds at most once, and each minute, for longer than a lease lives."""

    def job(name: str, schedule: str, guarantee: Any, longest_s: float) -> CronJob[..., Any]:
        decorate = cron(
            name, schedule, store=store, overlap="queue_one", missed="all", guarantee=guarantee, ttl_s=ttl_s
        )
        return decorate(body(record, longest_s))

    return [
        job("second", "every 1s", "at_least_once", body_s),
        job("ten", "every 10s", "at_most_once", 5 * body_s),
        job("minute", "* * * * *", "at_least_once", 2 * ttl_s),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("record")
    parser.add_argument("id")
    parser.add_argument("--ttl", type=float, default=8.0)
    parser.add_argument("--body", type=float, default=0.3)
    given = parser.parse_args()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    record = Record(given.record, given.id)
    with leasekit.connect(given.url) as store:
        record_claims(store, record)
        record.write("started")
        serve(*jobs(store, record, given.ttl, given.body), stop=stop, drain_s=5)
    record.write("ended")


if __name__ == "__main__":
    main()
