"""Clusters of the real code on virtual time: nothing that must never be is seen, and a seed says it all."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from leasekit.backends.raft.simulator import campaign
from leasekit.backends.raft.simulator.campaign import RARE, RARE_SEEDS, Summary
from leasekit.backends.raft.simulator.run import Result, simulate

SEEDS = 200


@pytest.mark.timeout(1200)
def test_many_seeds_show_no_violation_and_meet_everything_rare() -> None:
    told: list[str] = []
    summary = campaign.run(0, SEEDS, tell=told.append)
    assert summary.passed, "\n".join(told)
    assert summary.seeds == SEEDS >= RARE_SEEDS


def test_the_same_seed_gives_the_same_trace() -> None:
    first, again, other = simulate(7), simulate(7), simulate(8)
    assert first == again
    assert first.digest != other.digest


def test_every_line_of_the_trace_is_the_same_again() -> None:
    lines: tuple[list[str], list[str]] = [], []
    for told in lines:
        simulate(3, tell=told.append)
    assert lines[0] == lines[1]
    assert len(lines[0]) > 500


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_trace_does_not_depend_on_the_order_of_sets(hash_seed: str) -> None:
    code = "from leasekit.backends.raft.simulator.run import simulate; print(*(simulate(s).digest for s in (5, 6)))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == [simulate(5).digest, simulate(6).digest]


def test_several_processes_come_to_the_same_results() -> None:
    alone, together = (list(campaign.results(20, 6, jobs=jobs)) for jobs in (1, 2))
    assert [result.digest for result in together] == [result.digest for result in alone]
    assert [result.seed for result in together] == [*range(20, 26)]


def test_a_campaign_that_never_meets_something_rare_fails() -> None:
    summary = Summary()
    every = Counter(dict.fromkeys(RARE, 1))
    for seed in range(RARE_SEEDS):
        summary.add(Result(seed=seed, digest="", counts=every))
    assert summary.passed
    del summary.counts["truncations"]
    assert summary.never_met == ["truncations"]
    assert not summary.passed


def test_few_seeds_need_not_meet_everything_rare() -> None:
    summary = Summary()
    summary.add(Result(seed=0, digest=""))
    assert summary.passed


def test_a_violation_fails_the_campaign_and_names_its_seed() -> None:
    summary = Summary()
    summary.add(Result(seed=5, digest="", violation="two leaders in one term"))
    assert not summary.passed
    assert [result.seed for result in summary.failures] == [5]
