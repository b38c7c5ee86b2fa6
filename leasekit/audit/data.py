"""A report as JSON has it; stable (`"schema": 1`). Moments are UTC, lengths seconds."""

from __future__ import annotations

from typing import Any

from leasekit.audit.leaderships import Leadership
from leasekit.audit.order import Placed
from leasekit.audit.overlaps import Overlap
from leasekit.audit.report import ElectionReport, Report
from leasekit.core.records import utc


def as_data(report: Report) -> dict[str, Any]:
    """All of it but the schema number."""
    return {
        "safe": report.safe,
        "max_skew_s": report.max_skew_s,
        "elections": [_election(election) for election in report.elections],
        "notes": list(report.notes),
    }


def _election(election: ElectionReport) -> dict[str, Any]:
    return {
        "election": election.name,
        "safe": election.safe,
        "leaderships": [_leadership(one) for one in election.leaderships],
        "overlaps": [_overlap(election, overlap) for overlap in election.overlaps],
        "undecided_handovers": election.undecided,
        "refused": [_event(placed) for placed in election.refusals],
        "events": [_event(placed) for placed in election.events],
    }


def _leadership(one: Leadership) -> dict[str, Any]:
    return {
        "token": one.token,
        "id": one.id,
        "process": one.writer.process,
        "host": one.writer.host,
        "pid": one.writer.pid,
        "from": utc(one.began_s),
        "valid_until": utc(one.valid_until_s),
        "believed_until": utc(one.believed_until_s),
        "believed_late_s": round(one.late_s, 6),
        "end": None if one.ended is None else one.ended.kind.value,
        "reason": None if one.ended is None else one.ended.text("reason"),
    }


def _overlap(election: ElectionReport, overlap: Overlap) -> dict[str, Any]:
    return {
        "tokens": [overlap.first.token, overlap.second.token],
        "ids": [overlap.first.id, overlap.second.id],
        "from": utc(overlap.from_s),
        "until": utc(overlap.until_s),
        "believed_s": round(overlap.length_s, 6),
        "valid_s": round(overlap.valid_s, 6),
        "uncertain_s": overlap.uncertain_s,
        "valid": overlap.valid,
        "order": overlap.order.value,
        "refused": [placed.number for placed in election.refused_during(overlap)],
    }


def _event(placed: Placed) -> dict[str, Any]:
    event = placed.event
    return {
        "number": placed.number,
        "event": event.kind.value,
        "at": utc(placed.at_s),
        "process": event.writer.process,
        "seq": event.seq,
        "id": event.id,
        "token": event.token,
        "lamport": event.clock.lamport,
        "clock": dict(event.clock.counts),
        "knowing_of": list(placed.heard),
        "concurrent_with_previous": placed.concurrent,
        "details": dict(event.details),
    }
