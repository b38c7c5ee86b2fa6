"""A report as a picture: a lane for each process, a bar for each leadership, solid as long as it was valid."""

from __future__ import annotations

from html import escape
from string import Template

from leasekit.audit import wording
from leasekit.audit.leaderships import Leadership
from leasekit.audit.order import Placed
from leasekit.audit.overlaps import Overlap
from leasekit.audit.report import ElectionReport, Report
from leasekit.audit.scale import Scale
from leasekit.core.journal_event import Kind

WIDTH = 960
_LEFT, _RIGHT = 150, WIDTH - 20
_TOP, _LANE, _BAR, _AXIS, _LEGEND = 62, 54, 20, 30, 34
_WIDEST_LABEL = 22
_MOST_ARROWS = 300
_MARKED = {Kind.CAMPAIGN, Kind.OBSERVED, Kind.FENCED, Kind.LOST, Kind.WITHDREW}

_LIGHT = {
    "ink": "#1d2733",
    "dim": "#66717f",
    "line": "#d5dbe3",
    "ground": "#ffffff",
    "valid": "#2f7d5b",
    "late": "#c4561b",
    "bad": "#c21f3a",
}
_DARK = {
    "ink": "#e4e9ef",
    "dim": "#97a3b2",
    "line": "#364150",
    "ground": "#141a21",
    "valid": "#37835f",
    "late": "#e8834a",
    "bad": "#f0566f",
}

# Literal colours twice, not variables: many programs that show SVG know no variables.
_COLOURS = Template(
    ".lk text{fill:$ink}.lk .dim{fill:$dim}.lk .ground{fill:$ground}.lk .grid,.lk .lane{stroke:$line}"
    ".lk .valid{fill:$valid}.lk .late{stroke:$late}.lk .hatch{stroke:$late}.lk .band{fill:$late}.lk .band.bad{fill:$bad}"
    ".lk .span{fill:$late}.lk .span.bad{fill:$bad}.lk .told{stroke:$dim}.lk .head{fill:$dim}"
    ".lk .campaign,.lk .withdrew{fill:$ground;stroke:$dim}.lk .observed{fill:$dim}.lk .lost{stroke:$late}"
    ".lk .fenced{fill:$bad}.lk .token{fill:#fff}"
)
STYLE = (
    ".lk{font:12px system-ui,sans-serif}.lk .title{font-size:15px;font-weight:600}.lk .lane{stroke-dasharray:2 4}"
    ".lk .token,.lk .span{font-weight:600}.lk .late{fill:url(#lk-late)}.lk .renewed{stroke:#fff;stroke-opacity:.7}"
    ".lk .band{fill-opacity:.13}.lk .band.bad{fill-opacity:.25}"
    ".lk .told{stroke-opacity:.65;fill:none;marker-end:url(#lk-head)}.lk .lost{stroke-width:2;fill:none}"
    f"{_COLOURS.substitute(_LIGHT)}@media (prefers-color-scheme:dark){{{_COLOURS.substitute(_DARK)}}}"
)

_DEFINITIONS = """<defs>
<pattern id="lk-late" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<line class="hatch" x1="0" y1="0" x2="0" y2="6" stroke-width="2.5"/></pattern>
<marker id="lk-head" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">
<path class="head" d="M0 0L6 3L0 6z"/></marker></defs>"""


def as_svg(report: Report) -> str:
    """One picture of all elections, one below the other."""
    drawn: list[str] = []
    height = 0.0
    for election in report.elections:
        chart = _Chart(election)
        drawn.append(f'<g transform="translate(0 {height:g})">{chart.draw()}</g>')
        height += chart.height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lk" role="img" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH}" height="{height:g}"><title>{escape(wording.verdict(report))}</title>'
        f"<style>{STYLE}</style>{_DEFINITIONS}"
        f'<rect class="ground" width="{WIDTH}" height="{height:g}"/>{"".join(drawn)}</svg>\n'
    )


