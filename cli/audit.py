"""`leasekit audit`: what the journals of several processes tell together. Asks no store."""

from __future__ import annotations

from pathlib import Path

import click

from leasekit.audit import DEFAULT_MAX_SKEW_S, Reading, Report, read_journal
from leasekit.audit import audit as compare
from leasekit.cli import exit_codes, render
from leasekit.cli.options import Seconds, one_of
from leasekit.cli.session import note


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILES...")
@one_of("text", "json", "html", "svg")
@click.option("--election", "elections", multiple=True, metavar="NAME", help="Only this election; may be repeated.")
@click.option("--events", is_flag=True, help="List every event as well (text).")
@click.option(
    "--max-skew",
    "max_skew_s",
    type=Seconds(),
    default=f"{DEFAULT_MAX_SKEW_S:g}",
    show_default=True,
    metavar="S",
    help="How far the wall clocks of two machines may disagree.",
)
@click.pass_context
def audit(
    ctx: click.Context,
    files: tuple[Path, ...],
    output: str,
    elections: tuple[str, ...],
    events: bool,
    max_skew_s: float,
) -> None:
    """Compare the journals of several processes: who led when, by token; when two believed that they led.

    FILES are what --journal or LEASEKIT_JOURNAL had written, of as many processes as there were; rotated ones, too.
    Events are put in an order that happened-before allows. Moments of one machine compare exactly, those of two
    machines within --max-skew.

    Exits with 1 if two valid leaderships overlapped, else 0; with 65 if a file is no journal.
    """
    readings, bad = _read(files)
    report = compare(readings, elections=elections, max_skew_s=max_skew_s)
    for said in report.notes:
        note(said)
    click.echo(_written(report, output, events=events), nl=output in ("text", "json"))
    if not report.safe:
        ctx.exit(exit_codes.NO)
    if bad:
        ctx.exit(exit_codes.DAMAGED)


def _read(files: tuple[Path, ...]) -> tuple[list[Reading], bool]:
    """The journals, and whether a file was none. What cannot be read at all is said at once."""
    readings, bad = [], False
    for file in files:
        try:
            reading = read_journal(str(file), file.read_bytes())
        except OSError as error:
            note(f"{file} cannot be read: {error.strerror}")
            bad = True
        else:
            readings.append(reading)
            bad = bad or reading.foreign
    return readings, bad


def _written(report: Report, form: str, *, events: bool) -> str:
    if form == "json":
        from leasekit.audit.data import as_data

        return render.document(**as_data(report))
    if form == "html":
        from leasekit.audit.page import as_html

        return as_html(report)
    if form == "svg":
        from leasekit.audit.svg import as_svg

        return as_svg(report)
    from leasekit.audit.text import as_text

    return as_text(report, events=events)
