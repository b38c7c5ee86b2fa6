"""What operators do, while clients work: restarts one by one, a wiped member, new versions, another leader."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from leasekit.backends.raft.core.types import Membership
from leasekit.backends.raft.wire import Frames, Hello, Purpose, Welcome, decode_answer, encode_handshake, frame
from support.raft_cluster import RaftCluster
from support.raft_load import Load
from support.raft_operator import operate
from support.team import SLACK_S, wait_until

# Many processes one after the other: this is when to give up, on the busiest machine.
pytestmark = pytest.mark.timeout(300)

_MEMBER = Path(__file__).resolve().parents[2] / "support" / "raft_member.py"
_PATIENT_S = 30.0
"""A time-out that only a cluster without a leader exceeds."""


def test_all_members_are_restarted_one_by_one_and_no_request_fails() -> None:
    with RaftCluster(3) as cluster, Load(cluster.url("fire"), timeout_s=_PATIENT_S) as load:
        for index in range(3):
            cluster.terminate(index)
            assert cluster.wait_ended(index) == 0
            load.goes_on()
            cluster.start(index)
            load.goes_on()
    assert load.failed == 0, load.account()


def test_the_leadership_is_handed_around_and_no_request_fails() -> None:
    with RaftCluster(3) as cluster, Load(cluster.url("fire"), timeout_s=_PATIENT_S) as load:
        first = cluster.leader_index()
        for index in ((first + 1) % 3, (first + 2) % 3, first):
            _transfer(cluster, index)
            load.goes_on()
    assert load.failed == 0, load.account()


def test_a_wiped_member_is_not_let_back_but_comes_back_as_a_new_one() -> None:
    with ReplacedMember(3) as cluster, Load(cluster.url("fire")) as load:
        leader = cluster.leader_index()
        wiped = (leader + 1) % 3
        _wait_met(cluster, leader, wiped)
        cluster.kill(wiped)
        shutil.rmtree(cluster.folder(wiped))
        cluster.start(wiped, wait=False)
        assert cluster.wait_ended(wiped) == 78
        assert "is empty, but" in cluster.output(wiped)
        operate(cluster, "remove", cluster.member(wiped))
        _replace(cluster, wiped)
        load.goes_on()
        # It has a vote now: with another one down it is needed.
        other = next(index for index in range(3) if index not in (wiped, cluster.leader_index()))
        cluster.kill(other)
        load.goes_on()
        cluster.start(other)


def test_every_member_of_the_cluster_is_replaced() -> None:
    with ReplacedMember(3) as cluster, Load(cluster.url("fire")) as load:
        for index in range(3):
            operate(cluster, "remove", cluster.member(index))
            load.goes_on()
            cluster.kill(index)
            shutil.rmtree(cluster.folder(index))
            _replace(cluster, index)
            load.goes_on()
        assert set(_membership(cluster).voters) == {"new0", "new1", "new2"}


def test_two_versions_of_the_messages_work_side_by_side() -> None:
    with TwoVersions(3) as cluster, Load(cluster.url("fire"), timeout_s=_PATIENT_S) as load:
        for index in range(3):
            cluster.terminate(index)
            cluster.wait_ended(index)
            cluster.newer.add(index)
            cluster.start(index)
            assert [_newest_version(address) for address in cluster.endpoints] == [
                2 if each in cluster.newer else 1 for each in range(3)
            ]
            # Each version leads the other one.
            for leader in {index, 2}:
                _transfer(cluster, leader)
                load.goes_on()
    assert load.failed == 0, load.account()


class ReplacedMember(RaftCluster):
    """Members that were replaced have another name and have joined."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.replaced: set[int] = set()

    def member(self, index: int) -> str:
        return f"new{index}" if index in self.replaced else super().member(index)

    def _command(self, index: int) -> list[str | Path]:
        if index not in self.replaced:
            initial = ",".join(f"m{i}={address}" for i, address in enumerate(self.endpoints))
            return [*self.serving(index), "--initial", initial]
        others = ",".join(address for i, address in enumerate(self.endpoints) if i != index)
        return [*self.serving(index), "--join", others]


class TwoVersions(RaftCluster):
    """Members of which some speak a newer version as well."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.newer: set[int] = set()

    def program(self, index: int) -> list[str | Path]:
        return [_MEMBER, "--newer"] if index in self.newer else super().program(index)


def _newest_version(address: str) -> int:
    """What a member agrees on with one that speaks both versions."""
    host, _, port = address.rpartition(":")
    hello = Hello(oldest=1, newest=2, cluster="", purpose=Purpose.CLIENT)
    frames = Frames()
    with socket.create_connection((host, int(port)), timeout=SLACK_S) as line:
        line.sendall(frame(encode_handshake(hello)))
        while not (bodies := frames.feed(data := line.recv(65536))):
            assert data, "it hung up"
    answer = decode_answer(bodies[0])
    assert isinstance(answer, Welcome)
    return answer.version


def _replace(cluster: ReplacedMember, index: int) -> None:
    """Add a new member in the place of one that was removed, and give it a vote."""
    cluster.replaced.add(index)
    operate(cluster, "add", cluster.member(index), cluster.endpoints[index])
    cluster.start(index)
    operate(cluster, "promote", cluster.member(index))


def _membership(cluster: RaftCluster) -> Membership:
    return cluster.certain_status(cluster.leader_index()).raft.membership


def _transfer(cluster: RaftCluster, index: int) -> None:
    """Hand the leadership to this member. On a busy machine another may be elected just then: then again."""
    leads = f"{cluster.member(index)} leads"
    wait_until(lambda: leads in operate(cluster, "transfer", cluster.member(index)), SLACK_S, leads, lambda: "")


def _wait_met(cluster: RaftCluster, index: int, other: int) -> None:
    """Until one member remembers that another was here."""
    met = f"{cluster.member(index)} has met {cluster.member(other)}"
    wait_until(lambda: cluster.member(other) in cluster.certain_status(index).met, SLACK_S, met, lambda: "")
