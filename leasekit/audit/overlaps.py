"""Where two leaderships of one election were believed in, or valid, at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leasekit.audit.leaderships import Leadership
from leasekit.audit.order import relation
from leasekit.audit.timeline import clock_of
from leasekit.core.logical import Relation

EXACT_S = 1e-5
"""What rounding may make of two moments of one clock."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two leaderships, the one that began first first. Lengths are in seconds; moments on the `Timeline`."""

    first: Leadership
    second: Leadership
    from_s: float
    until_s: float
    valid_s: float
    """For how long both were valid; 0 if they were not."""
    uncertain_s: float
    """How far the clocks of the two may disagree: an overlap that is not longer may be none."""

    @property
    def length_s(self) -> float:
        """For how long both were believed in."""
        return self.until_s - self.from_s

    @property
    def certain(self) -> bool:
        """Whether both were believed in at once, however far the clocks disagree within their bound."""
        return self.length_s > self.uncertain_s

    @property
    def valid(self) -> bool:
        """Whether both were valid at once, likewise: what must never be."""
        return self.valid_s > self.uncertain_s

    @property
    def order(self) -> Relation:
        """How the end of the first (its election, if that is in no journal) stands to the election of the second."""
        return relation(self.first.ended or self.first.elected, self.second.elected)


def overlaps(leaderships: Sequence[Leadership], *, max_skew_s: float) -> tuple[list[Overlap], int]:
    """All overlaps of one election, in time; and how many handovers were too close for the clocks to tell.

    `max_skew_s`: how far the wall clocks of two machines may disagree. On one machine nothing is uncertain.
    """
    found: list[Overlap] = []
    undecided = 0
    going_on: list[Leadership] = []
    for second in sorted(leaderships, key=lambda one: (one.began_s, one.token)):
        going_on = [one for one in going_on if one.believed_until_s + max_skew_s > second.began_s]
        for first in going_on:
            uncertain_s = EXACT_S if clock_of(first.writer) == clock_of(second.writer) else max_skew_s
            if _handed_over(first, second) or _handed_over(second, first):
                continue
            overlap = _overlap(first, second, uncertain_s)
            if overlap.certain:
                found.append(overlap)
            elif uncertain_s > EXACT_S and overlap.length_s > -uncertain_s:
                undecided += 1
        going_on.append(second)
    return found, undecided


def _handed_over(first: Leadership, second: Leadership) -> bool:
    """Whether the second knew of the first's end when it was elected: then no clock can say otherwise.

    Clocks that disagree may have put the two in the wrong order, so it is asked both ways.
    """
    return first.ended is not None and relation(first.ended, second.elected) is Relation.BEFORE


def _overlap(first: Leadership, second: Leadership, uncertain_s: float) -> Overlap:
    valid_s = min(first.valid_until_s, second.valid_until_s) - max(first.began_s, second.began_s)
    return Overlap(
        first=first,
        second=second,
        from_s=max(first.began_s, second.began_s),
        until_s=min(first.believed_until_s, second.believed_until_s),
        valid_s=max(0.0, valid_s) if valid_s > uncertain_s else 0.0,
        uncertain_s=uncertain_s,
    )
