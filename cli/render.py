"""Rows as people and programs want them: a table, JSON, one JSON object a line, or tab-separated values."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = 1
FORMATS = ("table", "json", "ndjson", "tsv")

Row = Mapping[str, Any]


def document(**content: Any) -> str:
    """A JSON object with the schema number first."""
    return json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False)


def rows(form: str, name: str, items: Sequence[Row], columns: Sequence[str]) -> str:
    """The items in one of `FORMATS`. JSON has all of each item; tables and TSV have `columns`, a dash for nothing."""
    match form:
        case "json":
            return document(**{name: items})
        case "ndjson":
            return "\n".join(document(**item) for item in items)
        case "tsv":
            return "\n".join("\t".join(_cell(item.get(column)) for column in columns) for item in items)
        case _:
            return table(columns, [[_cell(item.get(column)) for column in columns] for item in items])


def table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Aligned columns under headings; on a terminal with rich installed, in colour."""
    heads = [column.replace("_", " ").upper() for column in columns]
    if sys.stdout.isatty():
        try:
            return _rich_table(heads, cells)
        except ImportError:
            pass
    widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *cells]
    ]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A length of time as people read it: 4s, 3m 20s, 5h 02m, 3d 04h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    # A tab or a line break in a record must not break the columns, nor an escape sequence the terminal.
    return "".join(char if char.isprintable() else "?" for char in str(value))


def _rich_table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        drawn.add_column(head, overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    console = Console(file=sys.stdout)
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().rstrip("\n")
