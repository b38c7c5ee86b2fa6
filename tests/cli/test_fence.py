"""`leasekit fence`: tokens checked from scripts, and a token base raised."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import leasekit
from leasekit.fencing import SqlFence
from support.binaries import REPOSITORY
from support.command import Command, Done


class Fence:
    """`leasekit fence check` over an SQLite file."""

    def __init__(self, cli: Command, file: Path) -> None:
        self._cli = cli
        self.file = file

    def check(self, *arguments: str, **variables: str) -> Done:
        environment = self._cli.environment(LEASEKIT_FENCE_URL=f"sqlite:///{self.file}", **variables)
        return self._cli("fence", "check", *arguments, environment=environment)


@pytest.fixture
def fence(cli: Command, tmp_path: Path) -> Fence:
    return Fence(cli, tmp_path / "fence.db")


def test_a_script_learns_whether_its_token_passes(fence: Fence) -> None:
    assert fence.check("--resource", "r", "--create-table", LEASEKIT_TOKEN="5") == Done(0, "", "")
    assert fence.check("--resource", "r", LEASEKIT_TOKEN="5").code == 0
    refused = fence.check("--resource", "r", LEASEKIT_TOKEN="4")
    assert (refused.code, refused.out) == (1, "")
    assert "token 4 refused by 'r': the highest seen is 5" in refused.err
    assert "leasekit fence rebase --above 5" in refused.err
    assert fence.check("--resource", "r", "--token", "6", LEASEKIT_TOKEN="4").code == 0
    with closing(sqlite3.connect(fence.file)) as connection:
        assert SqlFence("r").highest(connection) == 6


def test_the_election_of_a_wrapped_command_is_remembered(fence: Fence) -> None:
    fence.check("--resource", "r", "--create-table", LEASEKIT_TOKEN="5", LEASEKIT_ELECTION="nightly")
    other = fence.check("--resource", "r", LEASEKIT_TOKEN="6", LEASEKIT_ELECTION="weekly")
    assert other.code == 78
    assert "'nightly'" in other.err
    also = fence.check("--resource", "r", "--also", "nightly", LEASEKIT_TOKEN="6", LEASEKIT_ELECTION="weekly")
    assert also.code == 0


def test_a_command_that_is_run_while_leading_checks_its_own_token(fence: Fence, cli: Command) -> None:
    with closing(sqlite3.connect(fence.file)) as connection:
        SqlFence("r").create_table(connection)
    environment = cli.environment(LEASEKIT_FENCE_URL=f"sqlite:///{fence.file}")
    wrapped = ["--", "sh", "-c", 'exec "$0" -m leasekit fence check --resource r', sys.executable]
    for _ in range(2):
        assert cli("run", "nightly", "--try", *wrapped, environment=environment).code == 0
    with closing(sqlite3.connect(fence.file)) as connection:
        history = leasekit.Election("nightly", store=cli.store_url).history()
        assert SqlFence("r").highest(connection) == history[-1].token


def test_the_script_on_the_page_runs_as_it_stands(cli: Command, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "fencing.md").read_text()
    (script,) = re.findall(r"^```\n(export LEASEKIT_FENCE_URL=sqlite.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name in ("make", "upload"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} $1\n")
        (tmp_path / name).chmod(0o755)
    environment = cli.environment()
    environment["PATH"] = f"{tmp_path}:{Path(sys.executable).parent}:{environment.get('PATH', os.defpath)}"
    script = script.replace("/var/lib", str(tmp_path))
    done = subprocess.run(
        ["sh", "-e", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "make report\nupload report\n", "")


@pytest.mark.parametrize(
    ("variables", "arguments", "code", "said"),
    [
        ({}, ["--create-table"], 78, "LEASEKIT_TOKEN: is not set"),
        ({"LEASEKIT_TOKEN": "seven"}, ["--create-table"], 78, "'seven' is no fencing token"),
        ({"LEASEKIT_TOKEN": "7"}, [], 78, "create_table"),
        ({"LEASEKIT_TOKEN": "7"}, ["--token", "-1"], 2, "no fencing token"),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    fence: Fence, variables: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    done = fence.check("--resource", "r", *arguments, **variables)
    assert (done.code, done.out) == (code, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("", 78, "LEASEKIT_FENCE_URL: is not set"),
        ("nonsense s3cret", 78, "no URL that SQLAlchemy reads"),
        ("nosuch+driver://u:s3cret@127.0.0.1/x", 78, "no URL that SQLAlchemy reads"),
        ("oracle+oracledb://u:s3cret@127.0.0.1/x", 78, "names a driver that is not installed: oracledb"),
        ("postgresql+psycopg://u:s3cret@127.0.0.1:1/x?connect_timeout=2", 69, "connection"),
        ("sqlite:////nonexistent/fence.db", 69, "unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_asked_is_no_answer(cli: Command, url: str, code: int, said: str) -> None:
    environment = cli.environment(LEASEKIT_FENCE_URL=url, LEASEKIT_TOKEN="7")
    done = cli("fence", "check", "--resource", "r", environment=environment)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "s3cret" not in done.err


@pytest.fixture
def election(any_cli: Command) -> Iterator[leasekit.Election]:
    """An election in the store that the command is told."""
    with leasekit.connect(any_cli.store_url) as store:
        yield leasekit.Election("nightly", store=store, ttl_s=60)


def test_after_a_rebase_tokens_are_higher(any_cli: Command, election: leasekit.Election) -> None:
    with election.campaign(timeout_s=60) as leadership:
        above = leadership.token + 1000
        done = any_cli("fence", "rebase", "--above", str(above))
        assert (done.code, done.out) == (0, "")
        assert f"the token base is {above} now" in done.err
        assert f"still leads 'nightly' with token {leadership.token}: leasekit resign nightly" in done.err
    with election.campaign(timeout_s=60) as leadership:
        assert leadership.token > above
        again = any_cli("fence", "rebase", "--above", str(above - 1))
        assert again.code == 0
        assert f"the token base is {above} already" in again.err
        assert "still leads" not in again.err


@pytest.mark.parametrize("above", ["-1", "x", str(2**63)])
def test_what_is_no_token_is_no_base(cli: Command, above: str) -> None:
    assert cli("fence", "rebase", "--above", above).code == 2


def test_a_base_without_room_above_it_is_refused(cli: Command) -> None:
    done = cli("fence", "rebase", "--above", str(2**62 + 1))
    assert done.code == 78
    assert "no room" in done.err
