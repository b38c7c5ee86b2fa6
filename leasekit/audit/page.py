"""A report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from leasekit.audit import wording
from leasekit.audit.report import ElectionReport, Report
from leasekit.audit.svg import as_svg

MOST_EVENTS = 2000
"""Of one election, in the table of events; JSON has them all."""

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.1rem;margin-top:2rem}
.bad{color:#c21f3a}svg{max-width:100%;height:auto}
table{border-collapse:collapse;font-size:13px;width:100%}
th,td{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #8884;vertical-align:top}
td{font-variant-numeric:tabular-nums}
"""


def as_html(report: Report) -> str:
    """The whole report."""
    verdict = escape(wording.verdict(report))
    emphasis = "" if report.safe else ' class="bad"'
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>leasekit audit</title><style>{_STYLE}</style></head><body>",
        f"<h1{emphasis}>{verdict}</h1>",
        as_svg(report) if report.elections else "",
        *(_election(election, report.max_skew_s) for election in report.elections),
    ]
    if report.notes:
        parts += ["<h2>About the journals</h2>", _list(report.notes)]
    return "\n".join([*parts, "</body></html>\n"])


def _election(election: ElectionReport, max_skew_s: float) -> str:
    parts = [f"<h2>{_cell(election.name)}</h2>"]
    parts += [f"<p>{escape(' '.join(wording.about_overlap(election, overlap)))}</p>" for overlap in election.overlaps]
    if election.undecided:
        parts.append(
            f"<p>{election.undecided} handovers between machines are closer than their clocks agree "
            f"({max_skew_s:g} s): their order is not known.</p>"
        )
    parts.append(_leaderships(election))
    parts.append(_events(election))
    return "\n".join(parts)


def _leaderships(election: ElectionReport) -> str:
    rows = [
        (
            str(one.token),
            one.id,
            wording.moment(one.began_s, date=True),
            wording.moment(one.valid_until_s),
            wording.moment(one.believed_until_s) + (f" (+{one.late_s:.3f} s)" if one.late_s else ""),
            one.end,
        )
        for one in election.leaderships
    ]
    return _table(("Token", "Leader", "From (UTC)", "Valid until", "Believed until", "End"), rows)


def _events(election: ElectionReport) -> str:
    shown = election.events[:MOST_EVENTS]
    rows = [
        (
            f"#{one.number}",
            "∥" if one.concurrent else "",
            wording.moment(one.at_s),
            str(one.event.clock.lamport),
            wording.about_event(one),
            ", ".join(f"#{number}" for number in one.heard),
        )
        for one in shown
    ]
    more = len(election.events) - len(shown)
    rest = f"<p>{more} more are in the JSON form.</p>" if more else ""
    return (
        f"<details><summary>{len(election.events)} events, in an order that happened-before allows; "
        "∥: concurrent with the one before it</summary>"
        f"{_table(('Event', '', 'Time (UTC)', 'Lamport', 'What', 'Knowing of'), rows)}{rest}</details>"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_cell(item)}</li>' for item in items)}</ul>"


def _cell(text: str) -> str:
    return escape(wording.printable(text))
