"""`leasekit run` and the tables on a terminal: a pseudo-terminal, and a session whose leader is a shell."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import Command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="job control as Linux has it")

TIMEOUT_S = 60.0
LEASEKIT = f"{sys.executable} -P -c 'from leasekit.cli.main import main; main()'"


class Terminal:
    """A terminal in which bash runs, with job control as for a person."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], environment)
        self._screen = ""
        self.type("stty -echo; PS1=\n")
        self.type("echo re''ady\n")
        self.until("ready")

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def until(self, text: str) -> str:
        """Wait until `text` is on the screen; returns what came up to there, and forgets it."""
        give_up = time.monotonic() + TIMEOUT_S
        while text not in self._screen:
            assert time.monotonic() < give_up, f"waited for {text!r}, saw {self._screen!r}"
            if select.select([self._fd], [], [], 0.5)[0]:
                self._screen += os.read(self._fd, 65536).decode(errors="replace")
        before, _, self._screen = self._screen.partition(text)
        return before

    def close(self) -> None:
        os.close(self._fd)  # hangs up: HUP goes to the shell and its jobs
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(cli: Command) -> Iterator[Terminal]:
    opened = Terminal(cli.environment(TERM="xterm", PS1=""))
    yield opened
    opened.close()


# `exec` where a key follows at once: between vfork and exec, dash's child swallows what the terminal sends.
def run(script: str, *, options: str = "--ttl 60") -> str:
    return f"{LEASEKIT} run job {options} -- sh -c '\"'\"'{script}'\"'\"'\n".replace("'\"'\"'", "'")


def test_a_command_reads_from_the_terminal(terminal: Terminal) -> None:
    terminal.type(run("echo name?; read name; echo hello $name"))
    terminal.until("name?")
    terminal.type("world\n")
    terminal.until("hello world")


def test_ctrl_c_ends_the_command_and_130_is_the_result(terminal: Terminal) -> None:
    terminal.type(run("echo up; exec sleep 600"))
    terminal.until("up")
    terminal.type("\x03")
    terminal.type("echo code=$?\n")
    terminal.until("code=130")


def test_ctrl_c_reaches_a_command_once(terminal: Terminal, tmp_path: Path) -> None:
    caught = tmp_path / "caught"
    wait = f"while [ ! -e {caught} ]; do sleep 0.05; done"
    terminal.type(run(f'trap "echo caught; touch {caught}" INT; echo up; {wait}; sleep 0.7; echo done'))
    terminal.until("up")
    terminal.type("\x03")
    terminal.until("caught")
    assert "caught" not in terminal.until("done")


def test_ctrl_z_suspends_and_fg_goes_on(terminal: Terminal) -> None:
    terminal.type(run('echo up; read line; echo "got $line"'))
    terminal.until("up")
    terminal.type("\x1a")
    terminal.until("Stopped")
    terminal.type("echo shell''-is-back\n")
    terminal.until("shell-is-back")
    terminal.type("fg\n")
    terminal.type("a line\n")
    terminal.until("got a line")
    terminal.type("echo code=$?\n")
    terminal.until("code=0")


def test_a_suspended_command_loses_its_leadership_in_time(terminal: Terminal, cli: Command) -> None:
    terminal.type(run("echo up; exec sleep 600", options="--ttl 5"))
    terminal.until("up")
    terminal.type("\x1a")
    terminal.until("Stopped")
    cli.until(lambda done: done.code == 1, "leader", "job")
    terminal.type("fg\n")
    terminal.type("echo code=$?\n")
    terminal.until("code=79")


def test_a_command_in_the_background_that_wants_to_read_is_stopped_until_fg(terminal: Terminal) -> None:
    terminal.type(run("echo up; read line; echo got $line").rstrip("\n") + " &\n")
    terminal.until("up")
    terminal.type("\n")
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        terminal.type("jobs; echo end''-of-jobs\n")
        if "Stopped" in terminal.until("end-of-jobs"):
            break
    terminal.type("fg\n")
    terminal.type("a line\n")
    terminal.until("got a line")


def test_in_a_pipeline_the_terminal_stays_with_the_reader(terminal: Terminal) -> None:
    reader = 'sh -c "read _; echo pager; read key < /dev/tty; echo key=\\$key"'
    terminal.type(run("echo up; sleep 1").rstrip("\n") + f" | {reader}\n")
    terminal.until("pager")
    terminal.type("q\n")
    terminal.until("key=q")


def test_the_shell_has_its_terminal_back_after_the_command(terminal: Terminal) -> None:
    terminal.type(run("exit 4"))
    terminal.type("echo code=$?\n")
    terminal.until("code=4")


def test_status_redraws_in_place_and_ctrl_c_ends_it(terminal: Terminal, cli: Command) -> None:
    terminal.type(f"{LEASEKIT} status -w\n")
    terminal.until("ELECTION")
    running = cli.start("run", "job", "--id", "somebody", "--", "sleep", "600")
    terminal.until("somebody")
    # Nothing changes in the store any more; the time goes on all the same.
    terminal.until("\x1b[H")
    terminal.until("somebody")
    running.signal(signal.SIGTERM)
    terminal.until("vacant")
    terminal.type("\x03")
    terminal.type("echo code=$?\n")
    terminal.until("code=130")


def test_status_shows_what_the_screen_has_room_for(terminal: Terminal, cli: Command) -> None:
    for number in range(8):
        assert cli("run", f"job-{number}", "--", "true").code == 0
    terminal.type(f"stty rows 6 cols 100; {LEASEKIT} status -w\n")
    for _ in range(2):
        terminal.until("\x1b[H")
        screen = terminal.until("... 5 lines more")
        assert screen.count("\n") == 4  # the heading and three elections; the cursor's line is the sixth
        assert "job-2" in screen
    terminal.type("\x03")
    terminal.type("echo code=$?\n")
    terminal.until("code=130")


def test_status_counts_down_to_the_next_leader(terminal: Terminal, cli: Command) -> None:
    first = cli.start("run", "job", "--id", "first", "--ttl", "20", "--", "sleep", "600")
    cli.until(lambda done: done.code == 0, "leader", "job")
    cli.start("run", "job", "--id", "second", "--", "sleep", "600")
    terminal.type(f"{LEASEKIT} status -w\n")
    terminal.until("20.1s if it dies")
    first.signal(signal.SIGSTOP)
    assert cli("resign", "job", "--force", "--yes").code == 0

    def seconds_left() -> float:
        terminal.until("within ")
        return float(terminal.until("s "))

    terminal.until("held")
    # Redrawn at each change as well, perhaps within the tenth of a second that is shown.
    left = [seconds_left()]
    while len(set(left)) < 4:
        left.append(seconds_left())
    assert left[0] < 20.5
    assert left == sorted(left, reverse=True)
    first.signal(signal.SIGCONT)
    terminal.type("\x03")


def test_force_asks_and_takes_no_for_an_answer(terminal: Terminal, cli: Command) -> None:
    cli.start("run", "job", "--id", "somebody", "--", "sleep", "600")
    cli.until(lambda done: done.code == 0, "leader", "job")
    terminal.type(f"{LEASEKIT} resign job --force\n")
    terminal.until("every election of that process")
    terminal.until("[y/N]")
    terminal.type("n\n")
    terminal.type("echo code=$?\n")
    terminal.until("code=130")
    assert cli("leader", "job").out == "somebody\n"