class _Chart:
    """One election."""

    def __init__(self, election: ElectionReport) -> None:
        self._election = election
        self._lanes: dict[str, float] = {}
        for placed in election.events:
            self._lanes.setdefault(placed.event.writer.process, _TOP + _LANE * (len(self._lanes) + 0.5))
        moments = [placed.at_s for placed in election.events]
        moments += [one.believed_until_s for one in election.leaderships]
        self._scale = Scale.around(min(moments), max(moments), _LEFT, _RIGHT)
        self._bottom = _TOP + _LANE * len(self._lanes)
        self.height = self._bottom + _AXIS + _LEGEND

    def draw(self) -> str:
        election = self._election
        parts = [f'<text class="title" x="16" y="26">{_text(election.name)}</text>', self._axis()]
        parts += [self._band(overlap, row) for row, overlap in enumerate(election.overlaps)]
        parts += [self._lane(process) for process in self._lanes]
        parts += self._arrows()
        parts += [self._bar(one) for one in election.leaderships]
        parts += [self._mark(placed) for placed in election.events if placed.event.kind in _MARKED]
        parts.append(self._legend())
        return "".join(parts)

    def _axis(self) -> str:
        parts = []
        for at_s, name in self._scale.marks():
            x = self._scale.x(at_s)
            parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{self._bottom + 5}"/>')
            parts.append(f'<text class="dim" text-anchor="middle" x="{x:.1f}" y="{self._bottom + 20}">{name}</text>')
        day = wording.moment(self._scale.from_s, date=True).partition(" ")[0]
        return "".join([*parts, f'<text class="dim" x="16" y="{self._bottom + 20}">{day} UTC</text>'])

    def _lane(self, process: str) -> str:
        y = self._lanes[process]
        own = [placed.event for placed in self._election.events if placed.event.writer.process == process]
        ids = list(dict.fromkeys(event.id for event in own if event.id is not None))
        writer = own[0].writer
        name = ", ".join(ids) or writer.process
        return (
            f'<line class="lane" x1="{_LEFT}" y1="{y:g}" x2="{_RIGHT}" y2="{y:g}"/>'
            f"<g><title>{_text(f'{name}: {writer.process}')}</title>"
            f'<text x="16" y="{y - 2:g}">{_text(_shortened(name))}</text>'
            f'<text class="dim" x="16" y="{y + 13:g}">{_text(_shortened(f"{writer.host} {writer.pid}"))}</text></g>'
        )

    def _bar(self, one: Leadership) -> str:
        y = self._lanes[one.writer.process] - _BAR / 2
        begin, valid, end = map(self._scale.x, (one.began_s, one.valid_until_s, one.believed_until_s))
        described = f"{wording.who(one)}, {wording.moment(one.began_s)} to {wording.moment(one.believed_until_s)}"
        parts = [f"<g><title>{_text(f'{described}; {one.end}')}</title>"]
        parts.append(_rectangle("valid", begin, y, max(valid - begin, 1.5), _BAR))
        if one.late_s:
            parts.append(_rectangle("late", valid, y, end - valid, _BAR))
        for at_s in one.renewed_s:
            x = self._scale.x(at_s)
            parts.append(f'<line class="renewed" x1="{x:.1f}" y1="{y:g}" x2="{x:.1f}" y2="{y + 5:g}"/>')
        label = f"token {one.token}"
        if valid - begin > 7 * len(label):
            parts.append(f'<text class="token" x="{begin + 6:.1f}" y="{y + 14:g}">{label}</text>')
        return "".join([*parts, "</g>"])

    def _band(self, overlap: Overlap, row: int) -> str:
        bad = " bad" if overlap.valid else ""
        begin, end = self._scale.x(overlap.from_s), self._scale.x(overlap.until_s)
        seconds = wording.length(overlap.valid_s if overlap.valid else overlap.length_s)
        label = f"both VALID {seconds}" if overlap.valid else f"both believed {seconds}"
        anchor, x = ("start", begin) if begin < WIDTH / 2 else ("end", end)
        said = " ".join(wording.about_overlap(self._election, overlap))
        return (
            f"<g><title>{_text(said)}</title>"
            + _rectangle(f"band{bad}", begin, _TOP - 12, max(end - begin, 1.5), self._bottom - _TOP + 12)
            + f'<text class="span{bad}" text-anchor="{anchor}" x="{x:.1f}" y="{_TOP - 17 - 13 * (row % 2)}">{label}</text></g>'
        )

    def _arrows(self) -> list[str]:
        """What one process came to know of another: how the vector clocks know what was before what."""
        by_number = {placed.number: placed for placed in self._election.events}
        arrows = []
        for placed in self._election.events:
            for cause in (by_number[number] for number in placed.heard if number in by_number):
                begin, end = self._place(cause), self._place(placed)
                arrows.append(
                    f'<path class="told" d="M{begin[0]:.1f} {begin[1]:.1f}L{end[0]:.1f} {end[1]:.1f}">'
                    f"<title>{_text(f'#{placed.number} knows of #{cause.number}')}</title></path>"
                )
        return arrows[:_MOST_ARROWS]

    def _place(self, placed: Placed) -> tuple[float, float]:
        return self._scale.x(placed.at_s), self._lanes[placed.event.writer.process]

    def _mark(self, placed: Placed) -> str:
        x, y = self._place(placed)
        if placed.event.kind is Kind.FENCED:  # beside the loss that often stands at the same moment
            y -= _BAR
        return (
            f"<g><title>{_text(f'{wording.moment(placed.at_s)} {wording.about_event(placed)}')}</title>"
            f"{_symbol(placed.event.kind, x, y)}</g>"
        )

    def _legend(self) -> str:
        y = self._bottom + _AXIS + 16
        parts = []
        x = float(_LEFT)
        for symbol, name, width in (
            (_rectangle("valid", x, y - 6, 22, 12), "valid", 70),
            (_rectangle("late", x + 70, y - 6, 22, 12), "believed past its deadline", 190),
            (_symbol(Kind.CAMPAIGN, x + 276, y), "campaigns", 90),
            (_symbol(Kind.OBSERVED, x + 366, y), "sees the leader", 120),
            (_symbol(Kind.LOST, x + 486, y), "notices the loss", 125),
            (_symbol(Kind.FENCED, x + 611, y), "refused by a fence", 130),
        ):
            offset = 30 if "rect" in symbol else 28
            parts.append(f'{symbol}<text class="dim" x="{x + offset:.1f}" y="{y + 4:g}">{name}</text>')
            x += width
        return "".join(parts)


def _symbol(kind: Kind, x: float, y: float) -> str:
    name = kind.value
    match kind:
        case Kind.LOST:
            return f'<path class="{name}" d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"/>'
        case Kind.FENCED:
            return f'<path class="{name}" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"/>'
        case Kind.OBSERVED:
            return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
        case _:
            return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'


def _rectangle(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def _text(text: str) -> str:
    return escape(wording.printable(text))


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDEST_LABEL else f"{text[: _WIDEST_LABEL - 3]}..."
