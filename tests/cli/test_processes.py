"""Killing all that a command has started, with real processes that try to get away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.children import pids_with

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# A process that adopts orphans, as the watchdog does, kills as often as it takes and says how often that was.
HUNTER = """
import os, signal, subprocess, sys
from leasekit.watchdog import processes
ROUNDS_MAX = 3
processes.adopt_orphans()
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", sys.argv[1], *sys.argv[2:]], process_group=0, stdout=subprocess.PIPE)
child.stdout.readline()
for rounds in range(1, ROUNDS_MAX + 1):
    processes.kill(child.pid, os.getpid())
    if not (processes.look(child.pid, os.getpid()).anyone_left or processes.has_living_children(os.getpid())):
        break
else:
    rounds = "never"
print(rounds, flush=True)
"""
OVERSEER = """
import os, subprocess, sys, time
from leasekit.watchdog import processes
processes.adopt_orphans()
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", sys.argv[1], *sys.argv[2:]], process_group=0, stdout=subprocess.PIPE)
child.stdout.readline()
looks = seen = 0
enough_at = time.monotonic() + 20  # for a machine that is busy
while looks < 300 and time.monotonic() < enough_at:
    looks += 1
    seen += processes.has_living_children(os.getpid())
    processes.reap_adopted(processes.look(child.pid, os.getpid()), os.getpid(), spare=child.pid)
processes.kill(child.pid, os.getpid())
print(seen, looks, flush=True)
"""
# Each generation lives for a few ms, in a session of its own.
RUNAWAY = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    time.sleep(0.003)
    if os.fork():
        os._exit(0)
    os.setsid()
"""
TREE = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            print("up", flush=True)
time.sleep(600)
"""
# The main thread ends, another one runs on: /proc calls that a zombie.
LEADERLESS = """
import ctypes, os, threading, time
os.setsid()
threading.Thread(target=lambda: (print("up", flush=True), time.sleep(600))).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""


def hunt(what: str, mark: str, *, tells_of_children: bool = True) -> str:
    """How many calls of `kill` it took."""
    less = "" if tells_of_children else "from leasekit.watchdog import processes; processes._tells_of_children = bool\n"
    done = subprocess.run(
        [sys.executable, "-c", less + HUNTER, what, mark], capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A word on the command line of those who are hunted. Whoever is left is killed in the end."""
    mark = f"mark-{tmp_path.name}-{os.getpid()}"
    yield mark
    give_up_s = time.monotonic() + 30
    while (left := pids_with(mark)) and time.monotonic() < give_up_s:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def test_who_keeps_forking_away_into_new_sessions_is_caught(mark: str) -> None:
    assert hunt(RUNAWAY, mark) != "never"
    assert pids_with(mark) == []


def test_nobody_is_overlooked_who_forks_and_exits_while_all_are_being_listed(mark: str) -> None:
    # The look alone says now and then that nobody is left.
    seen = subprocess.run(
        [sys.executable, "-c", OVERSEER, RUNAWAY, mark], capture_output=True, text=True, timeout=100, check=True
    )
    found, looks = map(int, seen.stdout.split())
    assert found == looks > 0


def test_a_process_whose_main_thread_is_gone_still_lives_and_is_killed(mark: str) -> None:
    assert hunt(LEADERLESS, mark) in ("1", "2")


def test_who_stands_deep_below_in_sessions_of_their_own_is_killed_at_once(mark: str) -> None:
    assert hunt(TREE, mark) in ("1", "2")  # the second time, if they were dying while the look was taken
    assert pids_with(mark) == []


def test_where_the_kernel_does_not_tell_of_children_a_look_at_all_processes_does(mark: str) -> None:
    assert hunt(TREE, mark, tells_of_children=False) in ("1", "2")
    assert pids_with(mark) == []
