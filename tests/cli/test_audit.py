"""`leasekit audit` and `--journal`: exit codes, and what is said where."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from leasekit.core.journal_event import Kind, load
from support.command import Command
from support.journals import Machine


@pytest.fixture
def journals(tmp_path: Path) -> list[str]:
    """Of a leader that was paused, and of its successor."""
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 10, 15)
    b.leads(5, 11, 25, 20)
    for author in (a, b):
        (tmp_path / f"{author.name}.jsonl").write_bytes(author.file)
    return [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]


@pytest.mark.parametrize("form", ["text", "json", "html", "svg"])
def test_no_two_valid_leaders_is_0_in_every_form(cli_without_store: Command, journals: list[str], form: str) -> None:
    done = cli_without_store("audit", *journals, "-o", form)
    assert (done.code, done.err) == (0, "")
    if form == "svg":
        ElementTree.fromstring(done.out)
    elif form == "json":
        assert done.json["elections"][0]["overlaps"][0]["believed_s"] == 4.0
    else:
        assert "Two processes believed that they led" in done.out


def test_two_valid_leaders_is_1(cli_without_store: Command, tmp_path: Path) -> None:
    machine = Machine()
    a, b = machine.process("a"), machine.process("b")
    a.leads(1, 0, 12, 15)
    b.leads(5, 11, 25, 20)
    files = []
    for author in (a, b):
        files.append(str(tmp_path / author.name))
        (tmp_path / author.name).write_bytes(author.file)
    done = cli_without_store("audit", *files)
    assert done.code == 1
    assert done.out.startswith("TWO VALID LEADERSHIPS OVERLAPPED")
    # With a file beside them that cannot be read it is still the answer.
    assert cli_without_store("audit", *files, str(tmp_path / "missing")).code == 1


def test_a_file_that_is_no_journal_is_said_and_65(
    cli_without_store: Command, journals: list[str], tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("buy milk\n")
    foreign = cli_without_store("audit", *journals, str(tmp_path / "notes"))
    assert foreign.code == 65
    assert f"{tmp_path}/notes is no journal" in foreign.err
    assert "Two processes believed" in foreign.out, "the others are compared all the same"
    missing = cli_without_store("audit", *journals, str(tmp_path / "missing"))
    assert missing.code == 65
    assert "missing cannot be read: No such file or directory" in missing.err


def test_a_torn_last_line_is_said_and_no_failure(cli_without_store: Command, journals: list[str]) -> None:
    path = Path(journals[1])
    path.write_bytes(path.read_bytes()[:-9])
    done = cli_without_store("audit", *journals)
    assert done.code == 0
    assert f"{path}: the last line is torn" in done.err


def test_without_files_it_is_a_usage_error(cli_without_store: Command) -> None:
    assert cli_without_store("audit").code == 2


def test_observers_write_journals_as_well(cli: Command, tmp_path: Path) -> None:
    journal = tmp_path / "watcher.jsonl"
    with_journal = cli.start("run", "x", "--id", "a", "--journal", str(tmp_path / "a.jsonl"), "--", "sleep", "600")
    cli.until(lambda done: done.code == 0, "leader", "x")
    assert cli("--journal", str(journal), "leader", "x").out == "a\n"
    (observed,) = (load(line) for line in journal.read_bytes().splitlines())
    assert (observed.kind, observed.text("leader"), observed.id) == (Kind.OBSERVED, "a", None)
    assert len(observed.clock) == 2, "it knows of the leader's process"
    assert with_journal.process.poll() is None


def test_a_journal_that_cannot_be_is_a_bad_configuration(cli: Command, tmp_path: Path) -> None:
    done = cli("--journal", str(tmp_path / "nowhere" / "j"), "leader", "x")
    assert done.code == 78
    assert done.err == f"leasekit: --journal: {tmp_path}/nowhere is no directory: make it first\n"
