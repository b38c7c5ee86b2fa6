"""When a schedule fires: pure arithmetic over slots, the nominal instants at which something is to be run.

A schedule with five fields that names its minutes and hours fires once for each nominal local time, as Debian's cron
has it: a time that the clocks skip fires when they are put forward, one that they repeat fires the first time only.
If minutes or hours start with a star, or there are six fields (seconds first), it fires whenever the local clock shows
a time that fits: so `*/15` goes on every quarter of an hour of real time, over both changes of the clocks. Intervals
(`every 30s`) know no zone: they count from 1970-01-01T00:00:00Z.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, takewhile
from typing import Protocol

from leasekit.errors import ConfigError
from leasekit.schedule.pattern import Pattern

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
LONGEST_INTERVAL_S = 366 * 86_400

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_FIRST_S = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _SECOND
_LAST_S = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _SECOND
_INTERVAL = re.compile(r"every\s+(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII | re.IGNORECASE)


class _Slots(Protocol):
    """The slots of a schedule as whole seconds since 1970, from `second` on, it included: lazily, one by one."""

    def rising(self, second: int) -> Iterator[int]: ...
    def falling(self, second: int) -> Iterator[int]: ...


@dataclass(frozen=True, slots=True)
class _Interval:
    length_s: int

    def rising(self, second: int) -> Iterator[int]:
        slot = -(-second // self.length_s) * self.length_s
        while True:
            yield slot
            slot += self.length_s

    def falling(self, second: int) -> Iterator[int]:
        slot = second // self.length_s * self.length_s
        while True:
            yield slot
            slot -= self.length_s


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is to be run; made by `parse`. Immutable; equal if text and zone are."""

    text: str
    tz: str
    _slots: _Slots = field(repr=False, compare=False)

    @property
    def zone(self) -> tzinfo:
        """By whose clocks the fields are meant."""
        return _zone(self.tz)

    def next_after(self, instant: datetime) -> datetime | None:
        """The first slot later than `instant`, in UTC; None if there is none within some fifty years."""
        slot = next(self._slots.rising(_whole_seconds(instant) + 1), None)
        return None if slot is None or slot > _LAST_S else _instant(slot)

    def latest_at(self, instant: datetime) -> datetime | None:
        """The latest slot that is not later than `instant`, in UTC; None if there is none within some fifty years."""
        slot = next(self._slots.falling(_whole_seconds(instant)), None)
        return None if slot is None or slot < _FIRST_S else _instant(slot)

    def between(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """The slots later than `after` and not later than `until`: the latest `limit` of them, oldest first."""
        return [_instant(slot) for slot in islice(self._falling_between(after, until), limit)][::-1]

    def count_between(self, after: datetime, until: datetime, limit: int) -> int:
        """How many slots are later than `after` and not later than `until`; `limit` if there are more."""
        return sum(1 for _ in islice(self._falling_between(after, until), limit))

    def _falling_between(self, after: datetime, until: datetime) -> Iterator[int]:
        earliest = max(_FIRST_S, _whole_seconds(after) + 1)
        return takewhile(lambda slot: slot >= earliest, self._slots.falling(_whole_seconds(until)))


@lru_cache(maxsize=256)
def parse(text: str, tz: str | None = None) -> Schedule:
    """The schedule that `text` says: five cron fields (six: seconds first), a nickname as @daily, or `every 1h30m`.

    `tz` is the zone by whose clocks the fields are meant, by its IANA name; UTC by default.
    Raises ConfigError (field "schedule" or "tz") naming what is wrong.
    """
    text = " ".join(text.split())
    zone = _zone(tz)
    tz = "UTC" if tz is None else tz
    if text.lower().startswith("every"):
        return Schedule(text, tz, _Interval(_interval_s(text)))
    if text.startswith("@") and text.lower() not in NICKNAMES:
        raise ConfigError("schedule", f"{text!r} is not known: write one of {', '.join(NICKNAMES)}")
    schedule = Schedule(text, tz, Pattern.parse(NICKNAMES.get(text.lower(), text), zone))
    if schedule.next_after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise ConfigError("schedule", f"{text!r} never comes: no date is like that")
    return schedule


def delay_s(job: str, slot: datetime, jitter_s: float) -> float:
    """How much later than `slot` the job is to start, in [0, jitter_s): the same number on all machines."""
    digest = hashlib.sha256(f"{job} {format_slot(slot)}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * jitter_s


def format_slot(slot: datetime) -> str:
    """As in records and in LEASEKIT_SLOT: UTC, `2026-11-23T03:00:00Z`, with a fraction only if there is one."""
    return _aware(slot).replace(tzinfo=None).isoformat() + "Z"


def parse_slot(text: str) -> datetime:
    """The instant that `format_slot` wrote, or any ISO 8601 time with an offset. Raises ConfigError (field "slot")."""
    try:
        return _aware(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise ConfigError("slot", f"{text!r} is no instant: write for example 2026-11-23T03:00:00Z") from None


def _zone(name: str | None) -> tzinfo:
    if name is None or name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, available_timezones

    # Whatever this machine calls its own would be another zone on the next.
    if name not in ("localtime", "posixrules"):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    if not available_timezones():
        raise ConfigError("tz", f"{name!r} cannot be looked up, no time zones are installed: pip install tzdata")
    raise ConfigError("tz", f"{name!r} is no time zone: write an IANA name, for example Europe/Paris")


def _interval_s(text: str) -> int:
    found = _INTERVAL.fullmatch(text)
    days, hours, minutes, seconds = (int(group or 0) for group in found.groups()) if found else (0, 0, 0, 0)
    length_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if length_s == 0:
        raise ConfigError("schedule", f"{text!r} is no interval: write for example every 30s, every 5m, every 1h30m")
    if length_s > LONGEST_INTERVAL_S:
        raise ConfigError("schedule", f"{text!r} is too long: 366 days at most")
    return length_s


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ConfigError("slot", f"{instant} has no time zone: give one, for example datetime.now(UTC)")
    return instant.astimezone(UTC)


def _whole_seconds(instant: datetime) -> int:
    return (_aware(instant) - _EPOCH) // _SECOND


def _instant(second: int) -> datetime:
    return _EPOCH + second * _SECOND
