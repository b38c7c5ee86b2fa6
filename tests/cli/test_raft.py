"""`leasekit raft`: what operators see and do, and what they are told when it cannot be done."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leasekit.backends.raft.core.types import Role
from leasekit.backends.raft.member.asking import ask
from leasekit.backends.raft.requests import ChangeMembership, MemberAction
from leasekit.backends.raft.requests import Done as Answered
from support.command import Command, Done
from support.processes import ServerProcess
from support.servers import RaftCluster


class Growing(RaftCluster):
    """The last member does not begin with the others: it joins them."""

    def start_all(self) -> None:
        for index in range(self.size - 1):
            self.start(index, wait=False)
        self.wait_ready()

    def _command(self, index: int) -> list[str | Path]:
        if index == self.size - 1:
            return [*self.serving(index), "--join", ",".join(self.endpoints[:-1])]
        initial = ",".join(f"{self.member(i)}={self.endpoints[i]}" for i in range(self.size - 1))
        return [*self.serving(index), "--initial", initial]


@pytest.fixture
def growing() -> Iterator[Growing]:
    """Three members, and a fourth that may join."""
    with Growing(4) as cluster:
        yield cluster


class Operator:
    """Runs `leasekit raft` against a cluster, with patience: on a busy machine its leader may change at any moment."""

    def __init__(self, command: Command, cluster: RaftCluster) -> None:
        self.command = command
        self.cluster = cluster

    def __call__(self, *arguments: str) -> Done:
        # The last member of a growing cluster is not named.
        url = self.cluster.url("test", endpoints=self.cluster.endpoints[:3])
        return self.command("--store", url, "--timeout", "30", "raft", *arguments)

    def members(self) -> dict[str, dict[str, Any]]:
        """As its own, once one of them leads."""
        return self.until(lambda _: True)

    def until(self, such: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
        """The members, once one of them leads and they are such."""

        def by_id(done: Done) -> dict[str, dict[str, Any]]:
            return {member["member"]: member for member in done.json["members"]}

        url = self.cluster.url("test", endpoints=self.cluster.endpoints[:3])
        asking = ("--store", url, "raft", "status", "-o", "json")
        return by_id(self.command.until(lambda done: done.code == 0 and such(by_id(done)), *asking))

    def until_role(self, member: str, role: str) -> None:
        self.until(lambda members: member in members and members[member]["role"] == role)


@pytest.fixture
def operator(cli_without_store: Command, raft_cluster: RaftCluster) -> Operator:
    return Operator(cli_without_store, raft_cluster)


@pytest.fixture
def growth(cli_without_store: Command, growing: Growing) -> Operator:
    return Operator(cli_without_store, growing)


def test_status_shows_every_member_as_it_sees_itself(operator: Operator) -> None:
    def agree(members: dict[str, dict[str, Any]]) -> bool:
        """They do a moment after an election."""
        told = [{name: member[name] for name in ("leader", "term", "commit", "applied")} for member in members.values()]
        return all(one == told[0] for one in told) and all(member["lag"] == 0 for member in members.values())

    members = operator.until(agree)
    assert list(members) == ["m0", "m1", "m2"]
    leader = int(members["m0"]["leader"].removeprefix("m"))
    assert [members[f"m{i}"]["role"] for i in range(3)] == ["leader" if i == leader else "follower" for i in range(3)]
    for index, member in enumerate(members.values()):
        assert member["address"] == operator.cluster.endpoints[index]
        assert member["applied"] == member["commit"] > 0
        assert member["log_bytes"] > 1_000_000
        assert member["free_bytes"] > 1_000_000
        assert member["version"]
        assert member["problem"] is None


def test_status_is_a_table_for_people(operator: Operator) -> None:
    lines = operator("status").out.splitlines()
    assert lines[0].split() == [
        "MEMBER",
        "ADDRESS",
        "ROLE",
        "TERM",
        "COMMIT",
        "APPLIED",
        "LAG",
        "LOG",
        "FREE",
        "VERSION",
        "PROBLEM",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["m0", "m1", "m2"]


def test_status_knows_of_members_that_the_url_does_not_name(operator: Operator) -> None:
    url = operator.cluster.url("test", endpoints=operator.cluster.endpoints[:1])
    done = operator.command("--store", url, "raft", "status", "-o", "json")
    assert [member["member"] for member in done.json["members"]] == ["m0", "m1", "m2"]


def test_status_says_who_does_not_answer_and_how_far_it_was(operator: Operator) -> None:
    away = (operator.cluster.leader_index() + 1) % 3
    operator.cluster.kill(away)
    member = operator.members()[f"m{away}"]
    assert (member["role"], member["problem"]) == (None, "connection refused")


def test_status_without_a_leader_is_no_success(operator: Operator) -> None:
    for index in (0, 1):
        operator.cluster.kill(index)
    url = operator.cluster.url("test")
    # At first the last one takes it that the old leader goes on.
    done = operator.command.until(lambda done: "no member leads" in done.err, "--store", url, "raft", "status")
    assert done.code == 69
    assert "m2" in done.out
    operator.cluster.kill(2)
    nobody = operator("status")
    assert (nobody.code, nobody.out) == (69, "")
    assert "no member answers" in nobody.err


def test_a_member_is_added_gets_the_log_and_then_a_vote(growth: Operator) -> None:
    growth.cluster.start(3, wait=False)
    added = growth("add", "m3", growth.cluster.endpoints[3])
    assert added.code == 0, added
    assert "without a vote" in added.err
    growth.until_role("m3", "learner")
    assert growth("promote", "m3").code == 0
    growth.until_role("m3", "follower")
    assert growth("promote", "m3").code == 0, "it is so already"
    # Of four three are needed, and the new one counts.
    for index in range(3):
        if index != growth.cluster.leader_index():
            growth.cluster.kill(index)
            break
    assert growth("snapshot").code == 0
    assert growth.members()["m3"]["role"] in ("follower", "leader")


def test_an_address_that_another_member_has_is_refused(growth: Operator) -> None:
    done = growth("add", "m3", growth.cluster.endpoints[1])
    assert done.code == 78
    assert f"{growth.cluster.endpoints[1]} is the address of member 'm1'" in done.err
    assert list(growth.members()) == ["m0", "m1", "m2"]


def test_a_voter_that_is_given_another_address_keeps_its_vote(growth: Operator) -> None:
    away = next(i for i in range(3) if i != growth.cluster.leader_index())
    moved = growth("add", f"m{away}", growth.cluster.endpoints[3])
    assert moved.code == 0
    assert f"m{away} is at {growth.cluster.endpoints[3]} now" in moved.err
    assert "without a vote" not in moved.err


def test_a_member_is_shown_although_another_answers_at_its_address(growth: Operator) -> None:
    # By a client of its own: `add` would not do it.
    leader = growth.cluster.endpoints[growth.cluster.leader_index()]
    taken = growth.cluster.endpoints[1]
    change = ChangeMembership(id=1, action=MemberAction.ADD, member="m9", address=taken)
    answer = asyncio.run(ask(leader, lambda _: change, None, timeout_s=10))
    assert isinstance(answer.response, Answered)
    member = growth.members()["m9"]
    assert (member["address"], member["role"]) == (taken, None)
    assert member["problem"] == "another member, 'm1', is there"
    done = growth("snapshot", "--member", "m9")
    assert done.code == 69
    assert "another member, 'm1', is there" in done.err


def test_nothing_is_done_to_a_cluster_that_was_named_by_mistake(operator: Operator) -> None:
    with RaftCluster() as other:  # its member is called m0 as well
        mixed = operator.cluster.url("test", endpoints=[operator.cluster.endpoints[0], other.endpoints[0]])
        for arguments in (("status",), ("remove", "m1"), ("snapshot", "--member", "m0")):
            done = operator.command("--store", mixed, "raft", *arguments)
            assert (done.code, done.out) == (78, "")
            assert "members of different clusters" in done.err
            assert operator.cluster.endpoints[0] in done.err
            assert other.endpoints[0] in done.err
    assert list(operator.members()) == ["m0", "m1", "m2"]


def test_another_clusters_member_is_not_taken_for_the_one_whose_address_it_has(operator: Operator) -> None:
    away = (operator.cluster.leader_index() + 1) % 3
    operator.cluster.kill(away)
    rest = operator.cluster.url("test", endpoints=[operator.cluster.endpoints[i] for i in range(3) if i != away])
    intruder = [sys.executable, "-P", "-m", "leasekit", "raft", "serve", "--id", "x", "--listen"]
    intruder += [operator.cluster.endpoints[away], "--initial", f"x={operator.cluster.endpoints[away]}", "--data"]
    process = ServerProcess([*intruder, operator.cluster.folder(away) / "x"], operator.cluster.folder(away) / "x.log")
    try:

        def problem(done: Done) -> bool:
            members = {member["member"]: member for member in done.json["members"]}
            assert "x" not in members
            return "'x' of another cluster" in (members[f"m{away}"]["problem"] or "")

        operator.command.until(problem, "--store", rest, "raft", "status", "-o", "json")
    finally:
        process.kill()


def test_a_learner_that_does_not_run_is_not_promoted(growth: Operator) -> None:
    assert growth("add", "m3", growth.cluster.endpoints[3]).code == 0
    done = growth("promote", "m3", "--timeout", "1")
    assert done.code == 69
    assert growth("remove", "m3").code == 0
    assert list(growth.members()) == ["m0", "m1", "m2"]


def test_the_leader_itself_can_be_removed(operator: Operator) -> None:
    leader = f"m{operator.cluster.leader_index()}"
    removed = operator("remove", leader)
    assert removed.code == 0, removed
    assert "its id is not to be used again" in removed.err.lower()
    operator.until_role(leader, "outside")
    assert operator.members()[leader]["member_of_cluster"] is False


def test_leadership_goes_to_whom_is_named(operator: Operator) -> None:
    for member in ("m0", "m1", "m2", "m1"):
        done = operator("transfer", member)
        assert done.code == 0, done
        assert f"{member} leads" in done.err
        assert operator.members()[member]["role"] == "leader"


def test_leadership_goes_to_somebody_else_if_nobody_is_named(operator: Operator) -> None:
    before = operator.cluster.leader_index()
    assert operator("transfer").code == 0
    assert operator.cluster.leader_index() != before


def test_a_snapshot_compacts_the_log_of_the_one_that_is_named(operator: Operator) -> None:
    follower = (operator.cluster.leader_index() + 1) % 3
    assert operator("snapshot", "--member", f"m{follower}").code == 0
    # Named by index and term; all have had one of nothing since they began.
    names = [[file.name for file in operator.cluster.folder(i).glob("snapshot-*.snap")] for i in range(3)]
    assert [any(int(name.split("-")[1]) > 0 for name in found) for found in names] == [i == follower for i in range(3)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("promote", "m9"), "'m9' is no member of this cluster: m0, m1, m2 are"),
        (("remove", "m9"), "'m9' is no member"),
        (("transfer", "m9"), "'m9' is no member with a vote"),
        (("snapshot", "--member", "m9"), "'m9' is no member"),
        (("add", "m 9", "127.0.0.1:7001"), "letters, digits"),
        (("add", "m9", "127.0.0.1"), "is not host:port"),
    ],
)
def test_what_cannot_be_meant_is_refused(operator: Operator, arguments: tuple[str, ...], says: str) -> None:
    done = operator(*arguments)
    assert (done.code, done.out) == (78, "")
    assert says in done.err


def test_the_last_member_stays(cli_without_store: Command) -> None:
    with RaftCluster() as cluster:
        operator = Operator(cli_without_store, cluster)
        for arguments, says in ((("remove", "m0"), "last member"), (("transfer",), "no other member")):
            done = operator(*arguments)
            assert done.code == 78
            assert says in done.err


@pytest.mark.parametrize("store", [None, "sqlite:///leases.db"])
def test_without_a_clusters_url_nothing_is_asked(cli_without_store: Command, store: str | None) -> None:
    named = () if store is None else ("--store", store)
    done = cli_without_store(*named, "raft", "status")
    assert done.code == 78
    assert "raft://" in done.err


def test_commands_speak_tls_and_show_their_certificate(cli_without_store: Command) -> None:
    with RaftCluster(tls="mutual") as cluster:
        operator = Operator(cli_without_store, cluster)
        assert operator.members()["m0"]["role"] == Role.LEADER.value
        assert operator("snapshot").code == 0


def test_verify_tells_a_sound_directory_from_a_damaged_one(cli_without_store: Command, tmp_path: Path) -> None:
    with RaftCluster() as cluster:
        cluster.stop_all()
        folder = tmp_path / "data"
        shutil.copytree(cluster.folder(0), folder)
    sound = cli_without_store("raft", "verify", str(folder))
    assert sound.code == 0
    assert "member     m0 of cluster" in sound.out
    assert sound.out.endswith("a member can start from it\n")
    report = cli_without_store("raft", "verify", str(folder), "-o", "json").json
    assert (report["ok"], report["problems"], report["identity"]["member"]) == (True, [], "m0")

    segment = max(folder.glob("wal-*.log"))
    data = bytearray(segment.read_bytes())
    data[100] ^= 1
    segment.write_bytes(data)
    damaged = cli_without_store("raft", "verify", str(folder))
    assert damaged.code == 1
    assert f"PROBLEM    {segment.name} is damaged at byte" in damaged.out
    assert cli_without_store("raft", "verify", str(tmp_path / "nowhere")).code == 78


@pytest.mark.parametrize("content", ["[", '{"m1": 1}', "5"])
def test_verify_refuses_what_a_member_would(cli_without_store: Command, content: str) -> None:
    with RaftCluster() as cluster:
        cluster.stop_all()
        (cluster.folder(0) / "met").write_text(content)
        verified = cli_without_store("raft", "verify", str(cluster.folder(0)))
        assert verified.code == 1
        assert "PROBLEM    met is damaged at byte 0" in verified.out
        serving = subprocess.run(
            [str(part) for part in cluster._command(0)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (serving.returncode, "met is damaged at byte 0" in serving.stderr) == (65, True)


def test_a_simulated_run_is_the_same_run_each_time(cli_without_store: Command) -> None:
    one, same, other = (cli_without_store("raft", "simulate", "--seed", seed) for seed in ("5", "5", "6"))
    assert (one.code, other.code) == (0, 0), one.out + other.out
    assert one.out == same.out
    assert "trace" in one.out
    assert one.out.splitlines()[-1] != other.out.splitlines()[-1]


def test_several_simulated_runs_are_summed_up(cli_without_store: Command) -> None:
    done = cli_without_store("raft", "simulate", "--seed", "5", "--count", "3", "--jobs", "2")
    assert done.code == 0, done
    assert done.out.splitlines()[-1] == "3 seeds, 0 failed"
    assert "3 of 3 seeds" in done.err
