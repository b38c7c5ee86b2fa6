"""`leasekit cron`: run a command once for each firing of a schedule, on one of many machines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from click.core import ParameterSource

from leasekit.cli.options import Seconds, Wrapper, store_options
from leasekit.cli.run import cannot_start, checked_grace, environment
from leasekit.cli.session import Session, session, tell_of_trouble
from leasekit.cli.slot_run import Terms
from leasekit.errors import ConfigError
from leasekit.schedule.job import DEFAULTS, Job
from leasekit.schedule.plan import Guarantee, Missed, Overlap

F = TypeVar("F", bound=Callable[..., Any])


def _policy_options(function: F) -> F:
    """Adds an option for each field of `Policy`, of the same name."""
    options = (
        click.option(
            "--overlap",
            type=click.Choice(get_args(Overlap)),
            default=DEFAULTS.overlap,
            show_default=True,
            help="If an earlier run still goes on: leave the slot out, wait, have that run stopped, or run beside it.",
        ),
        click.option(
            "--missed",
            type=click.Choice(get_args(Missed)),
            default=DEFAULTS.missed,
            show_default=True,
            help="Of slots that nobody was there for: run the latest, none, or all. Not with --once.",
        ),
        click.option(
            "--guarantee",
            type=click.Choice(get_args(Guarantee)),
            default=DEFAULTS.guarantee,
            show_default=True,
            help="If a run is lost (crash, restart): leave it at that, or run the slot again.",
        ),
        _seconds("--max-late", DEFAULTS.max_late_s, "How late a run may begin."),
        _seconds("--max-skew", DEFAULTS.max_skew_s, "How far ahead of the store's time a slot may be claimed."),
        _seconds("--jitter", DEFAULTS.jitter_s, "Begin up to S later, each slot by its own delay. Not with --once."),
        click.option(
            "--ttl",
            "ttl_s",
            type=Seconds(positive=True),
            default=f"{DEFAULTS.ttl_s:g}",
            show_default=True,
            metavar="S",
            help="Time to live of a run's lease: how long a crash goes unnoticed.",
        ),
        click.option(
            "--allow-unchecked-clock", is_flag=True, help="Trust this machine's clock if the store has no time."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _seconds(name: str, default_s: float, about: str) -> Callable[[F], F]:
    field = name.removeprefix("--").replace("-", "_") + "_s"
    return click.option(
        name, field, type=Seconds(), default=f"{default_s:g}", show_default=True, metavar="S", help=about
    )


@click.command(cls=Wrapper)
@click.argument("name")
@click.argument("schedule", callback=lambda _ctx, _param, given: _in_quotes(given))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@click.option("--tz", metavar="ZONE", help="By whose clocks SCHEDULE is meant, as Europe/Paris.  [default: UTC]")
@click.option("--once", is_flag=True, help="Run the slot of now and exit: for a crontab or a timer on each machine.")
@_policy_options
@click.option(
    "--grace",
    "grace_s",
    type=Seconds(),
    metavar="S",
    help="Between TERM and KILL when a run is stopped.  [default: a third of the ttl, at most 5]",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Append a JSON line for each run."
)
@click.option("--id", help="This worker's id.  [default: host-pid-random]")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr; so it does on a terminal.")
@store_options
@click.pass_context
def cron(
    ctx: click.Context,
    /,
    name: str,
    schedule: str,
    command: tuple[str, ...],
    tz: str | None,
    once: bool,
    grace_s: float | None,
    report: Path | None,
    id: str | None,
    verbose: bool,
    **policy: Any,
) -> None:
    """Run CMD once for each time that SCHEDULE names, on one of the machines that are given the same line.

    SCHEDULE is one word to the shell: "0 3 * * *", "*/10 0 3 * * *" (seconds first), @daily, "every 30s". CMD runs as
    under `leasekit run`, stopped before another could run it, with LEASEKIT_SLOT (the time that it is run for, UTC) and
    LEASEKIT_ATTEMPT set as well. `leasekit slots NAME` lists what became of each slot.

    A worker goes on after a CMD that failed, waits while the store does not answer, and gives CMD no input. It ends on
    a signal, and CMD with it: with code 0 on TERM, as services do, else with 128 + the signal's number.

    With --once, the exit code is that of CMD if it ran here; 0, without a word, if another has claimed the slot; 75 if
    nobody runs it (too late, or skipped for an earlier run); 79 if CMD was stopped.
    """
    for field in ("missed", "jitter_s"):
        if once and ctx.get_parameter_source(field) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{field.removesuffix('_s')} is a worker's: with --once the crontab says when")
    verbose = verbose or sys.stderr.isatty()
    grace_s = checked_grace(grace_s, policy["ttl_s"])
    if report is not None and not report.absolute().parent.is_dir():
        raise ConfigError("--report", f"{report.absolute().parent} is no directory: make it first")
    tell_of_trouble(logging.INFO if verbose else logging.WARNING)
    with session(ctx) as store:
        job = Job(name, schedule, connection=store.connection, tz=tz, id=id, **policy)
        terms = Terms(
            command=command,
            environment=environment(store),
            ttl_s=policy["ttl_s"],
            grace_s=grace_s,
            adopt=once or policy["overlap"] != "allow",
            verbose=verbose,
            report=report,
        )
        if (code := cannot_start(command[0])) is None:
            code = _run_once(store, job, terms) if once else _serve(job, terms, policy["overlap"])
    ctx.exit(code)


def _in_quotes(schedule: str) -> str:
    """The schedule. Said before anything is said of what follows, which is the rest of it where the quotes are missing."""
    if len(schedule.split()) == 1 and not schedule.startswith("@"):
        raise ConfigError("SCHEDULE", f"{schedule!r} is none: write it in quotes, for example '0 3 * * *'")
    return schedule


def _run_once(store: Session, job: Job, terms: Terms) -> int:
    from leasekit.cli.cron_once import run_once

    return run_once(store, job, terms)


def _serve(job: Job, terms: Terms, overlap: str) -> int:
    from leasekit.cli.cron_worker import serve

    return serve(job, terms, side_by_side=overlap == "allow")
