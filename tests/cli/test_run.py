"""`leasekit run`, as a real process over an SQLite file: what the command gets, what comes back, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from support.children import pids_with
from support.command import Command, Running
from support.signals import LIBRARY_SIGNALS

# For tests that wait for a lease to run out; otherwise it must not, however busy the machine is.
TTL_S = 5.0
SHORT = ("--ttl", str(TTL_S))
LONG = ("--ttl", "60", "--grace", "5")
FOR_EVER = "while :; do sleep 0.05; done"


def until(file: Path) -> str:
    """In a shell: wait for it."""
    return f"while [ ! -e {file} ]; do sleep 0.05; done;"


def start_up(cli: Command, *options: str, script: str = ":", name: str = "job") -> Running:
    """A run whose command is up, and goes on until it is ended."""
    running = cli.start("run", name, *LONG, *options, "--", "sh", "-c", f"{script}; echo up; {FOR_EVER}")
    running.line_with("up")
    return running


@pytest.mark.parametrize("code", [0, 1, 7, 75, 255])
def test_the_commands_exit_code_is_ours(cli: Command, code: int) -> None:
    assert cli("run", "job", "--", "sh", "-c", f"exit {code}").code == code


def test_a_command_killed_by_a_signal_gives_128_and_the_signal(cli: Command) -> None:
    assert cli("run", "job", "--", "sh", "-c", "kill -KILL $$").code == 137


def test_output_and_input_are_the_commands_own(cli: Command) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"hello\n")
    os.close(writing)
    done = cli.start("run", "job", "--", "sh", "-c", "cat; echo to stderr >&2", stdin=reading).end()
    os.close(reading)
    assert (done.code, done.out, done.err) == (0, "hello\n", "to stderr\n")


def test_arguments_reach_the_command_untouched_by_any_shell(cli: Command) -> None:
    words = ["$HOME", "a b", "*", "--try", "", "--", "'"]
    done = cli("run", "job", "--", sys.executable, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(done.out) == words


def test_the_command_knows_its_election_id_token_and_store(cli: Command) -> None:
    done = cli("run", "job", "--id", "me", "--", "sh", "-c", "env | grep ^LEASEKIT_ | sort")
    told = dict(line.split("=", 1) for line in done.out.splitlines())
    assert told.pop("LEASEKIT_TOKEN").isdigit()
    assert told == {"LEASEKIT_ELECTION": "job", "LEASEKIT_ID": "me", "LEASEKIT_STORE": cli.store_url}


def test_credentials_reach_neither_the_command_nor_the_watchdog(cli: Command) -> None:
    secrets = {"LEASEKIT_USERNAME": "joe", "LEASEKIT_PASSWORD": "s3cret", "CONSUL_HTTP_TOKEN": "s3cret"}
    show = "env; tr '\\0' '\\n' < /proc/$PPID/environ; tr '\\0' ' ' < /proc/$PPID/cmdline"
    done = cli("run", "job", "--", "sh", "-c", show, environment=cli.environment(**secrets))
    assert "LEASEKIT_TOKEN" in done.out
    assert "s3cret" not in done.out
    assert "LEASEKIT_USERNAME" not in done.out


def test_what_the_shell_opened_for_the_command_is_passed_on(cli: Command, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        os.set_inheritable(log.fileno(), True)
        write = f"import os; os.write({log.fileno()}, b'hi')"
        cli.start("run", "job", "--", sys.executable, "-c", write, close_fds=False).end()
    assert (tmp_path / "log").read_text() == "hi"


def test_a_command_that_does_not_exist_wins_nothing(cli: Command) -> None:
    done = cli("run", "job", "--", "nonesuch-command")
    assert done.code == 127
    assert "'nonesuch-command' was not found" in done.err
    assert cli("history", "job", "-o", "tsv").out == ""


def test_a_command_that_cannot_be_executed_gives_126(cli: Command, tmp_path: Path) -> None:
    not_executable = tmp_path / "script"
    not_executable.write_text("#!/bin/sh\n")
    assert cli("run", "job", "--", str(not_executable)).code == 126
    not_executable.chmod(0o755)
    not_executable.write_text("neither a script nor a program")
    done = cli("run", "job", "--", str(not_executable))
    assert done.code == 126
    assert done.err == f"leasekit: {str(not_executable)!r} cannot be executed: Exec format error\n"


def test_a_script_whose_interpreter_is_missing_gives_127_and_resigns(cli: Command, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nonesuch/interpreter\n")
    script.chmod(0o755)
    done = cli("run", "job", "--", str(script))
    assert done.code == 127
    assert done.err == f"leasekit: {str(script)!r} cannot be executed: its interpreter was not found\n"
    assert cli("leader", "job").code == 1


def test_who_comes_second_with_try_exits_75_and_says_who_leads(cli: Command) -> None:
    start_up(cli, "--id", "first")
    done = cli("run", "job", "--try", "--", "true")
    assert done.code == 75
    assert "first leads" in done.err
    assert cli("run", "job", "--try", "-E", "0", "--", "true").code == 0


def test_waiting_ends_when_its_time_is_up(cli: Command) -> None:
    start_up(cli)
    begin = time.monotonic()
    assert cli("run", "job", "--wait", "500ms", "--", "true").code == 75
    assert time.monotonic() - begin >= 0.5


def test_an_unreachable_store_is_not_taken_for_a_lost_race(cli: Command, unused_port: int) -> None:
    store = ("--store", f"etcd://127.0.0.1:{unused_port}", "--timeout", "1")
    assert cli(*store, "run", "job", "--try", "-E", "0", "--", "true").code == 69
    assert cli(*store, "run", "job", "--wait", "1", "-E", "0", "--", "true").code == 69


def test_who_waits_for_a_store_that_does_not_answer_is_told_so(cli: Command, unused_port: int) -> None:
    running = cli.start("--store", f"raft://127.0.0.1:{unused_port}", "run", "job", "--", "true")
    give_up = time.monotonic() + 60
    while not running.errors():
        assert time.monotonic() < give_up
        time.sleep(0.05)
    running.signal(signal.SIGTERM)
    done = running.end()
    assert done.code == 143
    assert done.err.startswith(f"leasekit: no lease granted on raft://127.0.0.1:{unused_port}: no leader")
    assert len(done.err.splitlines()) == 1


def test_the_next_in_line_takes_over_when_the_command_ends(cli: Command) -> None:
    first = start_up(cli, "--id", "first")
    second = cli.start("run", "job", *LONG, "--id", "second", "--", "echo", "mine")
    cli.until(lambda done: len(done.out.splitlines()) == 2, "candidates", "job", "-o", "tsv")
    first.signal(signal.SIGTERM)
    assert first.end().code == 143
    assert second.end().out == "mine\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT])
def test_signals_are_passed_on_to_the_command(cli: Command, number: signal.Signals) -> None:
    running = start_up(cli, script=f"trap 'echo got it; exit 9' {number.name.removeprefix('SIG')}")
    running.signal(number)
    done = running.end()
    assert (done.code, done.out) == (9, "got it\n")


@pytest.mark.skipif(sys.platform != "linux", reason="states of processes as Linux tells them")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_hears_that_it_is_to_end(cli: Command, number: signal.Signals) -> None:
    running = cli.start("run", "job", *LONG, "--", "sh", "-c", f"echo $$; kill -STOP $$; {FOR_EVER}")
    state = Path(f"/proc/{running.line()}/stat")
    give_up = time.monotonic() + 20
    while state.read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < give_up
        time.sleep(0.02)
    running.signal(number)
    assert running.end().code == 128 + number


def test_a_signal_that_ends_the_command_is_the_result(cli: Command) -> None:
    running = start_up(cli)
    running.signal(signal.SIGINT)
    assert running.end().code == 130
    assert cli("leader", "job").code == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_waiting_ends_the_wait_and_leaves_the_queue(
    cli: Command, number: signal.Signals, code: int
) -> None:
    start_up(cli, "--id", "first")
    waiting = cli.start("run", "job", "--id", "second", "--", "true")
    cli.until(lambda done: "second" in done.out, "candidates", "job")
    waiting.signal(number)
    assert waiting.end().code == code
    assert "second" not in cli("candidates", "job").out


def test_a_leasekit_killed_while_waiting_leaves_no_watchdog(cli: Command) -> None:
    start_up(cli)
    word = f"waits-{uuid.uuid4().hex}"
    waiting = cli.start("run", "job", *LONG, "--", "sh", "-c", f": {word}")
    cli.until(lambda done: len(done.out.splitlines()) == 2, "candidates", "job", "-o", "tsv")
    (watchdog,) = [pid for pid in pids_with(word) if pid != waiting.pid]
    waiting.signal(signal.SIGKILL)
    give_up = time.monotonic() + 20
    while watchdog in pids_with(word):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_nohup_is_for_the_command_as_well(cli: Command) -> None:
    running = cli.start(
        "run", "job", "--", "sh", "-c", "grep SigIgn /proc/self/status",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN) and None,
    )  # fmt: skip
    ignored = int(running.end().out.split()[1], 16) & ~LIBRARY_SIGNALS
    assert ignored == 1 << (signal.SIGHUP - 1)


def test_a_stopped_leasekit_loses_the_leadership_and_its_command_in_time(cli: Command) -> None:
    first = start_up(cli, *SHORT, "--grace", "1", "--id", "first", script="trap '' TERM")
    second = cli.start("run", "job", *LONG, "--id", "second", "--", "echo", "elected")
    cli.until(lambda done: len(done.out.splitlines()) == 2, "candidates", "job", "-o", "tsv")
    first.signal(signal.SIGSTOP)
    second.line_with("elected")
    first.signal(signal.SIGCONT)
    done = first.end()
    assert done.code == 79
    assert "deadline" in done.err


def test_two_commands_never_run_at_once_although_leaders_are_killed_and_stopped(cli: Command, tmp_path: Path) -> None:
    # The kernel takes the lock back when the command is gone, and not before.
    hold = (
        "import fcntl, signal, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "print('alone', flush=True)\n"
        "signal.pause()\n"
    )
    command = (sys.executable, "-c", hold, str(tmp_path / "lock"))
    runs = {f"run-{n}": cli.start("run", "job", *SHORT, "--id", f"run-{n}", "--", *command) for n in range(3)}
    cli.until(lambda done: len(done.out.splitlines()) == 3, "candidates", "job", "-o", "tsv")
    first = cli.until(lambda done: done.code == 0, "leader", "job").out.strip()
    assert runs[first].line() == "alone"
    runs[first].signal(signal.SIGKILL)
    second = cli.until(lambda done: done.out.strip() not in ("", first), "leader", "job").out.strip()
    assert runs[second].line() == "alone"
    runs[second].signal(signal.SIGSTOP)
    third = cli.until(lambda done: done.out.strip() not in ("", second), "leader", "job").out.strip()
    assert runs[third].line() == "alone"


def test_a_killed_watchdog_is_a_lost_leadership(cli: Command) -> None:
    running = start_up(cli)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    done = running.end()
    assert done.code == 79
    assert "watchdog" in done.err


def test_the_leadership_is_kept_until_nobody_of_the_command_is_left(cli: Command, tmp_path: Path) -> None:
    # The command exits at once; what it leaves behind heeds TERM in its own time.
    left = f"trap 'echo told; {until(tmp_path / 'go')} echo gone; exit' TERM; touch {tmp_path}/up; {FOR_EVER}"
    script = f'sh -c "{left}" & {until(tmp_path / "up")} exit 5'
    running = cli.start("run", "job", "--ttl", "90", "--grace", "50", "--", "sh", "-c", script)
    running.line_with("told")
    assert cli("leader", "job").code == 0
    (tmp_path / "go").touch()
    done = running.end()
    assert (done.code, done.out) == (5, "gone\n")
    assert cli("leader", "job").code == 1


def test_timings_that_cannot_be_safe_are_refused_at_once(cli: Command) -> None:
    for timings in (["--ttl", "3", "--grace", "3"], ["--ttl", "3", "--grace", "2.5"], ["--ttl", "0.01"]):
        done = cli("run", "job", *timings, "--", "true")
        assert done.code == 78
        assert "ttl" in done.err


def report_of(cli: Command, tmp_path: Path, *arguments: str) -> dict[str, object]:
    file = tmp_path / "report.json"
    done = cli("run", "job", "--id", "me", *arguments[: arguments.index("--")], "--report", str(file),
               *arguments[arguments.index("--"):])  # fmt: skip
    report: dict[str, object] = json.loads(file.read_text())
    assert report["exit_code"] == done.code
    assert {report["schema"], report["election"], report["id"]} == {1, "job", "me"}
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []  # noqa: PTH208
    return report


def test_the_report_of_a_command_that_ended_by_itself(cli: Command, tmp_path: Path) -> None:
    report = report_of(cli, tmp_path, "--", "sh", "-c", "sleep 0.1; exit 3")
    assert (report["outcome"], report["exit_code"], report["reason"]) == ("exited", 3, None)
    assert isinstance(report["token"], int)
    assert str(report["started"]) < str(report["ended"])


def test_the_report_of_a_command_that_was_never_started(cli: Command, tmp_path: Path) -> None:
    start_up(cli)
    report = report_of(cli, tmp_path, "--try", "--", "true")
    assert (report["outcome"], report["exit_code"], report["token"]) == ("not_acquired", 75, None)
    assert report["started"] is report["ended"] is None


def test_the_report_of_a_command_that_does_not_exist(cli: Command, tmp_path: Path) -> None:
    report = report_of(cli, tmp_path, "--", "nonesuch-command")
    assert (report["outcome"], report["exit_code"], report["token"]) == ("not_started", 127, None)


def test_the_report_of_a_lost_leadership(cli: Command, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    running = start_up(cli, *SHORT, "--grace", "1", "--report", str(file))
    running.signal(signal.SIGSTOP)
    cli.until(lambda done: done.code == 1, "leader", "job")
    running.signal(signal.SIGCONT)
    assert running.end().code == 79
    report = json.loads(file.read_text())
    assert (report["outcome"], report["exit_code"], report["reason"]) == ("lost", 79, "deadline")


def test_the_report_of_an_interrupted_wait(cli: Command, tmp_path: Path) -> None:
    start_up(cli, "--id", "first")
    file = tmp_path / "report.json"
    waiting = cli.start("run", "job", "--id", "second", "--report", str(file), "--", "true")
    cli.until(lambda done: "second" in done.out, "candidates", "job")
    waiting.signal(signal.SIGTERM)
    assert waiting.end().code == 143
    report = json.loads(file.read_text())
    assert (report["outcome"], report["exit_code"], report["token"]) == ("interrupted", 143, None)


def test_a_password_in_the_stores_url_stays_with_leasekit(cli: Command, auth_url: str) -> None:
    show = "env; cat /proc/$PPID/environ /proc/$PPID/cmdline | tr '\\0' '\\n'; sleep 0.3"
    running = cli.start("run", "job", "--", "sh", "-c", show, environment=cli.environment(LEASEKIT_STORE=auth_url))
    done = running.end()
    assert done.code == 0, done
    password = auth_url.partition("@")[0].rpartition(":")[2]
    assert "LEASEKIT_STORE=etcd://127.0.0.1" in done.out
    assert password not in done.out + done.err


def test_the_report_of_a_run_that_could_not_ask_the_store(tmp_path: Path) -> None:
    report = report_of(Command("etcd://127.0.0.1:1", tmp_path), tmp_path, "--try", "--", "true")
    assert (report["outcome"], report["exit_code"], report["token"]) == ("failed", 69, None)
    assert "127.0.0.1:1" in str(report["reason"])


def test_a_report_into_no_directory_is_refused_before_anything_runs(cli: Command, tmp_path: Path) -> None:
    done = cli("run", "job", "--report", str(tmp_path / "nonesuch" / "report"), "--", "echo", "ran")
    assert (done.code, done.out) == (78, "")


def test_nothing_of_a_run_is_left_behind(cli: Command) -> None:
    cli("run", "job", "--", "true")
    assert cli("candidates", "job", "-o", "tsv").out == ""
    assert subprocess.run(["pgrep", "-f", str(cli.store_url)], capture_output=True, check=False).returncode == 1
