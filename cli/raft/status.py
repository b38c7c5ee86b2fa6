"""`leasekit raft status`: every member's own word."""

from __future__ import annotations

from typing import Any

import click

from leasekit.backends.raft.core.types import Membership, Status
from leasekit.cli import exit_codes, render
from leasekit.cli.options import Settings, one_of, store_options
from leasekit.cli.raft.cluster import Cluster, Seen, View
from leasekit.cli.session import note

COLUMNS = ("member", "address", "role", "term", "commit", "applied", "lag", "log", "free", "version", "problem")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@click.command()
@one_of(*render.FORMATS)
@store_options
@click.pass_context
def status(ctx: click.Context, output: str) -> None:
    """Show the members of the cluster: who leads, how far each is, what its disk has left.

    Every member is asked. LAG is how many entries it is behind the leader, as the leader knows. Exits with 0 if
    somebody leads, 69 if nobody does or no member answers.
    """
    cluster = Cluster(ctx.ensure_object(Settings))
    view = cluster.run(cluster.look())
    click.echo(render.rows(output, "members", [_row(seen, view, output) for seen in view.seen], COLUMNS))
    if view.leader is None:
        named = sorted({one.status.raft.leader for one in view.seen if one.status and one.status.raft.leader})
        note(f"{' or '.join(named)} leads, as others say, but does not answer" if named else "no member leads")
        ctx.exit(exit_codes.UNAVAILABLE)


def _row(seen: Seen, view: View, output: str) -> dict[str, Any]:
    membership = view.membership
    row: dict[str, Any] = dict.fromkeys((*COLUMNS, "leader", "first_index", "last_index", "log_bytes", "free_bytes"))
    row |= {"member": seen.member, "address": seen.address, "problem": seen.problem}
    row["member_of_cluster"] = seen.member in membership if seen.member else False
    if seen.status is None:
        return row
    raft = seen.status.raft
    row |= {"role": _role(raft, membership), "version": seen.status.version, "lag": _lag(raft, view)}
    row |= {name: getattr(raft, name) for name in ("term", "leader", "commit", "applied", "first_index", "last_index")}
    row |= {"log_bytes": seen.status.log_bytes, "free_bytes": seen.status.free_bytes}
    row |= {"log": _size(seen.status.log_bytes), "free": _size(seen.status.free_bytes)}
    return row


def _role(raft: Status, membership: Membership) -> str:
    if raft.id in membership.learners:
        return "learner"
    # One that joins and is not added yet, or was removed and runs on.
    return raft.role.value if raft.id in membership.voters else "outside"


def _lag(raft: Status, view: View) -> int | None:
    leader = view.leader
    if leader is None or leader.status is None:
        return None
    if raft.id == leader.member:
        return 0
    progress = leader.status.raft.progress.get(raft.id)
    return None if progress is None else max(0, leader.status.raft.last_index - progress.match)


def _size(count: float) -> str:
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
