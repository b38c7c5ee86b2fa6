"""A store that was restored from a backup gives tokens that guards have seen higher ones of; a rebase mends that."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import leasekit
from leasekit.fencing import FencingRejected, SqlFence
from support.command import Command
from support.servers import EtcdCluster


@pytest.fixture
def server() -> Iterator[EtcdCluster]:
    """An etcd of the test's own."""
    with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """What is guarded. No backup takes it back."""
    with closing(sqlite3.connect(tmp_path / "work.db")) as connection:
        SqlFence("reports").create_table(connection)
        connection.execute("CREATE TABLE written (token INTEGER)")
        yield connection


def lead_and_write(url: str, database: sqlite3.Connection) -> int:
    """One leadership, which writes; its token."""
    with leasekit.connect(url) as store:
        election = leasekit.Election("reports", store=store, ttl_s=20)
        with election.campaign(timeout_s=60) as leadership:
            with database:
                SqlFence("reports").check(database, leadership.token)
                database.execute("INSERT INTO written VALUES (?)", (leadership.token,))
            return leadership.token


def restore(server: EtcdCluster, backup: Path) -> None:
    """Stop etcd and start it on what the backup holds."""
    server.kill(0)
    shutil.rmtree(server.folder(0))
    peer = f"http://127.0.0.1:{server.port(0, 1)}"
    server.etcdctl(
        *("snapshot", "restore", str(backup), "--data-dir", str(server.folder(0)), "--name", "s0"),
        *("--initial-cluster", f"s0={peer}", "--initial-advertise-peer-urls", peer),
        *("--initial-cluster-token", f"leasekit-{server.port(0)}"),
    )
    server.start(0)


def test_restored_etcd_is_refused_until_its_base_is_raised(
    server: EtcdCluster, database: sqlite3.Connection, tmp_path: Path, prefix: str
) -> None:
    url, backup, cli = server.url(prefix), tmp_path / "backup.db", Command(server.url(prefix), tmp_path)
    lead_and_write(url, database)
    server.etcdctl("snapshot", "save", str(backup))
    for _ in range(3):
        highest = lead_and_write(url, database)

    restore(server, backup)
    with pytest.raises(FencingRejected) as refused:
        lead_and_write(url, database)
    assert refused.value.token < highest == refused.value.highest
    advice = f"leasekit fence rebase --above {highest}"
    assert advice in str(refused.value)

    done = cli("--timeout", "30", *advice.split()[1:])
    assert done.code == 0, done.err
    later = [lead_and_write(url, database) for _ in range(3)]
    assert later == sorted({*later})
    assert later[0] > highest
    tokens = [token for (token,) in database.execute("SELECT token FROM written ORDER BY rowid")]
    assert tokens == sorted(tokens)
    assert len(tokens) == 7
