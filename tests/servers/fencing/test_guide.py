"""The programs of docs/fencing.md run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

import leasekit
from support.binaries import REPOSITORY
from support.databases import Postgres, Redis

PAGE = (REPOSITORY / "docs" / "fencing.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What the page takes for granted."""
    monkeypatch.chdir(tmp_path)
    postgres: Postgres = request.getfixturevalue("postgres")
    redis_server: Redis = request.getfixturevalue("redis_server")
    with leasekit.connect(f"sqlite:///{tmp_path}/leases.db") as store:
        election = leasekit.Election("reports", store=store)
        with election.campaign() as leadership:
            yield {
                "election": election,
                "leadership": leadership,
                "conninfo": postgres.conninfo,
                "engine": sqlalchemy.create_engine(postgres.url, poolclass=sqlalchemy.NullPool),
                "redis_url": redis_server.url,
            }


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 9


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_runs_as_it_stands(program: str, names: dict[str, Any], postgres: Postgres) -> None:
    engine: sqlalchemy.Engine = names["engine"]
    with engine.begin() as connection:  # each program meets an empty table
        connection.execute(sqlalchemy.text("DROP TABLE IF EXISTS leasekit_fence"))
    exec(program, names)  # noqa: S102 - the page is the program
    for name in ("db", "client", "session"):
        if name in names:
            names[name].close()
