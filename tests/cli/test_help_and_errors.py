"""What everybody meets first: the help, usage errors, and the exit codes of what goes wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from leasekit import errors
from leasekit.cli import exit_codes
from leasekit.cli.main import COMMANDS, leasekit
from support.command import Command


def test_the_help_fits_a_screen() -> None:
    lines = CliRunner().invoke(leasekit, ["--help"]).output.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_the_help_begins_with_what_people_come_for() -> None:
    text = CliRunner().invoke(leasekit, ["--help"]).output.partition("Commands:")[0]
    for wanted in ("leasekit run", "leasekit status", "leasekit demo", "@leasekit.singleton"):
        assert wanted in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_help_exists_and_explains_itself(name: str) -> None:
    done = CliRunner().invoke(leasekit, [name, "--help"])
    assert done.exit_code == 0
    assert f"leasekit {name}" in done.output
    assert "[default: (" not in done.output
    assert "...\n" not in done.output.partition("Commands:")[2]
    assert max(map(len, done.output.splitlines())) <= 80


def test_the_version_is_the_packages() -> None:
    assert re.fullmatch(r"leasekit, version \d+\.\d+\.\d+\n", CliRunner().invoke(leasekit, ["--version"]).output)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.StoreUnavailable("down"), 69),
        (errors.OutcomeUnknown("perhaps"), 69),
        (errors.ProtocolError("what?"), 76),
        (errors.AuthError("no"), 77),
        (errors.ConfigError("field", "wrong"), 78),
        (errors.NotElected("no"), 75),
        (errors.LeadershipLost(errors.LossReason.DEADLINE), 79),
        (errors.LeaseLost("1"), 79),
        (errors.FencingRejected(1, 2), 1),
        (KeyboardInterrupt(), 130),
        (RuntimeError("a fault"), 70),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_codes.of_error(error) == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonesuch"],
        ["leader"],
        ["leader", "x", "--nonesuch"],
        ["run", "x"],
        ["run", "x", "--wait", "soon", "--", "true"],
        ["run", "x", "--wait", "-1", "--", "true"],
        ["run", "x", "--ttl", "0", "--", "true"],
        ["run", "x", "true"],
        ["run", "x", "echo", "--", "true"],
        ["run", "x", "--try", "--wait", "3", "--", "true"],
        ["run", "x", "-E", "256", "--", "true"],
        ["status", "-o", "xml"],
        ["is-leader", "x"],
        ["transfer", "x"],
        ["history", "x", "-n", "0"],
        ["--timeout", "0", "leader", "x"],
        ["completion", "tcsh"],
    ],
    ids=" ".join,
)
def test_usage_errors_exit_with_2_and_say_nothing_on_stdout(cli_without_store: Command, arguments: list[str]) -> None:
    done = cli_without_store(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "x", "echo", "--ttl", "3"],
        ["run", "x", "git", "checkout", "--", "file"],
        ["run", "x", "echo", "-n"],
        ["cron", "x", "@hourly", "--once", "echo", "--ttl", "3"],
    ],
    ids=" ".join,
)
def test_a_command_without_two_dashes_before_it_does_not_lose_its_options_to_ours(
    cli: Command, arguments: list[str]
) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "--" in done.err.splitlines()[-1]


def test_a_schedule_without_quotes_is_said_to_lack_them(cli: Command) -> None:
    done = cli("cron", "x", "0", "3", "*", "*", "*", "--", "echo")
    assert (done.code, done.out) == (78, "")
    assert "in quotes" in done.err


def test_a_password_in_a_command_line_url_is_refused_and_not_repeated(cli: Command) -> None:
    for arguments in (
        ["--store", "etcd://joe:s3cret@h", "leader", "x"],
        ["leader", "x", "--store", "etcd://j:s3cret@h"],
    ):
        done = cli(*arguments)
        assert (done.code, done.out) == (78, "")
        assert "LEASEKIT_PASSWORD" in done.err
        assert "LEASEKIT_STORE" in done.err
        assert "s3cret" not in done.err


def test_a_store_that_cannot_be_reached_is_no_answer(cli: Command, unused_port: int) -> None:
    for scheme in ("etcd", "consul", "raft"):
        done = cli("--store", f"{scheme}://127.0.0.1:{unused_port}", "--timeout", "2", "leader", "x")
        assert (done.code, done.out) == (69, "")
        assert done.err.startswith("leasekit: ")
        assert "Traceback" not in done.err


def test_an_unknown_scheme_is_bad_configuration_and_the_known_ones_are_named(cli: Command) -> None:
    done = cli("--store", "zookeeper://h", "leader", "x")
    assert done.code == 78
    assert "etcd" in done.err


def test_a_bad_election_name_is_bad_configuration_and_says_what_would_do(cli: Command) -> None:
    done = cli("leader", "a/b")
    assert done.code == 78
    assert "'a/b'" in done.err


def test_with_no_store_named_it_says_once_where_it_elects(cli_without_store: Command) -> None:
    done = cli_without_store("leader", "x")
    assert done.code == 1
    assert done.err.count("this host") == 1
    assert "LEASEKIT_STORE" in done.err
    assert done.out == ""


def test_a_store_may_be_named_before_or_after_the_command(cli_without_store: Command, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'named.db'}"
    for arguments in (
        ["--store", url, "leader", "x"],
        ["leader", "x", "--store", url],
        ["leader", "--store", url, "x"],
    ):
        done = cli_without_store(*arguments)
        assert done.code == 1
        assert "this host" not in done.err


def test_an_internal_error_is_short_and_its_traceback_is_to_be_had(
    cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leasekit.cli import session

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(session, "Connection", broken)
    done = CliRunner().invoke(leasekit, ["leader", "x"], env={"LEASEKIT_DEBUG": None})
    assert done.exit_code == 70
    assert "a fault of ours" in done.stderr
    assert "LEASEKIT_DEBUG" in done.stderr
    told = CliRunner().invoke(leasekit, ["leader", "x"], env={"LEASEKIT_DEBUG": "1"})
    assert told.exit_code == 70
    assert "Traceback" in told.stderr
    assert "RuntimeError: a fault of ours" in told.stderr


def test_a_traceback_is_to_be_had_of_what_is_no_fault_of_ours(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "leases.db").write_text("no database at all, and longer than the header of one\n" * 4)
    assert "Traceback" not in cli("leader", "x").err
    told = cli("leader", "x", environment=cli.environment(LEASEKIT_DEBUG="1"))
    assert told.code == 78
    assert "Traceback" in told.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["status"], ["watch", "x"]], ids=" ".join)
def test_output_that_cannot_be_written_is_no_fault_of_ours(
    cli: Command, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it Python keeps nothing back to write at its end
    with Path("/dev/full").open("w") as full:
        done = cli.start(*arguments, stdout=full).end()
    assert done.code == 74
    assert done.err == "leasekit: the output cannot be written: No space left on device\n"


def test_an_empty_store_is_not_taken_for_the_file_of_this_host(cli: Command) -> None:
    for arguments in (["--store", "", "leader", "x"], ["leader", "x", "--store", " "]):
        done = cli(*arguments)
        assert (done.code, done.out) == (78, "")
        assert "--store: is empty" in done.err


def test_a_reader_that_has_seen_enough_is_no_error_worth_a_word(cli: Command) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = cli.start("status", "-o", "json", stdout=writing)
    os.close(writing)
    done = command.end()
    assert (done.code, done.err) == (141, "")


@pytest.mark.parametrize(
    "arguments", [["watch", "x"], ["status", "-w"], ["status", "x", "-w", "-o", "ndjson"]], ids=" ".join
)
def test_a_reader_that_leaves_is_noticed_though_there_is_nothing_to_tell(cli: Command, arguments: list[str]) -> None:
    watching = cli.start(*arguments)
    assert watching.line()
    assert watching.process.stdout is not None
    watching.process.stdout.close()
    assert (watching.process.wait(60), watching.errors()) == (141, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_for_that_shell(cli_without_store: Command, shell: str) -> None:
    done = cli_without_store("completion", shell)
    assert done.code == 0
    assert f"_LEASEKIT_COMPLETE={shell}_complete" in done.out


def test_words_are_completed(cli: Command) -> None:
    environment = cli.environment(_LEASEKIT_COMPLETE="bash_complete", COMP_WORDS="leasekit sta", COMP_CWORD="1")
    assert cli(environment=environment).out.split() == ["plain,status"]


def test_commands_import_only_what_they_use(cli: Command) -> None:
    tell = "import atexit, sys; atexit.register(lambda: print('modules:', *sys.modules)); "
    code = tell + "from leasekit.cli.main import main; main(['leader', 'x'])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=cli.environment(), capture_output=True, text=True, check=False
    )
    imported = set(done.stdout.partition("modules: ")[2].split())
    assert "leasekit.backends.sqlite" in imported
    unused = {"leasekit.cli.run", "leasekit.watchdog.guard", "leasekit.elector", "tenacity", "rich", "grpc", "aiohttp"}
    assert imported & unused == set()
