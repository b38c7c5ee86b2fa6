"""Slots against a brute-force model, which looks at each minute of local time by itself, over changes of the clocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leasekit.errors import ConfigError
from leasekit.schedule.times import delay_s, parse, parse_slot

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

# Changes by an hour, by half of one, by two and by a whole day; at midnight, at a minute past it; southern summers,
# one that is suspended for Ramadan, winter time as the exception, and no changes at all.
ZONES = [
    "America/Havana", "America/New_York", "America/Sao_Paulo", "America/St_Johns", "Africa/Casablanca",
    "Antarctica/Troll", "Asia/Beirut", "Asia/Kolkata", "Asia/Tehran", "Australia/Lord_Howe", "Europe/Dublin",
    "Europe/Paris", "Pacific/Apia", "Pacific/Chatham", "UTC",
]  # fmt: skip


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """The days since 2008 in which the clocks of the zone change."""
    tz = ZoneInfo(zone)
    days = [datetime(2008, 1, 1, tzinfo=UTC) + DAY * n for n in range(20 * 365)]
    offsets = [day.astimezone(tz).utcoffset() for day in days]
    return tuple(day for day, one, next in zip(days, offsets, offsets[1:], strict=False) if one != next)


@dataclass(frozen=True)
class Fields:
    """What is written in the five fields, and what it means by definition."""

    minute: tuple[str, frozenset[int]]
    hour: tuple[str, frozenset[int]]
    day: tuple[str, frozenset[int]]
    month: tuple[str, frozenset[int]]
    weekday: tuple[str, frozenset[int]]

    @property
    def text(self) -> str:
        return " ".join(text for text, _ in (self.minute, self.hour, self.day, self.month, self.weekday))

    @property
    def nominal(self) -> bool:
        return "*" not in (self.minute[0][0], self.hour[0][0])

    def fit(self, local: datetime) -> bool:
        return local.minute in self.minute[1] and local.hour in self.hour[1] and self.fit_date(local.date())

    def fit_date(self, local: date) -> bool:
        of_month, of_week = local.day in self.day[1], local.isoweekday() % 7 in self.weekday[1]
        both = "*" in (self.day[0][0], self.weekday[0][0])
        return local.month in self.month[1] and ((of_month and of_week) if both else (of_month or of_week))


def field(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """A field's text with the numbers that it means."""
    numbers = range(low, high + 1)

    def ranged(ends: tuple[int, int]) -> tuple[str, frozenset[int]]:
        first, last = sorted(ends)
        return f"{first}-{last}", frozenset(range(first, last + 1))

    listed = st.frozensets(st.sampled_from(numbers), min_size=1, max_size=4)
    return st.one_of(
        st.just(("*", frozenset(numbers))),
        st.integers(1, high).map(lambda step: (f"*/{step}", frozenset(numbers[::step]))),
        st.tuples(st.sampled_from(numbers), st.sampled_from(numbers)).map(ranged),
        listed.map(lambda some: (",".join(map(str, sorted(some))), some)),
    )


ANY_DAY = ("*", frozenset(range(1, 32)))
ANY_MONTH = ("*", frozenset(range(1, 13)))
ANY_WEEKDAY = ("*", frozenset(range(7)))
fields = st.builds(
    Fields,
    field(0, 59),
    # Most changes are in the night.
    st.one_of(field(0, 4), field(0, 23)).filter(lambda one: "*" not in one[0] or max(one[1]) > 4),
    st.one_of(st.just(ANY_DAY), field(1, 31)),
    st.just(ANY_MONTH),
    st.one_of(st.just(ANY_WEEKDAY), field(0, 6)),
)


@st.composite
def windows(draw: st.DrawFn) -> tuple[str, datetime, datetime]:
    """A zone, and some days there, mostly such as have a change of the clocks."""
    zone = draw(st.sampled_from(ZONES))
    around = draw(st.sampled_from(changes(zone) or (datetime(2026, 3, 1, tzinfo=UTC),)))
    start = around - MINUTE * draw(st.integers(0, 2 * 24 * 60)) - timedelta(seconds=draw(st.integers(0, 59)))
    return zone, start, start + DAY * 2


