"""The watchdog with real processes, under a stand-in for leasekit (`guarded.py`) whose lease is renewed on order.

Each command writes into its standard output whatever it wants to be known by, and the processes it leaves are found by a
word in their command line that no other test uses.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leasekit.clock import SYSTEM_CLOCK
from leasekit.watchdog.guard import End, Ended, Guard
from leasekit.watchdog.supervision import Cause, stand_in_lead_s
from support.children import pids_with
from support.signals import LIBRARY_SIGNALS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# Enough for a busy machine to start the watchdog and the command in.
TTL_S = 6.0
GRACE_S = 0.4
# What a busy machine may take on top, in seconds. The margin of a lease is not counted on here.
SLACK_S = 5.0
END_WITHIN_S = 60.0
IGNORES_TERM = "trap '' TERM; "
FOR_EVER = "while :; do sleep 0.05; done; "


@pytest.fixture
def mark() -> str:
    """A word in the command line of this test's processes alone."""
    return f"mark{uuid.uuid4().hex[:12]}"


class Guarded:
    """A running stand-in and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self.process = process
        self.mark = mark
        self.watchdog_pid = int(self._line().split()[1])

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def wait_for(self, word: str) -> None:
        """Until the command has said `word`."""
        while word not in (line := self._line()):
            assert line, f"the command ended without having said {word!r}"

    def end(self) -> str:
        """The last line: how the command ended."""
        return self.rest().strip().rpartition("\n")[2]

    def rest(self) -> str:
        """What is said until the end."""
        return self.process.communicate(timeout=END_WITHIN_S)[0].decode()

    def alive(self) -> list[int]:
        """The processes of the command that still run."""
        return [pid for pid in pids_with(self.mark) if pid not in (self.process.pid, self.watchdog_pid)]

    def all_gone_within_s(self, timeout_s: float) -> bool:
        give_up = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > give_up:
                return False
            time.sleep(0.01)
        return True


def _until(file: Path) -> str:
    """In a shell: wait for it."""
    return f"while [ ! -e {file} ]; do sleep 0.05; done;"


Start = Callable[..., Guarded]


@pytest.fixture
def start(mark: str) -> Iterator[Start]:
    """Starts `sh -c SCRIPT` under the watchdog."""
    started: list[Guarded] = []

    def start_script(
        script: str, *, ttl_s: float = TTL_S, grace_s: float = GRACE_S, renewals: int = 0, **options: Any
    ) -> Guarded:
        arguments = [str(ttl_s), str(grace_s), str(renewals), "sh", "-c", script, mark]
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("guarded.py")), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,  # `communicate` passes over what `readline` would have read ahead
            **options,
        )
        started.append(Guarded(process, mark))
        return started[-1]

    yield start_script
    for guarded in started:
        for pid in (guarded.process.pid, guarded.watchdog_pid, *guarded.alive()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        guarded.process.communicate()


@pytest.mark.parametrize("code", [0, 3, 255])
def test_a_commands_own_exit_code_is_told(start: Start, code: int) -> None:
    assert start(f"exit {code}").end() == f"Ended(returncode={code}, cause=<Cause.EXITED: 'exited'>)"


def test_a_last_line_is_told_that_came_along_with_others(start: Start) -> None:
    guarded = start("echo up; exit 3")
    os.waitid(os.P_PID, guarded.process.pid, os.WEXITED | os.WNOWAIT)
    guarded.wait_for("up")
    assert guarded.end() == "Ended(returncode=3, cause=<Cause.EXITED: 'exited'>)"


def test_a_signal_that_ended_the_command_is_told(start: Start) -> None:
    assert start("kill -KILL $$").end() == "Ended(returncode=-9, cause=<Cause.EXITED: 'exited'>)"


def test_renewals_keep_a_command_alive_beyond_its_first_deadline(start: Start) -> None:
    guarded = start(f"sleep {TTL_S + 1.5}; exit 7", renewals=9)
    assert guarded.end() == "Ended(returncode=7, cause=<Cause.EXITED: 'exited'>)"


def test_without_a_renewal_the_command_is_told_to_stop_a_grace_before_the_deadline(start: Start) -> None:
    before = time.monotonic()
    guarded = start("trap 'echo told; exit 5' TERM; " + FOR_EVER, ttl_s=8, grace_s=4)
    begun = time.monotonic()
    guarded.wait_for("told")
    told = time.monotonic()
    assert told - before > 8 - 4 - 0.2
    assert told - begun < 8
    assert guarded.end() == "Ended(returncode=5, cause=<Cause.DEADLINE: 'deadline'>)"


def test_a_command_that_ignores_term_is_dead_by_the_deadline(start: Start) -> None:
    begin = time.monotonic()
    guarded = start(IGNORES_TERM + FOR_EVER)
    assert guarded.end() == "Ended(returncode=-9, cause=<Cause.DEADLINE: 'deadline'>)"
    # The stand-in counts its ttl from after Python's start, so only the upper bound is loose.
    assert TTL_S - 0.1 < time.monotonic() - begin < TTL_S + SLACK_S
    assert guarded.alive() == []


def test_a_stopped_command_is_continued_to_hear_the_term(start: Start) -> None:
    guarded = start("trap 'exit 5' TERM; kill -STOP $$; " + FOR_EVER)
    assert guarded.end() == "Ended(returncode=5, cause=<Cause.DEADLINE: 'deadline'>)"


def test_a_lost_leadership_ends_the_command_long_before_the_deadline(start: Start) -> None:
    guarded = start("echo up; " + IGNORES_TERM + FOR_EVER, ttl_s=30)
    guarded.wait_for("up")
    begin = time.monotonic()
    guarded.process.send_signal(signal.SIGUSR2)
    assert guarded.end() == "Ended(returncode=-9, cause=<Cause.LOST: 'lost'>)"
    assert time.monotonic() - begin < GRACE_S + SLACK_S


@pytest.mark.parametrize("leaving", ["", "setsid "], ids=["in the group", "in a session of its own"])
@pytest.mark.parametrize("deaf", ["", IGNORES_TERM], ids=["hears TERM", "ignores TERM"])
def test_what_a_command_leaves_behind_ends_with_it(
    start: Start, mark: str, leaving: str, deaf: str, tmp_path: Path
) -> None:
    up = tmp_path / "up"
    left = f'{leaving}sh -c "{deaf}echo up; touch {up}; {FOR_EVER}" {mark}'
    guarded = start(f"{left} & {_until(up)} exit 4", ttl_s=30)
    guarded.wait_for("up")
    assert guarded.end() == "Ended(returncode=4, cause=<Cause.EXITED: 'exited'>)"
    assert guarded.alive() == []


@pytest.mark.parametrize("leaving", ["", "setsid "], ids=["in the group", "in a session of its own"])
def test_a_daemon_that_forked_twice_is_dead_by_the_deadline(start: Start, mark: str, leaving: str) -> None:
    daemon = f'{leaving}sh -c "{IGNORES_TERM}echo up; {FOR_EVER}" {mark}'
    guarded = start(f"({daemon} &) ; {FOR_EVER}")
    guarded.wait_for("up")
    assert "Cause.DEADLINE" in guarded.end()
    assert guarded.alive() == []


def test_a_stopped_leasekit_cannot_keep_its_command_alive(start: Start) -> None:
    guarded = start("echo up; " + IGNORES_TERM + FOR_EVER, renewals=100)
    guarded.wait_for("up")
    guarded.process.send_signal(signal.SIGSTOP)
    assert guarded.all_gone_within_s(TTL_S + SLACK_S)
    guarded.process.send_signal(signal.SIGCONT)
    assert guarded.end() == "Ended(returncode=-9, cause=<Cause.DEADLINE: 'deadline'>)"


def test_a_killed_leasekit_takes_its_command_along(start: Start) -> None:
    guarded = start("echo up; " + IGNORES_TERM + FOR_EVER, ttl_s=30)
    guarded.wait_for("up")
    guarded.process.kill()
    assert guarded.all_gone_within_s(GRACE_S + SLACK_S)
    assert "leasekit itself is gone" in guarded.end()


def test_after_leasekits_death_the_grace_never_outlasts_the_deadline(start: Start) -> None:
    guarded = start("echo up; " + IGNORES_TERM + FOR_EVER, ttl_s=10, grace_s=6)
    guarded.wait_for("up")
    guarded.process.kill()
    assert guarded.all_gone_within_s(10 + SLACK_S)


def test_a_killed_watchdog_takes_its_command_along(start: Start, mark: str) -> None:
    daemon = f'setsid sh -c "{IGNORES_TERM}echo daemon; {FOR_EVER}" {mark}'
    guarded = start(f"({daemon} &); {IGNORES_TERM} {FOR_EVER}", ttl_s=30)
    guarded.wait_for("daemon")
    os.kill(guarded.watchdog_pid, signal.SIGKILL)
    assert guarded.end() == "Died()"
    assert guarded.alive() == []


def test_a_stopped_watchdog_is_stood_in_for(start: Start) -> None:
    guarded = start("echo up; " + IGNORES_TERM + FOR_EVER)
    guarded.wait_for("up")
    os.kill(guarded.watchdog_pid, signal.SIGSTOP)
    assert guarded.all_gone_within_s(TTL_S + SLACK_S)
    assert guarded.end() == "Died()"


def test_a_watchdog_that_is_as_late_as_everybody_else_still_reports_the_end(start: Start) -> None:
    # A machine that stood still: both processes wake up long after the deadline.
    guarded = start(IGNORES_TERM + FOR_EVER)
    guarded.wait_for("heard of the start")
    both = (guarded.process.pid, guarded.watchdog_pid)
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(TTL_S + 2.5)
    for pid in both:
        os.kill(pid, signal.SIGCONT)
    assert "Cause.DEADLINE" in guarded.end()


@pytest.mark.parametrize("number", ["STOP", "KILL"])
def test_a_watchdog_that_its_own_command_strikes_down_before_it_can_report_is_stood_in_for(
    start: Start, number: str
) -> None:
    guarded = start(f"kill -{number} $PPID; {IGNORES_TERM} {FOR_EVER}")
    assert guarded.end() == "Died()"
    assert guarded.alive() == []


def test_a_signal_to_the_whole_group_of_leasekit_leaves_the_watchdog_at_work(start: Start) -> None:
    guarded = start("echo up; " + FOR_EVER, ttl_s=30, process_group=0)
    guarded.wait_for("up")
    os.killpg(guarded.process.pid, signal.SIGKILL)
    assert guarded.all_gone_within_s(GRACE_S + SLACK_S)


def test_signals_for_the_watchdog_are_not_its_end(start: Start, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    guarded = start(f"echo up; {_until(go_on)} exit 6", ttl_s=60)
    guarded.wait_for("up")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
        os.kill(guarded.watchdog_pid, number)
    go_on.touch()
    assert guarded.end() == "Ended(returncode=6, cause=<Cause.EXITED: 'exited'>)"


@pytest.mark.parametrize(("command", "error"), [("nonesuch-command", 2), ("/etc/passwd", 13), ("/tmp", 13)])
def test_a_command_that_cannot_be_started_is_told(command: str, error: int) -> None:
    script = str(Path(__file__).with_name("guarded.py"))
    told = subprocess.run([sys.executable, script, "5", "1", "0", command], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == f"NotStarted(error_number={error})"


def test_a_command_is_not_started_when_its_grace_has_begun() -> None:
    script = str(Path(__file__).with_name("guarded.py"))
    told = subprocess.run([sys.executable, script, "5", "5", "0", "true"], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "NotStarted(error_number=0)"


def test_a_renewal_counts_that_comes_while_the_watchdog_is_starting() -> None:
    # Which takes seconds on a machine that is busy enough.
    now = SYSTEM_CLOCK.now()
    guard = Guard(["sh", "-c", "exit 4"], None, ttl_s=60, grace_s=1.0, adopt=False)
    guard.begin(now.plus(0.5))
    guard.extend(now.plus(60))
    assert _end(guard) == Ended(4, Cause.EXITED)


def _end(guard: Guard) -> End:
    while (end := guard.step()) is None:
        select.select([guard], [], [], 0.1)
    guard.close()
    return end


def test_a_watchdog_that_stands_by_starts_the_command_when_told_to(tmp_path: Path) -> None:
    told = tmp_path / "told"
    guard = Guard(["sh", "-c", f"echo $LEASEKIT_TOKEN > {told}; exit 4"], None, ttl_s=60, grace_s=1.0, adopt=False)
    time.sleep(0.3)  # it is up by now, or not: nothing may be begun either way
    assert not told.exists()
    guard.begin(SYSTEM_CLOCK.now().plus(60), token=7)
    assert _end(guard) == Ended(4, Cause.EXITED)
    assert told.read_text() == "7\n"


def test_a_watchdog_killed_while_it_stands_by_is_replaced() -> None:
    guard = Guard(["sh", "-c", "exit 4"], None, ttl_s=60, grace_s=1.0, adopt=False)
    killed = guard.watchdog_pid
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    guard.begin(SYSTEM_CLOCK.now().plus(60))
    assert guard.watchdog_pid != killed
    assert _end(guard) == Ended(4, Cause.EXITED)


def test_leasekit_looks_before_the_deadline_whether_its_watchdog_has_done_its_part() -> None:
    guard = Guard(["true"], None, ttl_s=60, grace_s=1.0, adopt=False)
    guard.begin(SYSTEM_CLOCK.now().plus(0.15))
    assert guard.sleep_s() <= 0.15 - stand_in_lead_s(60)
    assert not isinstance(_end(guard), Ended), "too near for the command to be started"


def test_a_watchdog_that_is_not_needed_goes_without_having_begun(mark: str) -> None:
    guard = Guard(["sh", "-c", f": {mark}"], None, ttl_s=60, grace_s=1.0, adopt=False)
    guard.close()
    assert pids_with(mark) == []


def test_a_command_inherits_default_signal_actions_and_an_empty_mask(start: Start) -> None:
    guarded = start("grep -E '^Sig(Ign|Blk)' /proc/self/status; exit 0")
    told = guarded.rest()
    # SIGPIPE and SIGXFSZ, which Python ignores, are back to their defaults.
    masks = [int(mask, 16) & ~LIBRARY_SIGNALS for mask in re.findall(r"Sig(?:Ign|Blk):\s+(\w+)", told)]
    assert masks == [0, 0]


def test_a_zombie_that_the_watchdog_adopted_is_reaped_while_the_command_runs(start: Start, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    guarded = start(f"(sh -c 'exit 0' &) ; echo up; {_until(go_on)}", ttl_s=60)
    guarded.wait_for("up")
    children = Path(f"/proc/{guarded.watchdog_pid}/task/{guarded.watchdog_pid}/children")
    give_up = time.monotonic() + 20
    while len(children.read_text().split()) != 1:
        assert time.monotonic() < give_up, children.read_text()
        time.sleep(0.02)
    go_on.touch()
    assert "Cause.EXITED" in guarded.end()
