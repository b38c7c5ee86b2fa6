"""The command: what is asked for, how it ends, and where the result goes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import click

from leasekit import schemes, urls
from leasekit.cli import exit_codes, render
from leasekit.cli.compare.launch import ENDING
from leasekit.cli.compare.metrics import SCENARIO_NAMES
from leasekit.cli.options import Seconds, Settings, one_of, store_options
from leasekit.core.lease import check_timing
from leasekit.errors import ConfigError

if TYPE_CHECKING:
    from leasekit.cli.compare.results import Comparison
    from leasekit.cli.compare.run import Plan

STORES = ("sqlite", "raft3", "etcd1", "etcd3", "consul1", "consul3")
DEFAULT_TTL_S = 5.0
DEFAULT_ROUNDS = 5


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
    for name in names:
        if name not in STORES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(STORES)}")
    return names


@click.command()
@click.argument("store_urls", nargs=-1, metavar="[URL]...")
@click.option(
    "--with",
    "names",
    callback=_names,
    metavar="NAMES",
    help=f"The stores to start, joined by commas.  [default: {','.join(STORES)}]",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(SCENARIO_NAMES),
    metavar="NAME",
    help=f"Only this one; may be given again: {', '.join(SCENARIO_NAMES)}.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=DEFAULT_ROUNDS,
    show_default=True,
    metavar="N",
    help="How often each is repeated, or some times that.",
)
@click.option(
    "--ttl",
    "ttl_s",
    type=Seconds(positive=True),
    default=f"{DEFAULT_TTL_S:g}",
    show_default=True,
    metavar="S",
    help="The leases' time to live.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page with plots as well.",
)
@click.option(
    "--servers",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Where etcd and Consul are found; or set LEASEKIT_SERVERS; or they are on PATH.",
)
@one_of("table", "json")
@store_options
@click.pass_context
def compare(
    ctx: click.Context,
    store_urls: tuple[str, ...],
    names: tuple[str, ...],
    scenarios: tuple[str, ...],
    rounds: int,
    ttl_s: float,
    html: Path | None,
    servers: Path | None,
    output: str,
) -> None:
    """Measure stores side by side: how long elections, failovers and renewals take, and what they cost.

    Without a URL the stores are started for it, on this machine's loopback and in a temporary directory: SQLite, three
    members of leasekit's own Raft, and one and three servers of etcd and of Consul, where their programs are found.
    That takes about six minutes. Stores that are given are used as they are, no server of theirs is killed, and what
    is written there is deleted again.

    Exits with 0 if all went well; 69 if a store did not start or answer, or a scenario failed: what was measured
    besides is shown all the same.
    """
    settings = ctx.ensure_object(Settings)
    given = store_urls or ((settings.store_url,) if settings.store_url else ())
    if given and (names or servers):
        raise click.UsageError("--with and --servers are for stores that are started here: name no URL beside them")
    check_timing(ttl_s=ttl_s)
    _check_urls(given)
    if html is not None:
        _check_writable(html)
    plan = _plan(given, names, servers, scenarios=scenarios or SCENARIO_NAMES, ttl_s=ttl_s, rounds=rounds)
    # Imported now: a leasekit that is upgraded meanwhile must not make a run of minutes fail at its end.
    from leasekit.cli.compare.page import as_html
    from leasekit.cli.compare.results import as_data
    from leasekit.cli.compare.tables import as_text

    comparison, ended_by = _measured(plan)
    if comparison is None:
        assert ended_by is not None, "it ends by itself or by a signal"
        ctx.exit(exit_codes.SIGNALLED + ended_by)
    if html is not None:
        html.write_text(as_html(comparison), encoding="utf-8")
    if sys.stdout is not None:  # closed: there may still be the page
        click.echo(render.document(**as_data(comparison)) if output == "json" else as_text(comparison))
    ctx.exit(exit_codes.OK if comparison.complete else exit_codes.UNAVAILABLE)


def _plan(
    given: Sequence[str],
    names: Sequence[str],
    servers: Path | None,
    *,
    scenarios: Sequence[str],
    ttl_s: float,
    rounds: int,
) -> Plan:
    from leasekit.cli.compare.run import Plan
    from leasekit.cli.compare.servers import find_programs

    if given:
        return Plan(ttl_s=ttl_s, rounds=rounds, scenarios=scenarios, urls=given)
    programs, missing = find_programs(names or STORES, servers)
    if not programs:
        raise ConfigError("--with", f"nothing can be started: {'; '.join(f'{n}: {why}' for n, why in missing.items())}")
    return Plan(ttl_s=ttl_s, rounds=rounds, scenarios=scenarios, programs=programs, not_found=missing)


def _check_urls(given: Sequence[str]) -> None:
    for url in given:
        parsed = urls.parse(url)
        if parsed.password is not None:
            raise ConfigError(
                "URL",
                "holds a password, which every user of this machine can read in the process list: put it into "
                "LEASEKIT_PASSWORD",
            )
        if parsed.scheme == "memory":
            raise ConfigError("URL", "a memory:// store cannot be compared: processes do not share it")
        schemes.opener(parsed.scheme)(parsed)


def _check_writable(file: Path) -> None:
    """Now, and not after minutes."""
    if not file.parent.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ConfigError("--html", f"{file} cannot be written")


def _measured(plan: Plan) -> tuple[Comparison | None, int | None]:
    """The result, or the signal that ended it."""
    from leasekit.cli.compare.progress import on_stderr
    from leasekit.cli.compare.run import measure

    came: list[int] = []

    async def measure_until_told() -> Comparison | None:
        loop = asyncio.get_running_loop()
        work = asyncio.ensure_future(measure(plan, progress, SystemRandom()))

        def end(number: int) -> None:
            # The first one ends the work, which then clears up; a later one ends what that waits for.
            came.append(number)
            work.cancel()

        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, end, number)
        try:
            return await work
        except asyncio.CancelledError:
            if not came:
                raise
            # All is cleared up: one more shall not change the exit code, now that the loop lets go of its handlers.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            return None

    with on_stderr() as progress:
        for name, why in plan.not_found.items():
            progress.note(f"{name} is left out: {why}")
        comparison = asyncio.run(measure_until_told())
    return comparison, came[0] if came else None
