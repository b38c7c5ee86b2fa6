"""The words of a report, for people: the same in text and in HTML."""

from __future__ import annotations

from datetime import UTC, datetime

from leasekit.audit.leaderships import Leadership
from leasekit.audit.order import Placed
from leasekit.audit.overlaps import Overlap
from leasekit.audit.report import ElectionReport, Report
from leasekit.core.journal_event import Kind
from leasekit.core.logical import Relation


def printable(text: str) -> str:
    """Without what could break a line or send a terminal astray: journals may come from anybody."""
    return "".join(char if char.isprintable() else "?" for char in text)


def moment(at_s: float, *, date: bool = False) -> str:
    """A moment of the axis, in UTC, to the millisecond."""
    shown = datetime.fromtimestamp(at_s, UTC)
    seconds = f"{shown:%Y-%m-%d %H:%M:%S}" if date else f"{shown:%H:%M:%S}"
    return f"{seconds}.{shown.microsecond // 1000:03}"


def length(seconds: float) -> str:
    """A length of time."""
    return f"{seconds:.3f} s" if seconds < 100 else f"{seconds:.0f} s"


def verdict(report: Report) -> str:
    """The answer, first of all."""
    if not any(election.leaderships for election in report.elections):
        return "These journals tell of no leadership."
    overlapping = [overlap for election in report.elections for overlap in election.overlaps]
    bad = [overlap for overlap in overlapping if overlap.valid]
    if bad:
        longest = max(overlap.valid_s for overlap in bad)
        return f"TWO VALID LEADERSHIPS OVERLAPPED: {times(len(bad))}, for {length(longest)} at the longest."
    if overlapping:
        longest = max(overlap.length_s for overlap in overlapping)
        return (
            "No two valid leaderships overlapped. "
            f"Two processes believed that they led: {times(len(overlapping))}, for {length(longest)} at the longest."
        )
    return "No two valid leaderships overlapped, and no two processes believed that they led at once."


def times(count: int) -> str:
    """Once, twice, three times."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def who(leadership: Leadership) -> str:
    """A leadership by its holder and token."""
    return f"{printable(leadership.id)} (token {leadership.token})"


def about_overlap(election: ElectionReport, overlap: Overlap) -> list[str]:
    """What is to be said of an overlap, a sentence each."""
    first, second = overlap.first, overlap.second
    within = "" if overlap.uncertain_s < 0.001 else f", give or take {length(overlap.uncertain_s)}"
    since, until = moment(overlap.from_s), moment(overlap.until_s)
    both = f"{who(first)} and {who(second)} both believed that they led"
    said = [f"{both} for {length(overlap.length_s)}{within}, from {since} to {until}."]
    if overlap.valid:
        said.append(f"BOTH WERE VALID for {length(overlap.valid_s)}{within}.")
    elif first.late_s:
        said.append(
            f"Only {printable(second.id)} was valid: the lease of {printable(first.id)} was trusted until "
            f"{moment(first.valid_until_s)}, and it noticed {length(first.late_s)} later."
        )
    if overlap.order is Relation.CONCURRENT:
        said.append("Neither knew of the other: the two are concurrent.")
    refused = election.refused_during(overlap)
    if refused:
        said.append(f"Fences refused {printable(first.id)}: {times(len(refused))}.")
    elif not overlap.valid:
        said.append(f"No journal tells of a fence that refused {printable(first.id)}.")
    return said


def about_event(placed: Placed) -> str:
    """What happened, in a few words."""
    event = placed.event
    by = printable(event.id or event.writer.process)
    match event.kind:
        case Kind.CAMPAIGN:
            return f"{by} campaigns"
        case Kind.WITHDREW:
            return f"{by} campaigns no more"
        case Kind.OBSERVED:
            leader = event.text("leader")
            seen = "nobody leads" if leader is None else f"{printable(leader)} leads with token {event.token}"
            return f"{by} sees that {seen}"
        case Kind.ELECTED:
            return f"{by} is elected with token {event.token}"
        case Kind.RENEWED:
            return f"{by} has renewed its lease ({event.details.get('renewals', '?')})"
        case Kind.LOST:
            return f"{by} notices that it has lost token {event.token}: {printable(event.text('reason') or '?')}"
        case Kind.RESIGNED:
            return f"{by} resigns token {event.token}"
        case Kind.TRANSFERRED:
            return f"{by} hands over token {event.token}"
        case Kind.FENCED:
            resource = printable(event.text("resource") or "?")
            return f"{resource!r} refuses token {event.token}, having seen {event.details.get('highest', '?')}"
