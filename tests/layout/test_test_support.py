"""What the tests lean on: a server never outlives its run, and nothing is skipped in CI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import binaries
from support.binaries import REPOSITORY
from support.children import left_behind
from support.servers import EtcdCluster

_RUN_A_SERVER = """
import time
from support.servers import EtcdCluster
with EtcdCluster() as cluster:
    print(cluster.pid(0), flush=True)
    time.sleep(60)
"""


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part in this is Linux's")
def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    binaries.require("etcd-3.5", "etcd")
    run = subprocess.Popen(
        [sys.executable, "-c", _RUN_A_SERVER],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "tests"), "TMPDIR": str(tmp_path)},
    )
    with run:
        assert run.stdout is not None
        server = int(run.stdout.readline())
        assert not _ended(server)
        run.send_signal(signal.SIGKILL)
    give_up_s = time.monotonic() + 60
    while not _ended(server):
        assert time.monotonic() < give_up_s, "the server outlived its run"
        time.sleep(0.01)


def test_a_child_that_a_test_leaves_behind_is_found_and_killed() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert "sleep 60" in left_behind((), patience_s=0.05)[child.pid]
        assert child.wait(60) == -signal.SIGKILL


def test_servers_are_not_taken_for_children_left_behind(etcd: EtcdCluster) -> None:
    assert etcd.pid(0) not in left_behind(())


def test_a_missing_server_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"not found here: etcd-3.5/no-such-program"):
        binaries.require("etcd-3.5", "no-such-program")


def test_elsewhere_it_skips_the_test_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="`make servers` gets it"):
        binaries.require("etcd-3.5", "no-such-program")
