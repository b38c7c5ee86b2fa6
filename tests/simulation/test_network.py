"""The simulated network, time and clocks do what their texts say."""

import random
from functools import partial

import pytest

from leasekit.backends.raft.simulator.network import Network, Weather, partition
from leasekit.backends.raft.simulator.schedule import MachineClock, Schedule

MEMBERS = ["a", "b", "c", "d", "e"]


def arrivals(weather: Weather, count: int = 2000) -> list[tuple[int, float]]:
    """Which message came, and how long it took."""
    schedule = Schedule()
    network = Network(schedule, random.Random(1), weather)
    came: list[tuple[int, float]] = []

    def send(number: int) -> None:
        sent_s = schedule.now_s
        network.send("a", "b", lambda: came.append((number, schedule.now_s - sent_s)))

    for number in range(count):
        schedule.at(number * 0.001, partial(send, number))
    while schedule.step():
        pass
    return came


def test_a_calm_network_delivers_everything_once_within_its_delays() -> None:
    came = arrivals(Weather(delay_min_s=0.01, delay_mean_s=0.002))
    assert sorted(number for number, _ in came) == list(range(2000))
    assert min(delay_s for _, delay_s in came) >= 0.01
    assert sum(delay_s for _, delay_s in came) / 2000 == pytest.approx(0.012, rel=0.1)


def test_messages_overtake_each_other() -> None:
    numbers = [number for number, _ in arrivals(Weather(delay_mean_s=0.05))]
    assert numbers != sorted(numbers)


def test_losses_and_repeats_are_as_frequent_as_asked_for() -> None:
    lossy = arrivals(Weather(loss=0.3))
    assert 0.65 < len(lossy) / 2000 < 0.75
    repeating = arrivals(Weather(repeats=0.5))
    assert 1.45 < len(repeating) / 2000 < 1.55


def test_a_link_that_is_cut_one_way_carries_the_other_way_until_it_is_healed() -> None:
    schedule = Schedule()
    network = Network(schedule, random.Random(1), Weather())
    came: list[str] = []
    network.cut([("a", "b")])
    network.send("a", "b", lambda: came.append("there"))
    network.send("b", "a", lambda: came.append("back"))
    assert network.arrival_s("a", "b") is None
    network.heal()
    network.send("a", "b", lambda: came.append("healed"))
    while schedule.step():
        pass
    assert sorted(came) == ["back", "healed"]


def test_a_clogged_link_holds_back_and_loses_nothing() -> None:
    schedule = Schedule()
    network = Network(schedule, random.Random(1), Weather())
    came: list[float] = []
    network.clog("a", "b", 3.0)
    network.send("a", "b", lambda: came.append(schedule.now_s))
    while schedule.step():
        pass
    assert len(came) == 1
    assert came[0] >= 3.0


@pytest.mark.parametrize("seed", range(60))
def test_a_partition_cuts_links_between_different_members_and_leaves_some(seed: int) -> None:
    links = partition(random.Random(seed), MEMBERS, leader="c")
    assert all(a != b and {a, b} <= set(MEMBERS) for a, b in links)
    assert len(links) == len(set(links)) < 20


def test_partitions_are_one_way_and_both_ways_and_isolate_the_leader() -> None:
    drawn = [set(partition(random.Random(seed), MEMBERS, leader="c")) for seed in range(200)]
    backward = [{(b, a) for a, b in links} for links in drawn]
    assert any(links == back for links, back in zip(drawn, backward, strict=True) if links)
    assert any(not links & back for links, back in zip(drawn, backward, strict=True) if links)
    alone = {("c", other) for other in MEMBERS if other != "c"}
    assert alone in drawn


def test_what_is_due_at_once_happens_in_the_order_of_asking() -> None:
    schedule = Schedule()
    happened: list[str] = []
    schedule.at(1.0, lambda: happened.append("first"))
    schedule.at(1.0, lambda: happened.append("second"))
    schedule.at(0.5, lambda: happened.append("earlier"))
    while schedule.step():
        pass
    assert happened == ["earlier", "first", "second"]
    assert schedule.now_s == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_clocks_drift_within_the_bound_and_only_the_wall_clock_jumps(seed: int) -> None:
    schedule = Schedule()
    clock = MachineClock(schedule, random.Random(seed))
    before, wall_before_s = clock.now(), clock.wall_s()
    schedule.at(1000.0, lambda: None)
    schedule.step()
    clock.jump(-5000)
    after = clock.now()
    for passed_s in (after.boot_s - before.boot_s, after.raw_s - before.raw_s):
        assert 5 <= abs(passed_s - 1000) <= 15
    assert clock.wall_s() < wall_before_s
