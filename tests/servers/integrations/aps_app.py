"""A process with an APScheduler that notes each run of its job in a file: `aps_app.py background|asyncio NOTES EXECUTED`.

In the file EXECUTED it notes each firing that it executed, those included that were another's.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from apscheduler.events import EVENT_JOB_EXECUTED  # type: ignore[import-untyped]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]

import leasekit
from leasekit import aio
from leasekit.integrations.apscheduler import ClaimingExecutor

_kind, _notes, _executed = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])


def _append(file: Path, line: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def _note(run: Any) -> None:
    _append(_notes, f"{run.slot.isoformat()} {os.getpid()} {run.token}")


def _note_execution(event: Any) -> None:
    _append(_executed, event.scheduled_run_time.isoformat())


def tick() -> None:
    """The job of a BackgroundScheduler."""
    _note(leasekit.current_run())


async def tick_async() -> None:
    """The job of an AsyncIOScheduler."""
    _note(aio.current_run())


def _scheduler(kind: type[Any], job: Any) -> Any:
    scheduler = kind(executors={"default": ClaimingExecutor()})
    # As late as may be: what a busy machine delays is to be claimed all the same.
    scheduler.add_job(job, CronTrigger(second="*"), id="tick", misfire_grace_time=None, coalesce=False)
    scheduler.add_listener(_note_execution, EVENT_JOB_EXECUTED)
    scheduler.start()
    print("up", flush=True)
    return scheduler


async def _asyncio() -> None:
    scheduler = _scheduler(AsyncIOScheduler, tick_async)
    await asyncio.to_thread(sys.stdin.read)
    scheduler.shutdown()


if _kind == "background":
    running = _scheduler(BackgroundScheduler, tick)
    sys.stdin.read()
    running.shutdown()
else:
    asyncio.run(_asyncio())
