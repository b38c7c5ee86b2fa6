"""Samples and what is said of them: quartiles, gaps, numbers as people read them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a few numbers say of many samples."""

    count: int
    least: float
    lower_quartile: float
    median: float
    upper_quartile: float
    most: float


def summary(samples: Sequence[float]) -> Summary | None:
    """Of any number of samples; None of none. Quartiles are interpolated between samples, never beyond them."""
    if not samples:
        return None
    if len(samples) == 1:
        [only] = samples
        return Summary(1, only, only, only, only, only)
    lower, middle, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return Summary(len(samples), min(samples), lower, middle, upper, max(samples))


def longest_gap_s(done_at: Sequence[float], since_s: float) -> float:
    """The longest time from one success to the next, of those from the last one before `since_s` on; 0 without any.

    `done_at`: moments in order.
    """
    before = [moment for moment in done_at if moment <= since_s]
    after = [moment for moment in done_at if moment > since_s]
    gaps = (later - earlier for earlier, later in pairwise([before[-1] if before else since_s, *after]))
    return max(gaps, default=0.0)


def first_after(tried: Sequence[tuple[float, float]], moment_s: float) -> float | None:
    """When the first of those that began after this moment succeeded; `tried` has (began, done) pairs in order."""
    return next((done for began, done in tried if began > moment_s), None)


def number(value: float) -> str:
    """To three figures, with no digits that mean nothing."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.995:
        return f"{value:.2f}"
    return f"{value:.2g}" if size >= 0.01 else f"{value:.3f}"


def printable(text: str) -> str:
    """Without what could break a line or send a terminal astray: servers may say anything."""
    return "".join(char if char.isprintable() else "?" for char in text)
