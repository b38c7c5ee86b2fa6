"""`leasekit watch`: one line at each change of leader."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from leasekit.cli import render
from leasekit.cli.options import one_of, store_options
from leasekit.cli.session import session, while_read
from leasekit.clock import SYSTEM_CLOCK
from leasekit.core.records import utc
from leasekit.election import ElectionCore, Leader
from leasekit.observe import Observation


@click.command()
@click.argument("name")
@one_of("text", "ndjson")
@store_options
@click.pass_context
def watch(ctx: click.Context, name: str, output: str) -> None:
    """Print who leads election NAME, now and at each change, until interrupted.

    A line has the time at which the change was seen here (UTC), the token and the leader's id; two dashes while nobody
    leads. The latest state is always told; of several changes within an instant only the last may be.
    """
    with session(ctx) as store:
        store.run(while_read(_print_changes(store.election(name), output)))


async def _print_changes(core: ElectionCore, output: str) -> None:
    observation = Observation(core)
    try:
        while True:
            leader = await observation.next()
            click.echo(_line(core.name, leader, output))
            sys.stdout.flush()
    finally:
        await observation.close()


def _line(election: str, leader: Leader | None, output: str) -> str:
    at = utc(SYSTEM_CLOCK.wall_s())
    if output == "ndjson":
        return render.document(at=at, election=election, leader=None if leader is None else asdict(leader))
    return f"{at}  {leader.token}  {leader.id}" if leader is not None else f"{at}  -  -"
