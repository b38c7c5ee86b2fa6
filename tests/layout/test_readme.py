"""What the README shows works: its programs run, its commands exist, its numbers are those of the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from leasekit.cli import exit_codes
from support.binaries import REPOSITORY as ROOT

README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^(leasekit [a-z].*?)(?:\s{2,}#.*)?$", README, re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_runs_as_it_stands(program: str, tmp_path: Path) -> None:
    environment = {**os.environ, "LEASEKIT_STORE": f"sqlite:///{tmp_path}/leases.db"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_there_are_programs_and_commands() -> None:
    assert len(PROGRAMS) >= 4
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_exists(command: str) -> None:
    program, name, *_ = shlex.split(command)
    run = subprocess.run(
        [sys.executable, "-m", program, name, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    options = [word for word in shlex.split(command.partition(" -- ")[0]) if word.startswith("-")]
    assert [option for option in options if option not in run.stdout] == []


def test_exit_codes_are_those_of_the_code() -> None:
    told = {int(code) for line in re.findall(r"^\| ([0-9 /]+) \|", README, re.MULTILINE) for code in line.split("/")}
    meant = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert meant - {exit_codes.SIGNALLED, exit_codes.BROKEN_PIPE, 0} <= told


def test_files_that_are_pointed_to_are_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    files = re.findall(r"compose/\w+\.yaml", README)
    assert [path for path in [*links, *files] if not (ROOT / path).exists()] == []
