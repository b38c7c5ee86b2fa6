"""Claiming, running and finishing slots, over one memory store on virtual time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leasekit.errors import LossReason, SlotTooEarly
from leasekit.operate import force_resign
from leasekit.schedule.records import Outcome
from leasekit.store import Delete, ServerTime
from leasekit.testing import Fault
from support.slot_world import JOB, SlotWorker, Started
from support.virtual import World, virtual, writes

EVERY_S = 60


def worker(world: World, id: str = "w1", log: list[Started] | None = None, **policy: Any) -> SlotWorker:
    return SlotWorker(world, id, f"every {EVERY_S}s", [] if log is None else log, **policy)


def next_slot(world: World) -> datetime:
    now = int(world.clock.wall_s())
    return datetime.fromtimestamp(now - now % EVERY_S + EVERY_S, UTC)


async def outcomes(one: SlotWorker) -> list[tuple[str, int]]:
    return [(line.outcome.value, line.attempt) for line in (await one.record()).lines]


@virtual
async def test_of_two_that_were_fired_for_a_slot_one_runs_it(world: World) -> None:
    one, two = worker(world, "w1"), worker(world, "w2")
    await world.pass_time(EVERY_S)
    first, second = await asyncio.gather(one.job.claim(None), two.job.claim(None))
    assert (first is None) != (second is None)
    run = first or second
    assert run is not None and run.attempt == 1
    await (one if first else two).job.finish(run, Outcome.DONE, None)
    assert await one.job.claim(run.slot) is None
    assert await two.job.claim(run.slot) is None
    assert await outcomes(one) == [("done", 1)]
    await one.leave()
    await two.leave()


@virtual
async def test_a_fast_clock_cannot_burn_the_future(world: World) -> None:
    one = worker(world)
    slot = next_slot(world)
    early_s = slot.timestamp() - world.clock.wall_s() - 2
    with pytest.raises(SlotTooEarly) as refused:
        await one.job.claim(slot)
    assert refused.value.early_s == pytest.approx(early_s, abs=0.1)
    assert await world.keys(JOB) == []
    await world.pass_time(early_s)
    run = await one.job.claim(slot)
    assert run is not None
    await one.job.finish(run, Outcome.DONE, None)
    await one.leave()


@virtual
async def test_a_workers_fast_clock_fires_no_sooner_and_a_slow_one_no_later(world: World) -> None:
    for offset_s in (90.0, -90.0):
        one = worker(world)
        one.clock.offset_s = offset_s
        run = await one.job.next_run()
        assert world.clock.wall_s() - run.slot.timestamp() == pytest.approx(0, abs=0.5)
        await one.job.finish(run, Outcome.DONE, None)
        await one.leave()


@virtual
async def test_a_claim_whose_answer_was_lost_is_known_for_ones_own(world: World) -> None:
    one = worker(world)
    await world.pass_time(EVERY_S)
    one.network.inject(Fault.lose_reply(), "transact", when=writes(f"{JOB}/slots"))
    run = await one.job.claim(None)
    assert run is not None
    await one.job.finish(run, Outcome.DONE, None)
    assert await outcomes(one) == [("done", 1)]
    await one.leave()


@virtual
async def test_an_end_whose_answer_was_lost_is_written_once(world: World) -> None:
    one = worker(world)
    run = await one.job.next_run()
    one.network.inject(Fault.lose_reply(), "transact", when=writes(f"{JOB}/slots"))
    await one.job.finish(run, Outcome.FAILED, "exit 3")
    (line,) = (await one.record()).lines
    assert (line.outcome, line.detail) == (Outcome.FAILED, "exit 3")
    await one.leave()


@pytest.mark.parametrize("guarantee", ["at_most_once", "at_least_once"])
@virtual
async def test_an_end_that_could_not_be_written_is_told_of(
    world: World, caplog: pytest.LogCaptureFixture, guarantee: str
) -> None:
    one, two = worker(world, "w1", guarantee=guarantee), worker(world, "w2", guarantee=guarantee)
    run = await one.job.next_run()
    one.network.go_down()
    assert not await one.job.finish(run, Outcome.DONE, None)
    (told,) = [record.getMessage() for record in caplog.records if "could not be written" in record.getMessage()]
    assert "is done" in told
    assert ("run again" in told) == (guarantee == "at_least_once")
    two.serve(lambda: 1)
    await world.until(lambda: world.clock.wall_s() - run.slot.timestamp() > 30)
    expected = [("lost", 1)] if guarantee == "at_most_once" else [("lost", 1), ("done", 2)]
    assert await outcomes(two) == expected
    await one.leave()
    await two.leave()


@virtual
async def test_a_run_that_is_left_to_be_attempted_again_is_no_end_that_could_not_be_written(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    one = worker(world, guarantee="at_least_once")
    run = await one.job.next_run()
    assert await one.job.finish(run, Outcome.LOST, None)
    assert "could not be written" not in caplog.text
    assert await outcomes(one) == [("claimed", 1)]
    await one.leave()


@virtual
async def test_a_run_is_renewed_and_nobody_else_leads_meanwhile(world: World) -> None:
    log: list[Started] = []
    one = worker(world, "w1", log, ttl_s=5, overlap="queue_one").serve(lambda: 45)
    two = worker(world, "w2", log, ttl_s=5, overlap="queue_one").serve(lambda: 45)
    await world.pass_time(10 * EVERY_S)
    assert {start.outcome for start in log[:-1]} == {Outcome.DONE}
    assert len({start.slot for start in log}) == len(log) >= 9
    await one.leave()
    await two.leave()


@virtual
async def test_at_least_once_a_crash_is_made_good_by_another_under_a_higher_token(world: World) -> None:
    log: list[Started] = []
    policy: dict[str, Any] = {"ttl_s": 5, "guarantee": "at_least_once"}
    one = worker(world, "w1", log, **policy).serve(lambda: 30)
    await world.until(lambda: bool(log))
    two = worker(world, "w2", log, **policy).serve(lambda: 1)
    await world.pass_time(1)
    await one.crash()
    await world.until(lambda: len(log) > 1)
    first, again = log
    assert (again.slot, again.attempt, again.worker) == (first.slot, 2, "w2")
    assert again.token > first.token
    await world.pass_time(5)
    assert (await outcomes(two))[-2:] == [("lost", 1), ("done", 2)]
    await two.leave()


@virtual
async def test_at_most_once_a_crash_is_written_down_and_not_made_good(world: World) -> None:
    log: list[Started] = []
    one = worker(world, "w1", log, ttl_s=5).serve(lambda: 30)
    await world.until(lambda: bool(log))
    two = worker(world, "w2", log, ttl_s=5).serve(lambda: 1)
    await world.pass_time(1)
    await one.crash()
    await world.pass_time(15)
    assert await outcomes(two) == [("lost", 1)]
    assert len(log) == 1
    await two.leave()


@virtual
async def test_with_skip_slots_that_come_while_a_run_goes_on_are_skipped(world: World) -> None:
    log: list[Started] = []
    one = worker(world, "w1", log).serve(lambda: 2.5 * EVERY_S)
    await world.until(lambda: bool(log))
    await world.pass_time(3.5 * EVERY_S)
    lines = (await one.record()).lines
    assert [(line.outcome.value, line.count) for line in lines] == [("done", 1), ("skipped", 2), ("claimed", 1)]
    assert log[1].slot - log[0].slot == timedelta(seconds=3 * EVERY_S)
    await one.leave()


@virtual
async def test_with_cancel_other_the_earlier_run_is_stopped_first(world: World) -> None:
    log: list[Started] = []
    one = worker(world, "w1", log, overlap="cancel_other").serve(lambda: 1000)
    two = worker(world, "w2", log, overlap="cancel_other").serve(lambda: 1000)
    await world.until(lambda: len(log) == 2, limit_s=300)
    assert log[0].outcome is Outcome.LOST
    assert log[0].run.tenure.loss is LossReason.RESIGNED
    assert log[1].run.tenure.loss is None
    await one.leave()
    await two.leave()


@virtual
async def test_with_allow_runs_go_on_side_by_side_and_nothing_is_left_of_them(world: World) -> None:
    log: list[Started] = []
    one = worker(world, "w1", log, overlap="allow").serve(lambda: 1.5 * EVERY_S)
    await world.until(lambda: len(log) == 3, limit_s=600)
    assert [start.run.tenure.loss for start in log[1:]] == [None, None]
    assert log[0].token < log[1].token < log[2].token
    await one.stop()
    for start in log:
        await one.job.finish(start.run, Outcome.DONE, None)
    await world.pass_time(1)
    assert await world.keys(JOB) == [f"{JOB}/slots"]
    await one.leave()


@virtual
async def test_with_allow_a_crashed_run_is_written_off_with_all_that_it_left(world: World) -> None:
    log: list[Started] = []
    one = worker(world, "w1", log, overlap="allow", ttl_s=5).serve(lambda: 1000)
    two = worker(world, "w2", log, overlap="allow", ttl_s=5)
    await world.until(lambda: bool(log))
    await world.pass_time(1)
    await one.crash()
    two.serve(lambda: 1)
    await world.pass_time(30)
    assert await outcomes(two) == [("lost", 1)]
    assert await world.keys(JOB) == [f"{JOB}/slots"]
    await two.leave()


@virtual
async def test_an_operator_who_takes_a_runs_leadership_away_ends_it(world: World) -> None:
    log: list[Started] = []
    one = worker(world, "w1", log, ttl_s=5, guarantee="at_least_once").serve(lambda: 1000)
    await world.until(lambda: bool(log))
    await force_resign(one.job._claims.own, 5)
    await world.until(lambda: log[0].outcome is not None)
    assert log[0].outcome is Outcome.LOST
    await one.leave()


@virtual
async def test_workers_are_seen_while_they_serve(world: World) -> None:
    one, two = worker(world, "w1"), worker(world, "w2")
    serving = [asyncio.create_task(each.job.keep_registered()) for each in (one, two)]
    await world.pass_time(100)
    assert [each.id for each in await one.job.workers()] == ["w1", "w2"]
    serving[0].cancel()
    await world.pass_time(1)
    assert [each.id for each in await one.job.workers()] == ["w2"]
    two.network.go_down()
    await world.pass_time(60)
    assert await one.job.workers() == []
    two.network.come_up()
    await world.pass_time(15)
    assert [each.id for each in await one.job.workers()] == ["w2"]
    serving[1].cancel()
    await world.pass_time(1)
    await one.leave()
    await two.leave()


@virtual
async def test_between_slots_nobody_leads_and_no_request_is_made(world: World) -> None:
    log: list[Started] = []
    one = SlotWorker(world, "w1", "5 8 * * *", log).serve(lambda: 1)
    await world.pass_time(360)
    assert len(log) == 1
    before = one.network.requests.copy()
    await world.pass_time(3000)
    assert one.network.requests - before == {}
    assert f"{JOB}/leader" not in await world.keys(JOB)
    await one.leave()


@virtual
async def test_with_allow_nothing_stays_in_memory_of_slots_that_were_anothers(world: World) -> None:
    log: list[Started] = []
    both = [worker(world, id, log, overlap="allow").serve(lambda: 1) for id in ("w1", "w2")]
    await world.pass_time(10.5 * EVERY_S)
    assert len(log) == 10
    for one in both:
        assert list(one.connection._histories) == []
        await one.leave()


@virtual
async def test_a_mark_that_the_store_s_clock_has_carried_far_ahead_is_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[Started] = []
    one = worker(world, "w1", log)
    true_time, day_s = one.network.server_time, 86_400

    async def a_day_ahead(*, timeout_s: float) -> ServerTime | None:
        told = await true_time(timeout_s=timeout_s)
        return told and ServerTime(told.unix_s + day_s, told.resolution_s)

    one.network.server_time = a_day_ahead  # type: ignore[method-assign]
    one.serve(lambda: 1)
    await world.pass_time(2 * EVERY_S)
    one.network.server_time = true_time  # type: ignore[method-assign]
    assert "ahead of the store" not in caplog.text
    await world.pass_time(5 * EVERY_S)
    # What earlier tests left running may be logged as well.
    (told,) = [record.getMessage() for record in caplog.records if "ahead of the store" in record.getMessage()]
    assert f"{JOB}/slots" in told
    # What it tells to do does help.
    await one.stop()
    await world.store.transact((), (Delete(f"{JOB}/slots"),), timeout_s=1)
    began = len(log)
    again = worker(world, "w2", log).serve(lambda: 1)
    await world.pass_time(2.5 * EVERY_S)
    assert len(log) == began + 2
    assert abs(log[-1].at - log[-1].slot) < timedelta(seconds=5)
    await one.leave()
    await again.leave()
