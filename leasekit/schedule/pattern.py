"""The instants at which the local clock shows a time that fits cron's fields.

cronsim reads the fields and says which dates fit. It is not asked for the instants: it steps by the hour, so it loses
half an hour where clocks change by half an hour, and it cannot be asked twice without walking again from the start.
Here a UTC day is cut where the zone's offset changes; within such a piece local time is plain arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from leasekit.errors import ConfigError

if TYPE_CHECKING:
    from cronsim import CronSim

DAY_S = 86_400
HORIZON_DAYS = 50 * 366

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
# Two days are left at both ends of what a date can say, for zones and for the days beside a day.
_FIRST_DAY = date.min.toordinal() + 2 - _EPOCH_DAY
_LAST_DAY = date.max.toordinal() - 2 - _EPOCH_DAY


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch [start, end) of seconds since 1970 with one offset; `skipped_s`: how much local time was left out
    as it began."""

    start: int
    end: int
    offset_s: int
    skipped_s: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """`nominal`: each local time once (Debian cron's rule), else whenever the local clock shows it."""

    zone: tzinfo
    nominal: bool
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]
    _dates: CronSim

    @classmethod
    def parse(cls, text: str, zone: tzinfo) -> Pattern:
        """Raises ConfigError naming the field that is wrong, or how to install cronsim."""
        try:
            from cronsim import CronSim, CronSimError
        except ImportError:
            raise ConfigError("schedule", "cron's fields need another package: pip install 'leasekit[cron]'") from None
        fields = text.split()
        if len(fields) not in (5, 6):
            raise ConfigError(
                "schedule",
                f"{text!r} has {len(fields)} fields: write five (minute hour day month weekday), or six with seconds "
                "first, or @daily, or every 30s",
            )
        try:
            read = CronSim(text, _EPOCH)
        except CronSimError as error:
            raise ConfigError("schedule", f"{text!r}: {str(error).lower()}") from None
        nominal = len(fields) == 5 and not fields[0].startswith("*") and not fields[1].startswith("*")
        hours, minutes, seconds = (tuple(sorted(numbers)) for numbers in (read.hours, read.minutes, read.seconds))
        return cls(zone, nominal, hours, minutes, seconds, read)

    def rising(self, second: int) -> Iterator[int]:
        """All slots from `second` on, it included, oldest first."""
        for day in self._utc_days(second // DAY_S, 1):
            for piece in self._pieces(day):
                if piece.end > second:
                    yield from self._within(piece, second, piece.end, 1)

    def falling(self, second: int) -> Iterator[int]:
        """All slots up to `second`, it included, latest first."""
        for day in self._utc_days(second // DAY_S, -1):
            for piece in reversed(self._pieces(day)):
                if piece.start <= second:
                    yield from self._within(piece, piece.start, second, -1)

    def _within(self, piece: _Piece, first: int, last: int, step: int) -> Iterator[int]:
        """The slots of one piece that are in [first, last]."""
        first, last = max(first, piece.start), min(last, piece.end - 1)
        made_up = self._made_up(piece)
        if made_up is not None and not first <= made_up <= last:
            made_up = None
        if made_up is not None and step > 0:
            yield made_up
        for local in self._local_times(first + piece.offset_s, last + piece.offset_s, step):
            slot = local - piece.offset_s
            if slot != made_up and not (self.nominal and self._repeated(slot)):
                yield slot
        if made_up is not None and step < 0:
            yield made_up

    def _made_up(self, piece: _Piece) -> int | None:
        """When nominal times that were left out as this piece began are made up for: its first whole minute."""
        if not self.nominal or not piece.skipped_s:
            return None
        begun = piece.start + piece.offset_s
        if next(self._local_times(begun - piece.skipped_s, begun - 1, 1), None) is None:
            return None
        return -(-begun // 60) * 60 - piece.offset_s

    def _local_times(self, first: int, last: int, step: int) -> Iterator[int]:
        """The local times in [first, last] (seconds on the local clock) that fit all fields, in the order of `step`."""
        days = range(first // DAY_S, last // DAY_S + 1)
        for day in days[::step]:
            if not self._fits(day):
                continue
            for hour in self.hours[::step]:
                at_hour = day * DAY_S + hour * 3600
                if at_hour + 3599 < first or at_hour > last:
                    continue
                for minute in self.minutes[::step]:
                    at_minute = at_hour + minute * 60
                    if at_minute + 59 < first or at_minute > last:
                        continue
                    for second in self.seconds[::step]:
                        if first <= at_minute + second <= last:
                            yield at_minute + second

    def _fits(self, day: int) -> bool:
        local = date.fromordinal(day + _EPOCH_DAY)
        return local.month in self._dates.months and self._dates.match_day(local)

    def _utc_days(self, day: int, step: int) -> Iterator[int]:
        """The days (since 1970) from `day` on in which, by UTC, some part of a local date that fits may lie."""
        end = day + step * HORIZON_DAYS
        while True:
            # The zone's date is that of UTC, the one before or the one after.
            fitting = self._next_fitting(day - step, end, step)
            if fitting is None:
                return
            day = max(day, fitting - 1) if step > 0 else min(day, fitting + 1)
            if not _FIRST_DAY <= day <= _LAST_DAY:
                return
            yield day
            day += step

    def _next_fitting(self, day: int, end: int, step: int) -> int | None:
        end = min(end, _LAST_DAY + 1) if step > 0 else max(end, _FIRST_DAY - 1)
        day = max(day, _FIRST_DAY - 1) if step > 0 else min(day, _LAST_DAY + 1)
        while (end - day) * step >= 0:
            local = date.fromordinal(day + _EPOCH_DAY)
            if local.month not in self._dates.months:
                # To the next month's first day, or to the last of the month before.
                first = local.replace(day=1)
                day = ((first + timedelta(days=32)).replace(day=1) if step > 0 else first).toordinal() - _EPOCH_DAY
                day -= step < 0
            elif self._dates.match_day(local):
                return day
            else:
                day += step
        return None

    def _pieces(self, day: int) -> list[_Piece]:
        """That UTC day, cut where the offset changes. No zone has ever changed it twice within a day."""
        start, end = day * DAY_S, (day + 1) * DAY_S
        before, after = self._offset_s(start - 1), self._offset_s(end - 1)
        if before == after:
            return [_Piece(start, end, after, 0)]
        low, high = start - 1, end - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._offset_s(middle) == before else (low, middle)
        changed = _Piece(high, end, after, max(0, after - before))
        return [_Piece(start, high, before, 0), changed] if high > start else [changed]

    def _offset_s(self, second: int) -> int:
        offset = self._local(second).utcoffset()
        assert offset is not None
        return offset // timedelta(seconds=1)

    def _repeated(self, second: int) -> bool:
        """Whether the local clock shows what it has shown before."""
        return self._local(second).fold == 1

    def _local(self, second: int) -> datetime:
        return (_EPOCH + timedelta(seconds=second)).astimezone(self.zone)
