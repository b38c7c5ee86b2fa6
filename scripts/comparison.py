#!/usr/bin/env python3
"""Makes docs/comparison.svg and the figures in docs/comparison.md anew, from a real run of `leasekit compare`.

Usage: scripts/comparison.py [OPTIONS OF leasekit compare]     takes about six minutes; let the machine be quiet
       scripts/comparison.py --from RUN.json                   from a run that was kept (`leasekit compare -o json`)

The run itself is kept in .cache/comparison.json. What stands outside the marks in docs/comparison.md is left alone:
read it again, whether it is still true.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from leasekit.cli.compare import page, results, tables
from leasekit.cli.compare.results import Comparison

REPOSITORY = Path(__file__).resolve().parent.parent
SERVERS = REPOSITORY / ".cache" / "servers"
KEPT = REPOSITORY / ".cache" / "comparison.json"
TEXT = REPOSITORY / "docs" / "comparison.md"
PICTURE = REPOSITORY / "docs" / "comparison.svg"
BEGIN, END = "<!-- The next lines are made by scripts/comparison.py -->", "<!-- Until here -->"
PLOTTED = ("acquire_s", "handover_s", "watch_s", "renewal_s", "failover_s", "store_failover_write_s")


def main(arguments: Sequence[str]) -> None:
    run = Path(arguments[1]).read_text() if arguments[:1] == ["--from"] else measured(arguments)
    comparison = results.from_data(json.loads(run))
    if not comparison.complete:
        raise SystemExit("the run is not complete: " + "; ".join(map(": ".join, tables.remarks(comparison))))
    before, begin, rest = TEXT.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{TEXT} lacks the lines between which the figures stand: {BEGIN!r} and {END!r}")
    TEXT.write_text(f"{before}{BEGIN}\n\n{figures(comparison)}\n{END}{after}")
    PICTURE.write_text(page.picture(comparison, PLOTTED))


def measured(options: Sequence[str]) -> str:
    """A run, kept as well."""
    servers = ["--servers", str(SERVERS)] if SERVERS.is_dir() else []
    command = [sys.executable, "-m", "leasekit", "compare", "-o", "json", *servers, *options]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.decode()
    if not run:
        raise SystemExit("the run was cut short")
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(run)
    return run


def figures(comparison: Comparison) -> str:
    """What is measured on, and the two tables."""
    remarks = [f"- {subject}: {text}." for subject, text in tables.remarks(comparison)]
    parts = [
        f"{tables.settings_line(comparison)}.",
        f"The machine: {tables.machine_line(comparison)}.",
        as_markdown(*tables.measured(comparison)),
        "The median, and in brackets the slowest or most of all rounds where they differ.",
        as_markdown(*tables.promised(comparison)),
        "\n".join(remarks),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, aligned so that it is read well as text too."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    rule = "|:" + "-" * (widths[0] + 1) + "|" + "".join("-" * (width + 1) + ":|" for width in widths[1:])
    lines = [_line(row, widths) for row in cells]
    return "\n".join([lines[0], rule, *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    figures = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
    return f"| {' | '.join([row[0].ljust(widths[0]), *figures])} |"


if __name__ == "__main__":
    main(sys.argv[1:])
