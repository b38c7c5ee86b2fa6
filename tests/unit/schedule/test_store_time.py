"""Which clock is gone by: this machine's, unless the store's says that it is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from leasekit.errors import ConfigError
from leasekit.schedule.store_time import READ_AGAIN_S, READ_AGAIN_SOON_S, StoreTime
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


@pytest.mark.parametrize(("max_skew_s", "shown_off_s"), [(2.0, 0.9), (1.5, 0.5), (0.5, -0.5)])
async def test_the_time_shown_is_never_further_ahead_than_the_skew_that_is_allowed(
    max_skew_s: float, shown_off_s: float
) -> None:
    """Whatever a coarse answer leaves open counts against it."""
    time, _, _ = times(0.9, max_skew_s=max_skew_s)
    await time.refresh()
    assert time.now() == true(shown_off_s)


@pytest.mark.parametrize("wall_off_s", [-90.0, 0.0, 1.0, 2.5, 3.2, 90.0])
@pytest.mark.parametrize("told_after_s", [0.0, 3.0])
async def test_however_long_an_answer_takes_the_time_shown_is_not_too_far_ahead(
    wall_off_s: float, told_after_s: float
) -> None:
    time, store, clock = times(wall_off_s)
    told = store.server_time

    async def slow(*, timeout_s: float) -> ServerTime | None:
        clock.advance(told_after_s)
        answer = await told(timeout_s=timeout_s)
        clock.advance(3.0 - told_after_s)
        return answer

    store.server_time = slow  # type: ignore[method-assign]
    await time.refresh()
    assert time.now() <= true(3 + 2)
    if wall_off_s == 0:
        assert true(3 - 3) <= time.now() <= true(3)


async def test_an_answer_that_was_slow_is_asked_for_again_before_long() -> None:
    time, store, clock = times(0)
    told = store.server_time

    async def slow(*, timeout_s: float) -> ServerTime | None:
        clock.advance(1)
        return await told(timeout_s=timeout_s)

    store.server_time = slow  # type: ignore[method-assign]
    await time.refresh()
    clock.advance(READ_AGAIN_SOON_S + 0.1)
    await time.refresh()
    assert store.asked == 2


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
