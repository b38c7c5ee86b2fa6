"""Everything that an audit finds, before anybody writes it out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from leasekit.audit.leaderships import Leadership, leaderships
from leasekit.audit.order import Placed, in_order
from leasekit.audit.overlaps import Overlap, overlaps
from leasekit.audit.reading import Reading, together
from leasekit.audit.timeline import Timeline, clock_of
from leasekit.core.journal_event import Kind

DEFAULT_MAX_SKEW_S = 1.0
"""How far the wall clocks of two machines are taken to disagree at the most."""


@dataclass(frozen=True, slots=True)
class ElectionReport:
    """One election: who led, by token; what overlapped; what was refused; every event, in order."""

    name: str
    leaderships: tuple[Leadership, ...]
    overlaps: tuple[Overlap, ...]
    undecided: int
    """Handovers between machines that were closer to each other than their clocks agree."""
    refusals: tuple[Placed, ...]
    events: tuple[Placed, ...]

    @property
    def safe(self) -> bool:
        """Whether no two valid leaderships overlapped, as far as the clocks can tell."""
        return not any(overlap.valid for overlap in self.overlaps)

    def refused_during(self, overlap: Overlap) -> list[Placed]:
        """What fences refused of the first of the two, from the beginning of the overlap on."""
        return [
            one
            for one in self.refusals
            if one.event.token == overlap.first.token and one.at_s >= overlap.from_s - overlap.uncertain_s
        ]


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of one audit."""

    elections: tuple[ElectionReport, ...]
    notes: tuple[str, ...]
    """What is wrong with the journals, or limits what can be said."""
    max_skew_s: float

    @property
    def safe(self) -> bool:
        """Whether no two valid leaderships of an election overlapped."""
        return all(election.safe for election in self.elections)


def audit(
    readings: Iterable[Reading],
    *,
    elections: Collection[str] = (),
    max_skew_s: float = DEFAULT_MAX_SKEW_S,
) -> Report:
    """Compare journals. `elections`: only these, if any are named. `max_skew_s`: see `DEFAULT_MAX_SKEW_S`."""
    events, notes = together(readings)
    timeline = Timeline(events)
    notes += timeline.notes
    order, said = in_order(events, timeline)
    notes += said
    notes += _disagreements(order, max_skew_s)
    led, said = leaderships(events, timeline)
    notes += said
    by_election: dict[str, list[Leadership]] = defaultdict(list)
    for one in led:
        by_election[one.election].append(one)
    about = _by_election(order, led)
    notes += [f"no journal tells of election {name!r}" for name in elections if name not in about]
    found = []
    for name in sorted(set(about) & set(elections) if elections else about):
        notes += _suspicions(name, by_election[name], about[name])
        found.append(_of_election(name, by_election[name], about[name], max_skew_s))
    return Report(tuple(found), tuple(notes), max_skew_s)


def _by_election(order: Sequence[Placed], led: Sequence[Leadership]) -> dict[str, list[Placed]]:
    """What each election's events are, in order. A renewal belongs to all that are led on its lease."""
    led_on: dict[tuple[str, object], set[str]] = defaultdict(set)
    for one in led:
        led_on[one.writer.process, one.elected.details.get("lease")].add(one.election)
    about: dict[str, list[Placed]] = defaultdict(list)
    for placed in order:
        event = placed.event
        if event.kind is Kind.RENEWED:
            for name in led_on[event.writer.process, event.details.get("lease")]:
                about[name].append(placed)
        elif event.election is not None:
            about[event.election].append(placed)
    return dict(about)


def _of_election(name: str, led: Sequence[Leadership], events: Sequence[Placed], max_skew_s: float) -> ElectionReport:
    overlapping, undecided = overlaps(led, max_skew_s=max_skew_s)
    refusals = tuple(placed for placed in events if placed.event.kind is Kind.FENCED)
    return ElectionReport(name, tuple(led), tuple(overlapping), undecided, refusals, tuple(events))


def _disagreements(order: Sequence[Placed], max_skew_s: float) -> list[str]:
    """Clocks that disagree by more than was allowed for: something is known to have come before, and stands later."""
    worst: dict[tuple[str, str], float] = {}
    by_number = {placed.number: placed for placed in order}
    for placed in order:
        for cause in (by_number[number] for number in placed.heard):
            ahead_s = cause.at_s - placed.at_s
            if clock_of(cause.event.writer) != clock_of(placed.event.writer) and ahead_s > max_skew_s:
                pair = cause.event.writer.host, placed.event.writer.host
                worst[pair] = max(worst.get(pair, 0.0), ahead_s)
    return [
        f"the clock of {fast} is ahead of that of {slow} by {ahead_s:.1f} s at least, more than the {max_skew_s:g} s "
        "allowed for: give --max-skew"
        for (fast, slow), ahead_s in worst.items()
    ]


def _suspicions(name: str, led: Sequence[Leadership], events: Sequence[Placed]) -> list[str]:
    notes = []
    holders: dict[int, set[str]] = defaultdict(set)
    for one in led:
        holders[one.token].add(one.writer.process)
    for token, who in holders.items():
        if len(who) > 1:
            notes.append(
                f"{name}: token {token} was held by {len(who)} processes: these are elections in different stores, "
                "or a copy of a virtual machine"
            )
    stores = {placed.event.text("store") for placed in events if placed.event.kind is Kind.CAMPAIGN}
    if len(stores - {None}) > 1:
        named = ", ".join(sorted(store for store in stores if store is not None))
        notes.append(f"{name}: its candidates name the store differently ({named}); taken for one and the same")
    return notes
