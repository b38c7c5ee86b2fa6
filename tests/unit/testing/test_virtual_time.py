"""The manual clock, and the loop that runs on it."""

from __future__ import annotations

import asyncio
import time

import pytest

from leasekit.testing import DeadlockError, ManualClock, VirtualTimeExceeded, run_virtual


def test_advancing_moves_every_clock() -> None:
    clock = ManualClock(boot_s=10, raw_s=20, wall_s=30)
    clock.advance(5)
    assert (clock.now().boot_s, clock.now().raw_s, clock.wall_s()) == (15, 25, 35)


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock().advance(-1)


def test_a_suspended_machine_stops_only_its_raw_clock() -> None:
    clock = ManualClock(boot_s=10, raw_s=20, wall_s=30)
    clock.suspend(5)
    assert (clock.now().boot_s, clock.now().raw_s, clock.wall_s()) == (15, 20, 35)


def test_setting_the_wall_clock_moves_no_other() -> None:
    clock = ManualClock(boot_s=10, raw_s=20, wall_s=30)
    clock.step_wall(-25)
    assert (clock.now().boot_s, clock.now().raw_s, clock.wall_s()) == (10, 20, 5)


def test_slewing_sets_the_boot_clock_off_against_the_raw_one() -> None:
    clock = ManualClock(boot_s=10, raw_s=10)
    deadline = clock.now().plus(3)
    clock.slew(-1)
    clock.advance(3)
    assert clock.now().reached(deadline)
    assert clock.now().boot_s < deadline.boot_s


def test_a_long_sleep_takes_no_time() -> None:
    clock = ManualClock()
    began = time.monotonic()
    run_virtual(asyncio.sleep(3600), clock)
    assert time.monotonic() - began < 60
    assert clock.now().raw_s == pytest.approx(1000 + 3600)
    assert clock.wall_s() == pytest.approx(1_800_000_000 + 3600)


def test_timers_fire_in_order_at_their_moment() -> None:
    clock = ManualClock(raw_s=0)
    fired: list[tuple[str, float]] = []

    async def sleeper(name: str, duration_s: float) -> None:
        await asyncio.sleep(duration_s)
        fired.append((name, clock.now().raw_s))

    async def main() -> None:
        await asyncio.gather(sleeper("late", 3), sleeper("early", 1), sleeper("middle", 2))

    run_virtual(main(), clock)
    assert fired == [("early", 1), ("middle", 2), ("late", 3)]


def test_time_outs_run_on_virtual_time() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.Event().wait()

    run_virtual(main())


def test_a_suspend_makes_timers_late_as_on_a_real_machine() -> None:
    clock = ManualClock()
    due = clock.now().boot_s + 10

    async def main() -> None:
        sleeping = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(1)
        clock.suspend(60)
        await sleeping

    run_virtual(main(), clock)
    assert clock.now().boot_s == pytest.approx(due + 60)


def test_a_deadlock_names_who_waits() -> None:
    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(waits_for_nobody(), name="the stuck one")

    with pytest.raises(DeadlockError, match=r"the stuck one \(.*waits_for_nobody\)"):
        run_virtual(main())


def test_what_never_ends_is_stopped_at_the_limit() -> None:
    clock = ManualClock()

    async def renew_for_ever() -> None:
        while True:
            await asyncio.sleep(5)

    with pytest.raises(VirtualTimeExceeded, match="renew_for_ever"):
        run_virtual(renew_for_ever(), clock, limit_s=60)
    assert clock.now().raw_s <= 1060


def test_tasks_are_cancelled_at_the_end_as_asyncio_run_does() -> None:
    ended = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            ended.append(True)

    async def main() -> None:
        asyncio.get_running_loop().background = asyncio.create_task(background())  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    run_virtual(main())
    assert ended == [True]
