"""`leasekit raft verify`: look at a data directory of a member that does not run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from leasekit.backends.raft.member import met
from leasekit.backends.raft.wal.verify import Report
from leasekit.backends.raft.wal.verify import verify as examine
from leasekit.cli import exit_codes, render
from leasekit.cli.options import one_of


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@one_of("text", "json")
@click.pass_context
def verify(ctx: click.Context, directory: Path, output: str) -> None:
    """Check the data directory DIR of a member that does not run. Changes nothing.

    Exits with 0 if a member can start from it, with 1 if not: it says then what is damaged, and where.
    """
    report = examine(directory)
    if (damage := met.problem(directory)) is not None:
        report = dataclasses.replace(report, problems=(*report.problems, damage))
    click.echo(render.document(**_data(report)) if output == "json" else "\n".join(_lines(report)))
    ctx.exit(exit_codes.OK if report.ok else exit_codes.NO)


def _data(report: Report) -> dict[str, Any]:
    return {"ok": report.ok, **dataclasses.asdict(report)}


def _lines(report: Report) -> list[str]:
    lines = [f"directory  {report.path}"]
    if report.identity is not None:
        lines.append(f"member     {report.identity.member} of cluster {report.identity.cluster}")
    if report.hard_state is not None:
        state = report.hard_state
        lines.append(f"state      term {state.term}, vote {state.vote or '-'}, committed up to {state.commit} at least")
    if report.snapshot is not None:
        members = report.snapshot.membership
        named = ", ".join([*members.voters, *members.learners]) or "nobody"
        lines.append(f"snapshot   of entry {report.snapshot.index}, term {report.snapshot.term}; members {named}")
    if report.entries:
        lines.append(f"entries    {report.first_index} to {report.last_index}, the last of term {report.last_term}")
    for segment in report.segments:
        span = "no entries" if segment.first_index is None else f"entries {segment.first_index} to {segment.last_index}"
        size = f"{segment.used_bytes} of {segment.size_bytes} bytes used"
        lines.append(f"  {segment.name}  {segment.records} records, {span}, {size}")
    for snapshot in report.snapshots:
        lines.append(f"  {snapshot.name}  {snapshot.problem or f'{snapshot.size_bytes} bytes'}")
    if report.torn_bytes:
        lines.append(f"torn       {report.torn_bytes} bytes of a write that was cut off: nobody was told of it")
    if report.leftovers:
        lines.append(f"left over  {', '.join(report.leftovers)}: deleted at the next start")
    lines += [f"PROBLEM    {problem}" for problem in report.problems]
    lines.append("sound      a member can start from it" if report.ok else "NOT SOUND  no member can start from it")
    return lines
