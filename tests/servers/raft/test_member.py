"""Members as processes: what they keep, what they refuse, and how they end."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leasekit.backends.raft import open_store
from leasekit.backends.raft.core.types import Role
from leasekit.store import Put
from leasekit.urls import parse
from support.ports import Reservation
from support.processes import ServerProcess
from support.raft_operator import operate
from support.servers import RaftCluster

PATIENCE_S = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, f"in vain: {what}"
        time.sleep(0.02)


def put(cluster: RaftCluster, key: str, value: bytes) -> None:
    async def do() -> None:
        store = open_store(parse(cluster.url("test")))
        try:
            assert await store.transact([], [Put(key, value, None)], timeout_s=PATIENCE_S)
        finally:
            await store.aclose()

    asyncio.run(do())


def values(cluster: RaftCluster) -> dict[str, bytes]:
    async def do() -> dict[str, bytes]:
        store = open_store(parse(cluster.url("test")))
        try:
            snapshot = await store.scan("", timeout_s=PATIENCE_S)
        finally:
            await store.aclose()
        return {entry.key: entry.value for entry in snapshot.entries}

    return asyncio.run(do())


def applied(cluster: RaftCluster, index: int) -> int:
    status = cluster.status(index)
    return -1 if status is None else status.raft.applied


def end_of(cluster: RaftCluster, index: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Run member `index` in the foreground, which must end by itself."""
    command = [*map(str, cluster._command(index)), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def serve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "leasekit", "raft", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class PartCluster(RaftCluster):
    """Only the first `begun` of its members begin with it."""

    begun = 3

    def start_all(self) -> None:
        for index in range(self.begun):
            self.start(index, wait=False)
        self.wait_ready()


class GrowingCluster(PartCluster):
    """The cluster begins with the first `begun`; others join it."""

    def _command(self, index: int) -> list[str | Path]:
        if index >= self.begun:
            return [*self.serving(index), "--join", ",".join(self.endpoints[: self.begun])]
        initial = ",".join(f"{self.member(i)}={self.endpoints[i]}" for i in range(self.begun))
        return [*self.serving(index), "--initial", initial]


@pytest.fixture
def port() -> Iterator[int]:
    reservation = Reservation(1)
    yield reservation.ports[0]
    reservation.release()


def leasekit(cluster: RaftCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "leasekit", "--store", cluster.url("test"), "raft", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_what_was_acknowledged_is_there_after_all_were_killed_at_once(raft_cluster: RaftCluster) -> None:
    put(raft_cluster, "key", b"value")
    raft_cluster.stop_all()
    raft_cluster.start_all()
    assert values(raft_cluster) == {"key": b"value"}


def test_nothing_is_lost_while_leaders_are_killed_one_after_the_other(raft_cluster: RaftCluster) -> None:
    for round in range(6):
        put(raft_cluster, f"before-{round}", b"x")
        leader = raft_cluster.leader_index()
        raft_cluster.kill(leader)
        put(raft_cluster, f"without-{round}", b"y")
        raft_cluster.start(leader)
    expected = {f"{when}-{round}" for when in ("before", "without") for round in range(6)}
    assert set(values(raft_cluster)) == expected


def test_a_member_that_was_away_gets_what_it_missed_by_snapshot(raft_cluster: RaftCluster) -> None:
    away = (raft_cluster.leader_index() + 1) % 3
    raft_cluster.kill(away)
    put(raft_cluster, "missed", b"x" * 1000)
    for index in {0, 1, 2} - {away}:
        # Started anew from its snapshot, a member has none of the entries before it.
        raft_cluster.snapshot(index)
        raft_cluster.kill(index)
    raft_cluster.start_all()
    leader = raft_cluster.leader_index()
    commit = raft_cluster.certain_status(leader).raft.commit
    until(lambda: applied(raft_cluster, away) >= commit, "the one that was away has caught up")
    assert raft_cluster.certain_status(away).raft.first_index > 1
    for index in {0, 1, 2} - {away, leader}:
        raft_cluster.kill(index)
    assert values(raft_cluster)["missed"] == b"x" * 1000, "it counts for the majority"


def test_a_leader_that_is_told_to_stop_hands_over_first_and_exits_cleanly() -> None:
    # Left to its time-out, an election would begin after two seconds at the earliest.
    with RaftCluster(3, election_timeout_ms=2000) as cluster:
        put(cluster, "key", b"value")
        leader = cluster.leader_index()
        cluster.terminate(leader)
        assert cluster.wait_ended(leader) == 0
        changes = re.findall(r"m\d (leads|follows m\d) in term (\d+)", cluster.output(leader))
        assert changes[-1][0].startswith("follows"), f"it ended before it knew its successor: {changes}"
        assert cluster.leader_index() != leader
        assert values(cluster) == {"key": b"value"}


def test_a_wiped_member_is_refused_and_told_how_to_come_back(tmp_path: Path) -> None:
    with GrowingCluster(4) as cluster:
        put(cluster, "key", b"value")
        until(lambda: applied(cluster, 2) > 1, "m2 has taken part")
        cluster.kill(2)
        shutil.rmtree(cluster.folder(2))
        refused = end_of(cluster, 2)
        assert refused.returncode == 78
        assert "has met 'm2' before" in refused.stderr
        for command in ("raft remove m2", "raft add NEW_ID", "raft serve --id NEW_ID"):
            assert command in refused.stderr

        operate(cluster, "remove", "m2")
        operate(cluster, "add", "m3", cluster.endpoints[3])
        cluster.start(3)
        operate(cluster, "promote", "m3")
        cluster.kill((cluster.leader_index() + 1) % 2 if cluster.leader_index() < 2 else 0)
        assert values(cluster) == {"key": b"value"}, "two of the three with a vote are a majority"


def test_a_first_start_that_comes_late_is_no_wiped_member() -> None:
    class Late(PartCluster):
        begun = 2

    with Late(3) as cluster:
        put(cluster, "key", b"value")
        cluster.start(2)
        until(lambda: applied(cluster, 2) > 1, "the late one takes part")


def test_a_joined_member_that_was_wiped_is_refused_as_well() -> None:
    class Growing(GrowingCluster):
        begun = 1

    with Growing(2) as cluster:
        put(cluster, "key", b"value")
        operate(cluster, "add", "m1", cluster.endpoints[1])
        cluster.start(1)
        until(lambda: applied(cluster, 1) > 1, "it has joined")
        cluster.kill(1)
        shutil.rmtree(cluster.folder(1))
        refused = end_of(cluster, 1)
        assert (refused.returncode, "has met 'm1' before" in refused.stderr) == (78, True)


@pytest.mark.parametrize("by_name", [True, False])
def test_with_tls_members_know_each_other_and_who_joins_them(by_name: bool) -> None:
    class Secured(GrowingCluster):
        begun = 2

        def serving(self, index: int) -> list[str | Path]:
            command = super().serving(index)
            if by_name:
                return command
            # Then a member is whoever shows a certificate for the host of a member's address.
            at = command.index("--tls-peer-name")
            return command[:at] + command[at + 2 :]

    with Secured(3, tls="mutual") as cluster:
        put(cluster, "key", b"value")
        cluster.start(2, wait=False)
        operate(cluster, "add", "m2", cluster.endpoints[2])
        operate(cluster, "promote", "m2")
        cluster.kill(cluster.leader_index())
        put(cluster, "another", b"value")
        assert values(cluster) == {"key": b"value", "another": b"value"}


def test_a_member_that_waits_for_a_cluster_to_join_can_be_stopped(tmp_path: Path, port: int) -> None:
    command: list[str | Path] = [sys.executable, "-P", "-m", "leasekit", "raft", "serve", "--id", "m1"]
    command += ["--data", tmp_path / "data", "--listen", f"127.0.0.1:{port}", "--join", f"127.0.0.1:{port}"]
    member = ServerProcess(command, tmp_path / "log")
    try:
        until(lambda: (tmp_path / "data" / "lock").exists(), "it has begun")
        member.signal(signal.SIGTERM)
        assert member.wait(PATIENCE_S) == 0, member.output()
        assert list((tmp_path / "data").glob("wal-*")) == []
    finally:
        member.kill()


def test_a_member_that_finds_no_cluster_to_join_says_whom_it_waits_for(tmp_path: Path, port: int) -> None:
    command: list[str | Path] = [sys.executable, "-P", "-m", "leasekit", "raft", "serve", "--id", "m1"]
    command += ["--data", tmp_path / "data", "--listen", f"127.0.0.1:{port}", "--join", f"127.0.0.1:{port}"]
    member = ServerProcess(command, tmp_path / "log")
    try:
        waits = f"m1: waits for a member of the cluster to answer: 127.0.0.1:{port}: connection refused"
        until(lambda: waits in member.output(), "it says so")
    finally:
        member.kill()


def test_two_clusters_are_not_joined_at_once(raft_cluster: RaftCluster, tmp_path: Path, port: int) -> None:
    with RaftCluster() as other:
        both = f"{raft_cluster.endpoints[0]},{other.endpoints[0]}"
        listen = f"127.0.0.1:{port}"
        refused = serve("--id", "m9", "--data", tmp_path / "data", "--listen", listen, "--join", both)
    assert refused.returncode == 78
    assert "different clusters" in refused.stderr
    assert not (tmp_path / "data" / "identity").exists()


def test_options_that_the_directory_does_not_follow_are_said(tmp_path: Path, port: int) -> None:
    begun = f"m1=127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", port)):
        assert serve("--id", "m1", "--data", tmp_path / "data", "--initial", begun).returncode == 78
    for initial, told in ((begun, False), (f"{begun},m2=127.0.0.1:1", True)):
        command: list[str | Path] = [sys.executable, "-P", "-m", "leasekit", "raft", "serve", "--id", "m1"]
        command += ["--data", tmp_path / "data", "--initial", initial]
        member = ServerProcess(command, tmp_path / f"log-{told}")
        try:
            until(lambda: "m1 leads in term" in member.output(), "it goes on as a cluster of one")  # noqa: B023
            assert ("--initial and --cluster say" in member.output()) == told
        finally:
            member.kill()


