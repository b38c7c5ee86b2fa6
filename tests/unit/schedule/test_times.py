"""When schedules fire: changes of the clocks, rare dates, intervals, and what is refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from leasekit.errors import ConfigError
from leasekit.schedule.times import Schedule, delay_s, format_slot, parse, parse_slot


def at(text: str) -> datetime:
    return parse_slot(text)


def local_slots(text: str, zone: str, first: str, last: str) -> list[str]:
    """The slots between two local times, as the local clock shows them, with the offset."""
    tz = ZoneInfo(zone)
    after, until = (datetime.fromisoformat(one).replace(tzinfo=tz) for one in (first, last))
    slots = parse(text, zone).between(after, until, limit=1000)
    return [slot.astimezone(tz).strftime("%d %H:%M%z") for slot in slots]


def test_a_daily_time_that_the_clocks_skip_comes_when_they_are_put_forward() -> None:
    assert local_slots("30 2 * * *", "Europe/Paris", "2026-03-28T00:00", "2026-03-30T12:00") == [
        "28 02:30+0100",
        "29 03:00+0200",
        "30 02:30+0200",
    ]


def test_several_skipped_times_are_made_up_for_by_one_slot() -> None:
    assert local_slots("0,15,30 2,3 * * *", "Europe/Paris", "2026-03-29T00:00", "2026-03-29T12:00") == [
        "29 03:00+0200",
        "29 03:15+0200",
        "29 03:30+0200",
    ]


def test_a_daily_time_that_the_clocks_repeat_comes_once() -> None:
    assert local_slots("30 1 * * *", "America/New_York", "2026-10-31T12:00", "2026-11-02T12:00") == [
        "01 01:30-0400",
        "02 01:30-0500",
    ]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-23", 24)])
def test_every_quarter_of_an_hour_is_one_of_real_time(day: str, hours: int) -> None:
    tz = ZoneInfo("Europe/Paris")
    midnight = datetime.fromisoformat(day).replace(tzinfo=tz)
    slots = parse("*/15 * * * *", "Europe/Paris").between(
        midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC), limit=1000
    )
    assert len(slots) == hours * 4
    assert {later - earlier for earlier, later in pairwise(slots)} == {timedelta(minutes=15)}


def test_an_hour_by_its_number_comes_whole_where_the_clocks_change_by_half_an_hour() -> None:
    assert local_slots("*/15 3 * * *", "Australia/Lord_Howe", "2026-10-04T00:00", "2026-10-04T12:00") == [
        "04 03:00+1100",
        "04 03:15+1100",
        "04 03:30+1100",
        "04 03:45+1100",
    ]


@pytest.mark.parametrize(
    "text", ["30 2 * * *", "*/20 * * * *", "0 */6 * * *", "15,45 1-3 * * 0", "0 0 L * *", "0 3 LW * *"]
)
@pytest.mark.parametrize(
    "start", [datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 9, 25, 12, tzinfo=UTC)], ids=str
)
@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Australia/Sydney", "UTC"])
def test_slots_are_those_of_cronsim_where_clocks_change_by_an_hour_in_the_night(
    text: str, zone: str, start: datetime
) -> None:
    tz = UTC if zone == "UTC" else ZoneInfo(zone)
    end = start + timedelta(days=42)
    walked = (one.astimezone(UTC) for one in CronSim(text, start.astimezone(tz)))
    expected = list(takewhile(lambda slot: slot <= end, walked))
    assert parse(text, zone).between(start, end, limit=100_000) == expected


def test_the_29th_of_february_is_found_over_the_years() -> None:
    schedule = parse("0 0 29 2 *")
    assert schedule.next_after(at("2096-03-01T00:00:00Z")) == at("2104-02-29T00:00:00Z")
    assert schedule.latest_at(at("2104-02-28T23:59:59Z")) == at("2096-02-29T00:00:00Z")
    assert schedule.latest_at(at("2104-02-29T00:00:00Z")) == at("2104-02-29T00:00:00Z")


@pytest.mark.parametrize(
    ("nickname", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@Annually", "0 0 1 1 *"),
    ],
)
def test_a_nickname_means_its_fields(nickname: str, fields: str) -> None:
    start = at("2026-11-23T03:00:00Z")
    assert upcoming(parse(nickname, "Asia/Tehran"), start) == upcoming(parse(fields, "Asia/Tehran"), start)


def upcoming(schedule: Schedule, start: datetime) -> list[datetime]:
    slots: list[datetime] = []
    slot: datetime | None = start
    while len(slots) < 5 and slot is not None and (slot := schedule.next_after(slot)):
        slots.append(slot)
    return slots


@pytest.mark.parametrize(
    ("text", "length_s"), [("every 30s", 30), ("every 5m", 300), ("every 1h30m", 5400), ("EVERY  1d", 86400)]
)
def test_an_interval_counts_from_1970_whatever_the_zone(text: str, length_s: int) -> None:
    slot = parse(text, "Asia/Kolkata").next_after(at("2026-03-29T00:59:59Z"))
    assert slot is not None
    assert slot.timestamp() % length_s == 0


def test_a_slot_is_later_than_now_to_the_fraction_of_a_second() -> None:
    schedule = parse("* * * * * *")
    now = at("2026-11-23T03:00:00.25Z")
    assert schedule.latest_at(now) == at("2026-11-23T03:00:00Z")
    assert schedule.next_after(now) == at("2026-11-23T03:00:01Z")
    assert schedule.next_after(at("2026-11-23T03:00:00Z")) == at("2026-11-23T03:00:01Z")


@pytest.mark.parametrize("ask", [Schedule.next_after, Schedule.latest_at])
@pytest.mark.parametrize("text", ["* * * * *", "0 0 29 2 *", "every 7s"])
def test_beyond_the_calendar_there_are_no_slots(
    text: str, ask: Callable[[Schedule, datetime], datetime | None]
) -> None:
    end = datetime.max if ask is Schedule.next_after else datetime.min
    assert ask(parse(text, "Europe/Paris"), end.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("text", "weeks"),
    [("every 1s", 500), ("* * * * * *", 500), ("0 0 29 2 *", 5), ("0 0 29 2 */7", 5), ("0 0 1 1 *", 5)],
)
def test_the_latest_slots_are_found_without_walking_through_all(text: str, weeks: int) -> None:
    schedule = parse(text, "Europe/Paris")
    now = at("2026-11-23T03:00:00Z")
    began = time.process_time()
    assert schedule.latest_at(now) is not None
    assert len(schedule.between(now - timedelta(weeks=weeks), now, limit=64)) in (64, 0)
    assert schedule.count_between(now - timedelta(weeks=weeks), now, limit=64) in (64, 0)
    # Some milliseconds. To walk through the 300 million seconds of ten years takes minutes.
    assert time.process_time() - began < 2


def test_jitter_differs_by_job_and_slot_and_is_the_same_everywhere() -> None:
    slot = at("2026-11-23T03:00:00Z")
    assert delay_s("nightly", slot, 60) == delay_s("nightly", slot.astimezone(ZoneInfo("Asia/Tehran")), 60)
    delays = {delay_s(job, slot + timedelta(days=n), 60) for job in ("nightly", "hourly") for n in range(50)}
    assert len(delays) == 100
    assert min(delays) < 6 and max(delays) > 54
    # Machines with different versions must agree, too.
    assert delay_s("nightly", slot, 60) == pytest.approx(6.214728648774326)


def test_a_slot_is_written_in_utc_with_a_fraction_only_if_it_has_one() -> None:
    assert format_slot(at("2026-11-23T04:00:00+01:00")) == "2026-11-23T03:00:00Z"
    assert format_slot(at("2026-11-23T03:00:00.5Z")) == "2026-11-23T03:00:00.500000Z"


def test_a_schedule_is_a_value() -> None:
    one, other = parse("0  3 * * *", "Europe/Paris"), parse(" 0 3 * * * ", "Europe/Paris")
    assert one == other
    assert hash(one) == hash(other)
    assert one != parse("0 3 * * *")
    assert repr(one) == "Schedule(text='0 3 * * *', tz='Europe/Paris')"
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("61 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * MOON", "day-of-week"),
        ("60 * * * * *", "second"),
        ("* * * *", "4 fields"),
        ("", "0 fields"),
        ("@reboot", "@hourly"),
        ("every", "every 30s"),
        ("every 0s", "every 30s"),
        ("every 500ms", "every 30s"),
        ("every 367d", "366 days"),
        ("0 0 30 2 *", "day-of-month"),
        ("0 0 31 2,4 */7", "day-of-month"),
    ],
)
def test_a_schedule_that_will_not_do_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        parse(text)
    assert refused.value.field == "schedule"


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "Europe", "../../etc/passwd", "/etc/localtime", "localtime", "a\0b"]
)
def test_a_zone_that_will_not_do_is_refused(zone: str) -> None:
    with pytest.raises(ConfigError, match="IANA") as refused:
        parse("@daily", zone)
    assert refused.value.field == "tz"


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match="no time zone"):
        parse("@daily").next_after(datetime(2026, 11, 23))
    with pytest.raises(ConfigError, match="slot"):
        parse_slot("2026-11-23T03:00:00")


def test_without_cronsim_intervals_work_and_fields_say_what_to_install() -> None:
    program = (
        "import sys; sys.modules['cronsim'] = None\n"
        "from leasekit.schedule.times import parse\n"
        "print(parse('every 30s').text)\n"
        "parse('@daily')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "every 30s\n"
    assert "pip install 'leasekit[cron]'" in done.stderr


def test_a_date_that_cannot_be_is_refused_at_once() -> None:
    # The fifth Monday of a February is always the 29th, which is none of 1, 4, ... 28.
    with pytest.raises(ConfigError, match="never comes"):
        parse("0 0 */3 2 1#5")
