"""Workers with wrong clocks over networks that lose, delay and refuse at random: each slot is claimed once, in order,
not before its time, and none is forgotten. On virtual time, from a seed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from leasekit.schedule.records import Outcome
from leasekit.testing import random_faults
from support.slot_world import SlotWorker, Started
from support.virtual import World, virtual

PERIOD_S = 10
STORM_S = 600.0
SKEW_S = 2.0
SEEDS = range(4)
NEVER_LATE = {"max_late_s": 1e6, "max_skew_s": SKEW_S, "missed": "all", "overlap": "queue_one"}


class Storm:
    """Workers that come and go; at most four at a time."""

    def __init__(self, world: World, seed: int, **policy: Any) -> None:
        self.world = world
        self.rng = Random(seed)
        self.policy = policy
        self.log: list[Started] = []
        self.workers: list[SlotWorker] = []
        self.number = 0

    def come(self) -> None:
        """Another worker, perhaps with a wrong clock and a bad network."""
        self.number += 1
        worker = SlotWorker(self.world, f"w{self.number}", f"every {PERIOD_S}s", self.log, **self.policy)
        worker.clock.offset_s = self.rng.choice([0.0, 0.0, -90.0, 90.0, -1.5, 1.5])
        worker.network.plan = random_faults(self.rng, rate=0.1, delay_max_s=3.0)
        self.workers.append(worker.serve(lambda: self.rng.choice([0.0, 0.5, 5.0, 25.0])))

    async def rage(self, enough: Callable[[], bool] = lambda: True) -> None:
        """Let things break for a while and until it is `enough`, then let one good worker catch up."""
        rng = self.rng
        for _ in range(3):
            self.come()
        end = self.world.clock.now().plus(STORM_S)
        while not (self.world.clock.now().reached(end) and enough()):
            await asyncio.sleep(rng.uniform(1, 20))
            victim = rng.choice(self.workers)
            match rng.randrange(6):
                case 0:
                    await victim.crash()
                    self.workers.remove(victim)
                    self.come()
                case 1:
                    victim.network.go_down(silent=rng.random() < 0.5)
                    await asyncio.sleep(rng.uniform(0, 30))
                    victim.network.come_up()
                case 2:
                    victim.clock.offset_s += rng.choice([-300.0, -5.0, 5.0, 300.0])
                case 3:
                    victim.network.drop_watches()
                case 4:
                    victim.network.resync_watches()
                case 5:
                    pass
        for worker in self.workers:
            worker.network.plan = None
            worker.network.come_up()
            worker.clock.offset_s = 0.0

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Let time pass in coarse steps until it is so."""
        give_up = self.world.clock.now().plus(20_000)
        while not condition():
            assert not self.world.clock.now().reached(give_up), "not so for hours"
            await asyncio.sleep(1)

    async def leave(self) -> None:
        """Everybody goes."""
        for worker in self.workers:
            await worker.leave()

    def check(self) -> None:
        """What holds whatever happens."""
        claims = Counter((start.slot, start.attempt) for start in self.log)
        assert max(claims.values()) == 1, f"claimed twice: {claims.most_common(3)}"
        tokens = [start.token for start in self.log]
        assert tokens == sorted(set(tokens)), f"tokens do not rise: {tokens}"
        for start in self.log:
            assert start.at >= start.slot - timedelta(seconds=SKEW_S + 0.2), f"too early: {start}"
        firsts = [start.slot for start in self.log if start.attempt == 1]
        assert firsts == sorted(firsts), f"out of order: {firsts}"


@pytest.mark.parametrize("seed", SEEDS)
@virtual
async def test_at_least_once_each_slot_is_done(world: World, seed: int) -> None:
    storm = Storm(world, seed, guarantee="at_least_once", **NEVER_LATE)
    await storm.rage(lambda: any(start.attempt > 1 for start in storm.log))
    last = storm.workers[0].now()
    done: set[Any] = set()

    def caught_up() -> bool:
        done.update(start.slot for start in storm.log if start.outcome is Outcome.DONE)
        return bool(done) and max(done) > last

    await storm.wait_for(caught_up)
    storm.check()
    slots = sorted({start.slot for start in storm.log if start.slot <= last})
    period = timedelta(seconds=PERIOD_S)
    assert all(later - earlier == period for earlier, later in pairwise(slots)), "a slot is missing"
    assert set(slots) <= done
    await storm.leave()


@pytest.mark.parametrize("seed", SEEDS)
@virtual
async def test_at_most_once_no_slot_is_begun_twice_and_none_is_passed_over(world: World, seed: int) -> None:
    storm = Storm(world, seed, guarantee="at_most_once", **NEVER_LATE)
    await storm.rage()
    last = storm.workers[0].now()
    await storm.wait_for(lambda: storm.log[-1].slot > last)
    storm.check()
    assert {start.attempt for start in storm.log} == {1}
    period = timedelta(seconds=PERIOD_S)
    slots = [start.slot for start in storm.log]
    # A claim whose worker went before it could begin leaves its slot lost: in the record, and in no log.
    gaps = [later for earlier, later in pairwise(slots) if later - earlier != period]
    assert len(gaps) <= len(slots) / 10, gaps
    await storm.leave()