def test_a_directory_of_another_member_is_refused(raft_cluster: RaftCluster) -> None:
    raft_cluster.kill(1)
    raft_cluster.kill(2)
    shutil.rmtree(raft_cluster.folder(2))
    raft_cluster.folder(1).rename(raft_cluster.folder(2))
    refused = end_of(raft_cluster, 2)
    assert refused.returncode == 78
    assert "belongs to member 'm1', not to 'm2'" in refused.stderr


def test_two_processes_never_share_a_directory(raft_cluster: RaftCluster) -> None:
    refused = end_of(raft_cluster, 0)
    assert refused.returncode == 78
    assert "in use by another member" in refused.stderr


def test_members_of_different_clusters_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    class Torn(RaftCluster):
        def _command(self, index: int) -> list[str | Path]:
            return [*super()._command(index), "--cluster", "one" if index < 2 else "other"]

        def start_all(self) -> None:
            for index in range(self.size):
                self.start(index, wait=False)
            self.wait_for_majority()

        def wait_for_majority(self) -> None:
            self._wait_for([0, 1], PATIENCE_S)

    with Torn(3) as cluster:
        put(cluster, "key", b"value")
        until(lambda: "belongs to cluster" in cluster.output(2), "it hears that the others are of another cluster")
        status = cluster.certain_status(2)
        assert (status.raft.role is Role.LEADER, status.raft.term, status.met) == (False, 0, ())


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "raft.example"])
def test_an_address_that_others_reach_needs_tls(host: str, tmp_path: Path, port: int) -> None:
    refused = serve("--id", "m1", "--data", tmp_path / "data", "--initial", f"m1={host}:{port}")
    assert refused.returncode == 78
    assert "without TLS whoever reaches it may read and change everything" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_an_address_that_others_reach_can_be_had_insecurely(tmp_path: Path, port: int) -> None:
    command: list[str | Path] = [sys.executable, "-P", "-m", "leasekit", "raft", "serve"]
    command += ["--id", "m1", "--data", tmp_path / "data"]
    command += ["--listen", f"0.0.0.0:{port}", "--initial", f"m1=127.0.0.1:{port}", "--insecure"]
    member = ServerProcess(command, tmp_path / "log")
    try:
        until(lambda: "m1 leads in term 1" in member.output(), "the member leads")
    finally:
        member.kill()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name the initial members of a new cluster, or addresses of one to join"),
        (("--initial", "m2=127.0.0.1:7002"), "does not name this member"),
        (("--initial", "m1"), "is not ID=HOST:PORT"),
        (("--initial", "m1=127.0.0.1:7001,m1=127.0.0.1:7002"), "names 'm1' twice"),
        (("--initial", "m1=127.0.0.1"), "is not host:port"),
        (("--initial", "m1=127.0.0.1:7001", "--join", "127.0.0.1:7002"), "begun once, and joined later"),
        (("--initial", "m1=127.0.0.1:7001", "--tls-ca", "ca.pem"), "go together"),
        (("--initial", "m1=127.0.0.1:7001", "--election-ms", "300"), "400 ms here"),
        (("--initial", "m1=127.0.0.1:7001", "--heartbeat-ms", "0"), "must be 1 at least"),
    ],
)
def test_options_that_will_not_do_are_refused_before_anything_is_written(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    listen = () if "--initial" in arguments else ("--listen", "127.0.0.1:7001")
    refused = serve("--id", "m1", "--data", tmp_path / "data", *listen, *arguments)
    assert refused.returncode == 78
    assert says in refused.stderr
    assert list((tmp_path / "data").glob("wal-*")) == []


def test_options_come_from_the_environment_as_well(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASEKIT_RAFT_ID", "m7")
    monkeypatch.setenv("LEASEKIT_RAFT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LEASEKIT_RAFT_INITIAL", f"m7=127.0.0.1:{port}")
    monkeypatch.setenv("LEASEKIT_RAFT_ELECTION_MS", "500")
    member = ServerProcess([sys.executable, "-P", "-m", "leasekit", "raft", "serve"], tmp_path / "log")
    try:
        until(lambda: "m7 leads in term 1" in member.output(), "the member leads")
    finally:
        member.kill()


def test_a_port_that_is_taken_is_said_so(raft_cluster: RaftCluster, tmp_path: Path) -> None:
    taken = raft_cluster.endpoints[0]
    refused = serve("--id", "m0", "--data", tmp_path / "data", "--initial", f"m0={taken}")
    assert refused.returncode == 78
    assert f"{taken} cannot be had: address already in use" in refused.stderr


def test_a_disk_without_room_ends_the_member_with_a_code_of_its_own(tmp_path: Path, port: int) -> None:
    serving = f"{sys.executable} -P -m leasekit raft serve --id m1 --data {tmp_path}/data --initial m1=127.0.0.1:{port}"
    # No file may grow beyond 1 MB: the log cannot be set aside.
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 1024; exec {serving}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 74, done.stderr
    assert "the disk of" in done.stderr


def test_damage_to_what_was_durable_ends_the_member_with_a_code_of_its_own(raft_cluster: RaftCluster) -> None:
    for number in range(5):
        put(raft_cluster, "key", b"%d" % number)
    commit = raft_cluster.certain_status(raft_cluster.leader_index()).raft.commit
    until(lambda: applied(raft_cluster, 0) >= commit, "it has all of them, of which the last may be torn")
    raft_cluster.kill(0)
    segment = max(raft_cluster.folder(0).glob("wal-*.log"))
    data = bytearray(segment.read_bytes())
    data[200] ^= 0xFF
    segment.write_bytes(data)
    refused = end_of(raft_cluster, 0)
    assert refused.returncode == 65, refused.stderr
    assert f"{segment.name} is damaged at byte" in refused.stderr
    assert leasekit(raft_cluster, "verify", str(raft_cluster.folder(0))).returncode == 1