def model(fields: Fields, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """All slots in (after, until], each minute looked at by itself."""
    tz = ZoneInfo(zone)
    found: set[datetime] = set()
    instant = after.replace(second=0) - DAY
    while instant <= until:
        local = instant.astimezone(tz)
        if fields.fit(local) and not (fields.nominal and local.fold):
            found.add(instant)
        # What the local clock left out since the minute before: each such time comes as soon as there is one again.
        left_out = (instant - MINUTE).astimezone(tz).replace(tzinfo=None) + MINUTE
        while fields.nominal and left_out < local.replace(tzinfo=None):
            if fields.fit(left_out):
                found.add(instant)
            left_out += MINUTE
        instant += MINUTE
    return sorted(slot for slot in found if after < slot <= until)


@settings(max_examples=100, deadline=None)
@given(fields, windows())
@example(
    Fields(("30", frozenset({30})), ("2", frozenset({2})), ANY_DAY, ANY_MONTH, ANY_WEEKDAY),
    ("Europe/Paris", datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)),
)
def test_slots_are_those_of_the_model(fields: Fields, window: tuple[str, datetime, datetime]) -> None:
    zone, after, until = window
    try:
        schedule = parse(fields.text, zone)
    except ConfigError:
        # Some dates do not exist: then the model has none either.
        assert model(fields, zone, after, until) == []
        return
    expected = model(fields, zone, after, until)
    assert schedule.between(after, until, limit=10_000) == expected
    assert schedule.between(after, until, limit=3) == expected[-3:]
    assert schedule.count_between(after, until, limit=10_000) == len(expected)
    assert schedule.count_between(after, until, limit=3) == min(3, len(expected))
    assert forwards(schedule.next_after, after, until) == expected
    for instant in (after + (until - after) * n / 5 for n in range(6)):
        earlier = [slot for slot in expected if slot <= instant]
        found = schedule.latest_at(instant)
        assert found == earlier[-1] if earlier else found is None or found <= after


def forwards(next_after: Callable[[datetime], datetime | None], after: datetime, until: datetime) -> list[datetime]:
    found: list[datetime] = []
    slot = next_after(after)
    while slot is not None and slot <= until:
        found.append(slot)
        slot = next_after(slot)
    return found


@settings(max_examples=50, deadline=None)
@given(
    field(0, 59),
    st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(ZONES),
)
def test_a_field_of_seconds_fires_by_the_second(
    seconds: tuple[str, frozenset[int]], instant: datetime, zone: str
) -> None:
    schedule = parse(f"{seconds[0]} * * * * *", zone)
    instant = instant.replace(microsecond=0)
    window = [instant + timedelta(seconds=n) for n in range(1, 181)]
    expected = [one for one in window if one.astimezone(ZoneInfo(zone)).second in seconds[1]]
    assert schedule.between(instant, window[-1], limit=1000) == expected


@given(st.integers(1, 400_000), st.datetimes(timezones=st.just(UTC)))
def test_intervals_count_from_1970(length_s: int, instant: datetime) -> None:
    schedule = parse(f"every {length_s}s")
    found, coming = schedule.latest_at(instant), schedule.next_after(instant)
    for slot in (found, coming):
        assert slot is None or slot.timestamp() % length_s == 0
    if found is not None and coming is not None:
        assert found <= instant < coming
        assert (coming - found).total_seconds() == length_s


@given(st.text(max_size=20), st.datetimes(timezones=st.just(UTC)), st.floats(0, 1e6, allow_subnormal=False))
def test_jitter_is_the_same_each_time_and_less_than_its_bound(job: str, slot: datetime, jitter_s: float) -> None:
    delay = delay_s(job, slot, jitter_s)
    assert delay == delay_s(job, slot, jitter_s)
    assert 0 <= delay < jitter_s or delay == jitter_s == 0


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=20),
        st.text("0123456789*/,-#LW MONJAN?@every hms", max_size=24),
        st.lists(st.sampled_from(["*", "*/0", "7", "0-7", "L", "LW", "5L", "1#5", "MON#6", "60", "FEB-JAN", "1-", ",", "²"]), min_size=4, max_size=7)
        .map(" ".join),
    ),
    st.one_of(st.none(), st.text(max_size=10)),
)  # fmt: skip
def test_what_is_no_schedule_is_refused_as_one(text: str, tz: str | None) -> None:
    try:
        schedule = parse(text, tz)
    except ConfigError:
        return
    assert schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@given(st.text("0123456789-:TZ.+ ", max_size=30))
def test_a_slot_is_in_utc_and_whatever_is_none_is_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_slot(text).tzinfo is UTC


def test_the_zones_here_do_change_their_clocks() -> None:
    still = [zone for zone in ZONES if not changes(zone)]
    assert still == ["Asia/Kolkata", "UTC"]


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_job_comes_once_for_each_date_that_there_is(zone: str) -> None:
    schedule = parse("30 2 * * *", zone)
    start, end = datetime(2010, 6, 1, 12, tzinfo=UTC), datetime(2016, 6, 1, 12, tzinfo=UTC)
    slots = schedule.between(start, end, limit=10_000)
    # Of the local dates, not of the days: Samoa left one out, and had two within a day.
    first, last = (instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for instant in (start, end))
    half_past_two = timedelta(hours=2, minutes=30)
    assert len(slots) == ((last - half_past_two).date() - (first - half_past_two).date()).days
