"""What the README shows works: its programs run, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import pages
from support.binaries import REPOSITORY as ROOT

README = (ROOT / "README.md").read_text()
PROGRAMS = pages.blocks(README, "python")
COMMANDS = pages.commands(README)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_runs_as_it_stands(program: str, tmp_path: Path) -> None:
    run = pages.run_program(program, tmp_path)
    assert (run.returncode, run.stderr) == (0, "")


def test_there_are_programs_and_commands() -> None:
    assert len(PROGRAMS) >= 3
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_exists(command: str) -> None:
    assert pages.unknown_words(command) == []


def test_files_that_are_pointed_to_are_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    files = re.findall(r"compose/\w+\.yaml", README)
    assert [path for path in [*links, *files] if not (ROOT / path).exists()] == []
