"""When `leasekit demo` takes a worker for paused between its look at the leadership and its write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from leasekit.cli.demo import _has_line_to_write, _others_can_write, _pause_at_work
from leasekit.cli.demo_stage import Stage, Worker
from leasekit.cli.options import Settings
from leasekit.cli.session import Session


def worker(begun: int) -> Worker:
    return cast("Worker", SimpleNamespace(name="ada", begun=begun))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Where a worker has written two lines."""
    database = sqlite3.connect(tmp_path / "work.db", timeout=0.1)
    database.execute("CREATE TABLE line (number INTEGER PRIMARY KEY, token INTEGER, worker TEXT)")
    database.executemany("INSERT INTO line (token, worker) VALUES (1, ?)", [("ada",), ("ada",), ("bob",)])
    database.commit()
    yield database
    database.close()


def test_a_worker_whose_line_is_there_already_rests(database: sqlite3.Connection) -> None:
    assert _has_line_to_write(worker(begun=3), database)
    assert not _has_line_to_write(worker(begun=2), database)


def test_a_worker_that_was_stopped_while_it_writes_keeps_the_others_out(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "work.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not _has_line_to_write(worker(begun=3), database)
    other.execute("ROLLBACK")
    other.close()
    assert _has_line_to_write(worker(begun=3), database)


def test_a_worker_that_was_stopped_while_it_renews_keeps_the_others_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'leases.db'}"
    store = Session(Settings(store_url=url))
    assert _others_can_write(store, url, "demo")
    other = sqlite3.connect(tmp_path / "leases.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not _others_can_write(store, url, "demo")
    other.execute("ROLLBACK")
    other.close()
    store.run(store.connection.aclose(timeout_s=2))


def test_a_pause_that_came_too_late_is_tried_again() -> None:
    did: list[str] = []
    pauses = {"pause": lambda: did.append("paused"), "resume": lambda: did.append("resumed")}
    leader = cast("Worker", SimpleNamespace(name="ada", **pauses))

    def wait_for(event: str, _timeout_s: float) -> SimpleNamespace:
        did.append(event)
        return SimpleNamespace(worker=leader)

    stage = SimpleNamespace(forget=lambda: None, wait_for=wait_for, act=lambda _: did.append("told"))
    verdicts = iter([False, True])
    assert _pause_at_work(cast("Stage", stage), lambda _: next(verdicts)) is leader
    assert did == ["computing", "paused", "resumed", "computing", "paused", "told"]
