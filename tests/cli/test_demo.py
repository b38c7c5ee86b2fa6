"""`leasekit demo`, from start to end, and cut short."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.children import pids_with
from support.command import Command, Running
from support.servers import EtcdCluster

GONE_WITHIN_S = 30.0
DONE_WITHIN_S = 240.0
pytestmark = pytest.mark.timeout(DONE_WITHIN_S + 60)


def workers_of(demo: Running) -> list[int]:
    """The demo's worker processes that still run."""
    return pids_with(f"leasekit-demo-{demo.pid}")


def all_gone(demo: Running) -> bool:
    give_up = time.monotonic() + GONE_WITHIN_S
    while workers_of(demo):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo makes its temporary directory."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def start(cli: Command, folder: Path, *arguments: str) -> Running:
    return cli.start("demo", *arguments, environment=cli.environment(TMPDIR=str(folder)))


def check_story(told: str) -> None:
    """Four leaderships, three ends of them, each measured, and one refused write."""
    # Of each that ended otherwise than by a kill or a resignation its holder comes to know. On a busy machine that may
    # be more than the one that was paused: the leases are short.
    over = told.count("knows that its leadership is over")
    assert len(re.findall(r"elected, token \d+", told)) == 3 + over >= 4
    acts = re.findall(r"--- kill (-\w+)", told)
    assert acts == ["-9", "-STOP", "-CONT", "-TERM"]
    assert "WRITE REFUSED" in told
    measured = re.findall(r"(\w+) (killed|paused|resigned): the next leader was elected ([\d.]+) (m?s) later", told)
    assert [what for _, what, _, _ in measured] == ["killed", "paused", "resigned"]
    assert "every line stands in the order of the tokens" in told
    tokens = [int(token) for token in re.findall(r"elected, token (\d+)", told)]
    assert tokens == sorted(set(tokens))


def test_a_killed_a_paused_and_a_resigning_leader_are_each_replaced(cli_without_store: Command, folder: Path) -> None:
    demo = start(cli_without_store, folder)
    done = demo.end(DONE_WITHIN_S)
    assert done.code == 0, done
    check_story(done.out)
    assert done.err == ""
    assert all_gone(demo)
    assert list(folder.iterdir()) == []


def members_in(folder: Path) -> list[int]:
    """The processes of members whose data is below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if b"run_member" in command and str(folder).encode() in command:
            found.append(int(entry.name))
    return found


def test_on_a_cluster_of_its_own_the_leading_member_is_killed_as_well(cli_without_store: Command, folder: Path) -> None:
    demo = start(cli_without_store, folder, "--store", "raft")
    done = demo.end(DONE_WITHIN_S)
    assert done.code == 0, done
    assert done.err == ""
    told = done.out
    killed = re.findall(r"--- kill -9 (\w+), the member that leads the others", told)
    assert len(killed) == 1
    [successor] = re.findall(r"(\w+) leads the members", told)
    assert successor not in killed
    assert f"{killed[0]} is started again" in told
    measured = re.findall(r"(\w+), the leading member, killed: the next leader was elected ([\d.]+) (m?s) later", told)
    assert [name for name, _, _ in measured] == killed
    check_story(told.replace(f"--- kill -9 {killed[0]}, the member", "--- the member"))
    assert all_gone(demo)
    assert members_in(folder) == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_no_member_is_left(cli_without_store: Command, folder: Path, end: signal.Signals) -> None:
    demo = start(cli_without_store, folder, "--store", "raft")
    demo.line_with("elected")
    assert len(members_in(folder)) >= 2  # the one that leads is soon killed, and started again
    demo.signal(end)
    demo.end()
    assert all_gone(demo)
    give_up = time.monotonic() + GONE_WITHIN_S
    while members_in(folder):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_the_demo_leaves_nothing_in_a_store_of_the_users_own(
    cli_without_store: Command, folder: Path, etcd: EtcdCluster, prefix: str
) -> None:
    done = start(cli_without_store, folder, "--store", etcd.url(prefix)).end(DONE_WITHIN_S)
    assert done.code == 0, done
    check_story(done.out)
    assert cli_without_store("--store", etcd.url(prefix), "status", "-o", "json").json["elections"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cut_short_it_still_cleans_up(cli_without_store: Command, folder: Path, number: signal.Signals) -> None:
    demo = start(cli_without_store, folder)
    demo.line_with("-STOP")
    demo.signal(number)
    assert demo.end().code == 128 + number
    assert all_gone(demo)
    assert list(folder.iterdir()) == []


def test_killed_outright_it_takes_its_workers_along(cli_without_store: Command, folder: Path) -> None:
    demo = start(cli_without_store, folder)
    demo.line_with("-STOP")
    demo.signal(signal.SIGKILL)
    demo.end()
    assert all_gone(demo)


def test_without_the_package_of_our_own_store_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['msgpack'] = None; from leasekit.cli.main import main; main()"
    command = [sys.executable, "-c", program, "demo", "--store", "raft"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "leasekit: --store: raft needs msgpack: pip install 'leasekit[raft]'\n"
