"""`leasekit resign` and `leasekit transfer`: what an operator can do to a leadership of another process."""

from __future__ import annotations

import sys

import click

from leasekit import operate
from leasekit.cli import exit_codes
from leasekit.cli.options import Seconds, store_options
from leasekit.cli.session import Session, note, session
from leasekit.election import ElectionCore, Leader
from leasekit.errors import ConfigError

WAIT_S = 30.0

_wait = click.option(
    "--wait",
    "wait_s",
    type=Seconds(positive=True),
    default=f"{WAIT_S:g}",
    show_default=True,
    metavar="S",
    help="How long to wait for the leader to comply: it stops its work first.",
)


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Depose a leader that does not answer, by revoking its lease.")
@click.option("--yes", is_flag=True, help="Do not ask before --force.")
@_wait
@store_options
@click.pass_context
def resign(ctx: click.Context, name: str, force: bool, yes: bool, wait_s: float) -> None:
    """Ask the leader of election NAME to resign. It stops its work first, then lets go.

    Exits with 0 once that leadership is over, 1 if nobody leads, 75 if the leader does not answer.

    With --force it is not asked: its lease is revoked, which ends EVERY election of that process. The next leader is
    elected one ttl later, when the old one surely no longer believes that it leads.
    """
    with session(ctx) as store:
        core = store.election(name)
        if force and _finished(store, core):
            return
        leader = _leader(ctx, store, core)
        if force:
            _confirm(leader, name, yes=yes)
            done = store.run(operate.force_resign(core, store.timeout_s))
            if done:
                note(f"{leader.id} is deposed; the next leader of {name!r} can be elected in about {leader.ttl_s:g} s")
            else:
                note(f"{leader.id} had let go of {name!r} already")
            return
        if not store.run(operate.ask(core, "resign", None, wait_s)):
            _unanswered(ctx, leader, wait_s, remedy=f"leasekit resign {name} --force takes its leadership away")
        note(f"the leadership of {leader.id} in {name!r} is over")


@click.command()
@click.argument("name")
@click.option("--to", required=True, metavar="ID", help="The candidate that is to lead; it must be in the queue.")
@_wait
@store_options
@click.pass_context
def transfer(ctx: click.Context, name: str, to: str, wait_s: float) -> None:
    """Ask the leader of election NAME to hand over to the candidate --to. It stops its work first.

    Exits with 0 once that candidate leads, 1 if nobody leads, 75 if the leader does not answer or another came to lead.
    """
    with session(ctx) as store:
        core = store.election(name)
        leader = _leader(ctx, store, core)
        if not store.run(operate.ask(core, "transfer", to, wait_s)):
            now = store.run(core.leader(store.timeout_s))
            if now is not None and now.id != leader.id:
                note(f"{now.id} leads {name!r} instead")
                ctx.exit(exit_codes.NOT_ACQUIRED)
            _unanswered(ctx, leader, wait_s, remedy="it may still comply")
        note(f"{to} leads {name!r}")


def _leader(ctx: click.Context, store: Session, core: ElectionCore) -> Leader:
    leader = store.run(core.leader(store.timeout_s))
    if leader is None:
        note(f"nobody leads {core.name!r}")
        ctx.exit(exit_codes.NO)
    return leader


def _finished(store: Session, core: ElectionCore) -> bool:
    """Whether a forced resignation had been interrupted, and was carried on now."""
    if store.run(core.leader(store.timeout_s)) is not None or not store.run(
        operate.force_resign(core, store.timeout_s)
    ):
        return False
    note(f"the last leader of {core.name!r} is deposed; the next can be elected one ttl from now")
    return True


def _confirm(leader: Leader, name: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--yes", "is needed with --force where nobody can be asked")
    click.echo(
        f"{leader.id} (process {leader.pid} on {leader.host}) leads {name!r} with token {leader.token}.\n"
        "Revoking its lease ends every election of that process, not this one alone.",
        err=True,
    )
    if not click.confirm("Revoke it?", err=True):
        raise click.Abort


def _unanswered(ctx: click.Context, leader: Leader, wait_s: float, *, remedy: str) -> None:
    note(f"{leader.id} did not answer within {wait_s:g} s; {remedy}")
    ctx.exit(exit_codes.NOT_ACQUIRED)
