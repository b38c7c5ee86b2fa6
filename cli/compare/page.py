"""A comparison as one HTML file that needs nothing else: no script, no font, no network. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from leasekit.cli.compare import figures, tables
from leasekit.cli.compare.metrics import Metric
from leasekit.cli.compare.plots import Strip, as_svg, chart
from leasekit.cli.compare.results import Comparison

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.1rem;margin-top:2rem}
.bad{color:#c21f3a}.dim{opacity:.75;font-size:13px}svg{max-width:100%;height:auto}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px}
th,td{text-align:left;padding:.2rem .9rem .2rem 0;border-bottom:1px solid #8884;vertical-align:top}
td{font-variant-numeric:tabular-nums}
"""


def as_html(comparison: Comparison) -> str:
    """The whole of it; well-formed XML as well, so that any program can check it."""
    parts = [
        "<!doctype html>",
        (
            '<html lang="en" xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="utf-8"/>'
            '<meta name="viewport" content="width=device-width"/>'
        ),
        f"<title>leasekit compare</title><style>{_STYLE}</style></head><body>",
        "<h1>Stores for leader election, side by side</h1>",
        f"<p>{_text(tables.settings_line(comparison))}.<br/>{_text(tables.machine_line(comparison))}.</p>",
        *_missing(comparison),
        "<h2>Measured</h2>",
        _table(*tables.measured(comparison)),
        '<p class="dim">The median, and in brackets the slowest or most of all rounds where they differ.</p>',
        "<h2>Promised</h2>",
        _table(*tables.promised(comparison)),
        (
            '<p class="dim">"Lease gone within": how long after its last renewal a lease of the granted ttl is surely gone, while '
            "the store itself is well; a failover takes up to that, and what the next leader needs.</p>"
        ),
        *_plots(comparison),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def picture(comparison: Comparison, names: Sequence[str]) -> str:
    """Some of the plots as one SVG file."""
    chosen = [metric for metric in comparison.metrics if metric.name in names]
    return as_svg([_chart(comparison, metric) for metric in chosen], tables.settings_line(comparison))


def _plots(comparison: Comparison) -> Iterable[str]:
    plotted = [metric for metric in comparison.metrics if metric.plotted]
    if not plotted:
        return
    yield "<h2>Distributions</h2>"
    yield (
        '<p class="dim">A dot for each sample; the box holds the middle half of them, the bar is the median. '
        "A dashed line is what the store promises.</p>"
    )
    for metric in plotted:
        yield as_svg([_chart(comparison, metric)], metric.title)
        yield f'<p class="dim">{_text(metric.about)}</p>'


def _chart(comparison: Comparison, metric: Metric) -> tuple[str, float]:
    stores = tables.where_measured(metric, comparison)
    scale, unit = tables.scale_of(metric, [store.of(metric) for store in stores])
    strips = [
        Strip(
            store.title,
            store.of(metric),
            store.promises.expires_within_s if store.promises and metric is tables.FAILOVER else None,
        )
        for store in stores
    ]
    return chart(metric, strips, scale=scale, unit=unit)


def _missing(comparison: Comparison) -> list[str]:
    remarks = tables.remarks(comparison)
    if not remarks:
        return []
    items = "".join(f"<li>{_text(f'{subject}: {text}')}</li>" for subject, text in remarks)
    emphasis = "" if comparison.complete else ' class="bad"'
    return [f"<h2{emphasis}>Not measured</h2>", f"<ul>{items}</ul>"]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _text(text: str) -> str:
    return escape(figures.printable(text))
