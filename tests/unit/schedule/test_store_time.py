"""Which clock is gone by: this machine's, unless the store's says that it is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from leasekit.errors import ConfigError
from leasekit.schedule.store_time import READ_AGAIN_S, StoreTime
from leasekit.store import ServerTime
from leasekit.testing import ManualClock

TRUE_S = 1_800_000_000.0


class FakeStore:
    """Tells the true time, to the given resolution."""

    def __init__(self, clock: ManualClock, resolution_s: float | None) -> None:
        self.clock = clock
        self.resolution_s = resolution_s
        self.asked = 0

    async def server_time(self, *, timeout_s: float) -> ServerTime | None:
        self.asked += 1
        if self.resolution_s is None:
            return None
        return ServerTime(TRUE_S + self.clock.now().boot_s - 1000, self.resolution_s)


def times(
    wall_off_s: float, resolution_s: float | None = 1.0, *, max_skew_s: float = 2.0, unchecked: bool = False
) -> tuple[StoreTime, FakeStore, ManualClock]:
    clock = ManualClock(wall_s=TRUE_S + wall_off_s)
    store = FakeStore(clock, resolution_s)
    return StoreTime(store, clock, max_skew_s=max_skew_s, unchecked=unchecked), store, clock  # type: ignore[arg-type]


def true(off_s: float = 0) -> datetime:
    return datetime.fromtimestamp(TRUE_S, UTC) + timedelta(seconds=off_s)


@pytest.mark.parametrize(("wall_off_s", "shown_off_s"), [(0.7, 0.7), (-0.7, -0.7), (90, 0), (-90, 0)])
async def test_a_clock_is_corrected_only_where_it_is_surely_wrong(wall_off_s: float, shown_off_s: float) -> None:
    time, _, _ = times(wall_off_s)
    await time.refresh()
    assert time.now() == true(shown_off_s)


async def test_the_time_shown_is_never_further_ahead_than_the_skew_that_is_allowed() -> None:
    time, _, _ = times(0.9, max_skew_s=0.5)
    await time.refresh()
    assert time.now() == true(0.5)


async def test_a_clock_that_jumps_between_two_readings_is_found_out_without_a_request() -> None:
    time, store, clock = times(0)
    await time.refresh()
    clock.advance(30)
    clock.step_wall(3600)
    assert time.now() == true(30)
    await time.refresh()
    assert store.asked == 1


async def test_an_old_reading_is_renewed() -> None:
    time, store, clock = times(0)
    await time.refresh()
    clock.suspend(READ_AGAIN_S + 1)
    await time.refresh()
    assert store.asked == 2


async def test_how_far_ahead_a_slot_is_is_asked_of_the_store_each_time() -> None:
    time, store, _ = times(90)
    assert await time.ahead_s(true(90)) == 90
    assert await time.ahead_s(true(-5)) == -5
    assert store.asked == 2


async def test_without_a_store_that_tells_the_time_an_unchecked_clock_must_be_allowed() -> None:
    time, _, _ = times(0, None)
    with pytest.raises(ConfigError, match="allow_unchecked_clock"):
        await time.refresh()
    allowed, _, _ = times(90, None, unchecked=True)
    await allowed.refresh()
    assert allowed.now() == true(90)
    assert await allowed.ahead_s(true(90)) == 0
