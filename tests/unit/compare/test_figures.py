"""What is said of samples."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leasekit.cli.compare import figures

SAMPLES = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@settings(deadline=None)
@given(SAMPLES)
def test_quartiles_stand_in_order_between_the_extremes(samples: list[float]) -> None:
    found = figures.summary(samples)
    assert found is not None
    ordered = (found.least, found.lower_quartile, found.median, found.upper_quartile, found.most)
    assert list(ordered) == pytest.approx(sorted(ordered))
    assert (found.least, found.most, found.count) == (min(samples), max(samples), len(samples))


def test_a_quarter_of_the_samples_lies_below_the_lower_quartile() -> None:
    samples = [float(number) for number in range(101)]
    random.Random(1).shuffle(samples)
    assert figures.summary(samples) == figures.Summary(101, 0, 25, 50, 75, 100)


def test_one_sample_is_all_there_is_to_say_and_none_is_nothing() -> None:
    assert figures.summary([2.5]) == figures.Summary(1, 2.5, 2.5, 2.5, 2.5, 2.5)
    assert figures.summary([]) is None


@pytest.mark.parametrize(
    ("done_at", "gap_s"),
    [
        ([9.0, 10.0, 13.0, 13.5], 3.0),  # across the moment itself and after
        ([1.0, 9.75, 10.25, 10.5], 0.5),  # what was before does not count
        ([12.0, 12.5], 2.0),  # nothing before: from the moment on
        ([9.0], 0.0),
        ([], 0.0),
    ],
)
def test_the_longest_gap_is_that_after_the_moment(done_at: list[float], gap_s: float) -> None:
    assert figures.longest_gap_s(done_at, 10.0) == gap_s


def test_only_what_began_after_the_moment_counts_as_through() -> None:
    tried = [(9.0, 9.1), (9.9, 12.0), (12.1, 12.3), (12.4, 12.5)]
    assert figures.first_after(tried, 10.0) == 12.3
    assert figures.first_after(tried, 13.0) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00123, "0.001"),
        (0.456, "0.46"),
        (0.998, "1.00"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (1234.5, "1234"),
    ],
)
def test_a_number_has_three_figures_at_most(value: float, text: str) -> None:
    assert figures.number(value) == text
