"""Clients under fire find members that break a promise: the other tests of this kind do not pass for nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.raft_linked import LinkedCluster
from support.raft_load import Load

pytestmark = pytest.mark.timeout(300)

_MEMBER = Path(__file__).resolve().parents[2] / "support" / "raft_member.py"
_ROUNDS = 10
"""Each finds its fault in one or two; the machine may be busy."""


class WrongMembers(LinkedCluster):
    """Three members with one fault of `support.raft_wrong`."""

    def __init__(self, fault: str) -> None:
        super().__init__(3)
        self._fault = fault

    def program(self, index: int) -> list[str | Path]:
        return [_MEMBER, "--wrong", self._fault]


def test_a_leader_that_reads_without_asking_a_quorum() -> None:
    with WrongMembers("reads without asking a quorum") as cluster:
        _find(cluster, _cut_the_leader_off, "is stale|no order explains")


def test_members_that_end_leases_early() -> None:
    with WrongMembers("ends leases early") as cluster:
        _find(cluster, _let_time_pass, "before its time|two leaders")


def test_members_that_do_a_repeated_change_again() -> None:
    with WrongMembers("forgets what it did") as cluster:
        _find(cluster, _lose_answers, "no order explains| is at .* and at |was told before")


def _find(cluster: LinkedCluster, strike: Callable[[LinkedCluster], None], fault: str) -> None:
    """After one strike, or after another, this is what is wrong."""
    otherwise: list[str] = []
    for number in range(_ROUNDS):
        try:
            # Each with keys of its own.
            with Load(cluster.url(f"fire{number}", endpoints=cluster.links)) as load:
                strike(cluster)
                load.goes_on(more=100)
        except AssertionError as found:
            if re.search(fault, str(found)):
                return
            # That it is not done in time, say.
            otherwise.append(str(found))
    raise AssertionError(f"not found; instead: {otherwise}")


def _cut_the_leader_off(cluster: LinkedCluster) -> None:
    cluster.isolate(cluster.leader_index())
    time.sleep(1.5)
    cluster.reunite()


def _let_time_pass(_: LinkedCluster) -> None:
    time.sleep(1.5)


def _lose_answers(cluster: LinkedCluster) -> None:
    cluster.lose_answers(cluster.leader_index())
    time.sleep(0.3)
    cluster.reunite()
