"""Some rounds of the adversarial suite: stale leaders write, and every guard refuses them. Without guards, it is noticed.

`make adversary` plays many more; docs/adversary.md has their table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from adversary.__main__ import main
from adversary.disturbances import Disturbance, missing, possible
from adversary.results import kept
from adversary.round import Plan
from adversary.stage import Stage
from adversary.stores import Trio
from adversary.trial import GUARDS, plans, run
from support import binaries
from support.servers import EtcdCluster

ROUNDS = [
    ("etcd", "sql", Disturbance.PAUSED_BETWEEN),
    ("etcd", "redis", Disturbance.CUT),
    ("etcd", "file", Disturbance.STORE_LEADER_KILLED),
    ("etcd", "store", Disturbance.BOOT_CLOCK),
    ("consul", "sql", Disturbance.WALL_CLOCK),
    ("consul", "http", Disturbance.PAUSED),
    ("raft", "redis", Disturbance.STARVED),
    ("raft", "store", Disturbance.PAUSED),
    ("sqlite", "sqlite", Disturbance.PAUSED),
    ("sqlite", "http", Disturbance.PAUSED_BETWEEN),
]
TTL_S = 1.0


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


# Ten rounds at once: seconds on a machine with time to spare, minutes on one that is crowded.
@pytest.mark.timeout(300)
def test_no_guard_accepts_a_stale_write(stage: Stage) -> None:
    binaries.require("faketime", "libfaketime.so")
    made = [
        Plan(store, guard, disturbance, guarded=True, ttl_s=TTL_S, seed=seed)
        for seed, (store, guard, disturbance) in enumerate(ROUNDS)
        if missing(store, disturbance) is None
    ]
    results = list(run(made, stage, abreast=len(made)))
    for result in results:
        assert (result.verdict.violations, result.broken) == ((), ""), f"{result.plan}\n{result.account}"
        assert result.verdict.stale > 0, f"{result.plan} has no bite: {result.missed}\n{result.account}"
    assert sum(result.verdict.refused for result in results) >= len(results)


@pytest.mark.timeout(300)
def test_without_guards_stale_writes_are_accepted_and_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results"
    options = ["--store", "sqlite", "--rounds", "1", "--ttl", str(TTL_S), "--seed", "1", "--results", str(file)]
    monkeypatch.setattr("sys.argv", ["adversary", *options, "--without-guard"])
    assert main() == 1
    accepted = {result.plan.guard: result.verdict.stale_accepted for result in kept(file)}
    assert accepted.keys() == set(GUARDS)
    assert all(accepted.values()), accepted
    printed = capsys.readouterr().out
    assert f"wrong: {len(GUARDS)} of {len(GUARDS)} rounds\n" in printed
    # The same from the file alone.
    monkeypatch.setattr("sys.argv", ["adversary", "--rounds", "0", "--results", str(file)])
    assert main() == 1
    assert capsys.readouterr().out == printed


def test_each_disturbance_comes_as_often_as_the_others_and_none_where_it_cannot() -> None:
    made = plans([("sqlite", "file"), ("etcd", "sql")], 21, seed=1, ttl_s=TTL_S)
    for store in ("sqlite", "etcd"):
        counted = Counter(plan.disturbance for plan in made if plan.store == store)
        assert counted.keys() == set(possible(store))
        assert max(counted.values()) - min(counted.values()) <= 1
    assert Disturbance.CUT in possible("etcd") and Disturbance.CUT not in possible("sqlite")
    assert made == plans([("sqlite", "file"), ("etcd", "sql")], 21, seed=1, ttl_s=TTL_S)


def test_the_leader_of_three_servers_is_killed_and_all_serve_again(etcd_cluster: EtcdCluster) -> None:
    trio = Trio(etcd_cluster)
    index = etcd_cluster.leader_index()
    before = etcd_cluster.pid(index)
    trio.kill_leader()
    assert etcd_cluster.pid(index) != before
    etcd_cluster.wait_ready()
