"""Asking about one election: `leader`, `is-leader`, `candidates`, `history`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from leasekit.cli import exit_codes, render
from leasekit.cli.options import one_of, store_options
from leasekit.cli.session import note, session


@click.command()
@click.argument("name")
@one_of("id", "json")
@store_options
@click.pass_context
def leader(ctx: click.Context, name: str, output: str) -> None:
    """Print the id of the leader of election NAME; exit 1 if nobody leads."""
    with session(ctx) as store:
        now = store.run(store.election(name).leader(store.timeout_s))
    if output == "json":
        click.echo(render.document(election=name, leader=None if now is None else asdict(now)))
    elif now is not None:
        click.echo(now.id)
    if now is None:
        note(f"nobody leads {name!r}")
        ctx.exit(exit_codes.NO)


@click.command()
@click.argument("name")
@click.option("--id", required=True, envvar="LEASEKIT_ID", help="Whose leading is asked for; or set LEASEKIT_ID.")
@store_options
@click.pass_context
def is_leader(ctx: click.Context, name: str, id: str) -> None:
    """Exit 0 if the candidate --id leads election NAME now, 1 if not. Prints nothing."""
    with session(ctx) as store:
        now = store.run(store.election(name).leader(store.timeout_s))
    ctx.exit(exit_codes.OK if now is not None and now.id == id else exit_codes.NO)


@click.command()
@click.argument("name")
@one_of(*render.FORMATS)
@store_options
@click.pass_context
def candidates(ctx: click.Context, name: str, output: str) -> None:
    """List who queues in election NAME, first in line first. The leader is in the list, too."""
    with session(ctx) as store:
        queue = store.run(store.election(name).candidates(store.timeout_s))
    items = [{"position": position, **asdict(candidate)} for position, candidate in enumerate(queue, 1)]
    _print_rows(output, "candidates", items, ("position", "id", "priority", "host", "pid", "ttl_s"))


@click.command()
@click.argument("name")
@click.option("-n", "--limit", type=click.IntRange(1, 64), default=20, show_default=True, help="How many at most.")
@one_of(*render.FORMATS)
@store_options
@click.pass_context
def history(ctx: click.Context, name: str, limit: int, output: str) -> None:
    """List the last leaderships of election NAME, the newest last. The store keeps 64."""
    with session(ctx) as store:
        past = store.run(store.election(name).history(limit, store.timeout_s))
    items = [
        {"token": line.token, "id": line.id, "from": line.began, "to": line.ended, "reason": line.reason}
        for line in past
    ]
    _print_rows(output, "leaderships", items, ("token", "id", "from", "to", "reason"))


def _print_rows(form: str, name: str, items: Sequence[render.Row], columns: tuple[str, ...]) -> None:
    text = render.rows(form, name, items, columns)
    if text:
        click.echo(text)
