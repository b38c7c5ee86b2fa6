"""`leasekit slots`: what became of a job's slots; with `--next`, what is to come and who is there to run it."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any

import click

from leasekit.cli import render
from leasekit.cli.options import one_of, store_options
from leasekit.cli.session import Session, note, session
from leasekit.clock import SYSTEM_CLOCK
from leasekit.election import DEFAULT_TTL_S
from leasekit.errors import ConfigError
from leasekit.schedule.job import Job
from leasekit.schedule.records import LINES_KEPT, SlotsRecord, line_as_json
from leasekit.schedule.times import format_slot
from leasekit.schedule.workers import Worker

COLUMNS = ("slot", "outcome", "count", "attempt", "token", "id", "claimed", "ended", "detail")
NEXT_COLUMNS = ("slot", "local", "in_s")
TABLE_COLUMNS = ("slot", "local", "in")
WORKER_COLUMNS = ("id", "host", "pid", "since")
NEXT_MAX = 1000


@click.command()
@click.argument("name")
@click.option(
    "-n", "--limit", type=click.IntRange(1, LINES_KEPT), default=20, show_default=True, help="How many at most."
)
@click.option(
    "--next",
    "count",
    type=click.IntRange(1, NEXT_MAX),
    metavar="N",
    help="Show the next N instead, and who serves them.",
)
@click.option("--schedule", help="For --next: by this schedule, not by the one that workers have.")
@click.option("--tz", metavar="ZONE", help="By whose clocks --schedule is meant.  [default: UTC]")
@one_of(*render.FORMATS)
@store_options
@click.pass_context
def slots(
    ctx: click.Context, name: str, limit: int, count: int | None, schedule: str | None, tz: str | None, output: str
) -> None:
    """List what became of the last slots of job NAME, the newest last. The store keeps 64.

    A slot is a time of the schedule, in UTC. Outcomes: claimed (its run goes on, or broke off and nobody has looked
    yet), done, failed, skipped (an earlier run went on), missed (nobody was there in time), lost (the run broke off).
    Skipped and missed slots that follow each other share a line, which has the last one's time and their count.
    """
    if count is None and (schedule is not None or tz is not None):
        raise click.UsageError("--schedule and --tz go with --next")
    if tz is not None and schedule is None:
        raise click.UsageError("--tz goes with --schedule")
    with session(ctx) as store:
        record = store.run(_job(store, name).record())
        if count is not None:
            text = _coming(store, name, record, count, schedule, tz, output)
        else:
            text = _past(name, record, limit, output)
    if text:
        click.echo(text)


def _job(store: Session, name: str, schedule: str | None = None, tz: str | None = None) -> Job:
    ttl_s = max(DEFAULT_TTL_S, store.connection.store.capabilities.ttl_min_s)
    # Nothing is claimed here, so a store that tells no time does no harm.
    return Job(name, schedule, connection=store.connection, tz=tz, id=None, ttl_s=ttl_s, allow_unchecked_clock=True)


def _past(name: str, record: SlotsRecord | None, limit: int, output: str) -> str:
    lines = [line_as_json(line) for line in record.lines[-limit:]] if record is not None else []
    if output == "json":
        return render.document(**_about(name, record), slots=lines)
    if record is None:
        note(f"no worker has ever served {name!r}")
    return render.rows(output, "slots", lines, COLUMNS)


def _coming(
    store: Session,
    name: str,
    record: SlotsRecord | None,
    count: int,
    schedule: str | None,
    tz: str | None,
    output: str,
) -> str:
    if schedule is None:
        if record is None or record.schedule is None:
            raise ConfigError("--schedule", f"is needed, since no worker has ever served {name!r} by one")
        schedule, tz = record.schedule, record.tz
    job = _job(store, name, schedule, tz)
    upcoming, workers = store.run(job.upcoming(count)), store.run(job.workers())
    assert job.schedule is not None
    now = datetime.fromtimestamp(SYSTEM_CLOCK.wall_s(), UTC)
    zone = job.schedule.zone
    rows = [_row(slot, zone, (slot - now).total_seconds()) for slot in upcoming]
    if output == "json":
        about = {"job": name, "schedule": job.schedule.text, "tz": job.schedule.tz}
        return render.document(**about, next=rows, workers=[_shown(worker) for worker in workers])
    if not workers:
        note(f"no worker serves {name!r} now (those that a crontab starts with --once are not there in between)")
    if output != "table":
        return render.rows(output, "next", rows, NEXT_COLUMNS)
    text = render.rows(output, "next", [{**row, "in": render.duration(row["in_s"])} for row in rows], TABLE_COLUMNS)
    if workers:
        text += "\n\n" + render.rows(output, "workers", [_shown(worker) for worker in workers], WORKER_COLUMNS)
    return text


def _about(name: str, record: SlotsRecord | None) -> dict[str, Any]:
    if record is None:
        return {"job": name, "schedule": None, "tz": None, "mark": None}
    return {"job": name, "schedule": record.schedule, "tz": record.tz, "mark": format_slot(record.mark)}


def _row(slot: datetime, zone: tzinfo, in_s: float) -> dict[str, Any]:
    return {"slot": format_slot(slot), "local": slot.astimezone(zone).isoformat(), "in_s": round(max(0.0, in_s), 1)}


def _shown(worker: Worker) -> dict[str, Any]:
    return {"id": worker.id, "host": worker.host, "pid": worker.pid, "since": worker.since}
