"""Files that are not what they should be, and files that change under the store."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from leasekit.backends.sqlite import SqliteStore, schema
from leasekit.backends.sqlite.failures import Busy, failure_of
from leasekit.errors import ConfigError, LeaseLost, OutcomeUnknown, ProtocolError, StoreUnavailable
from leasekit.store import Absent, Put, Resync

LONG_S = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    try:
        yield store
    finally:
        await store.aclose()


@contextmanager
def directly(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def once_begun(request: Callable[[], Awaitable[object]]) -> object:
    """Ask again while the machine is too busy for it to begin in its time."""
    while True:
        try:
            return await request()
        except StoreUnavailable as error:
            if "could not begin" not in str(error):
                raise


async def make(path: Path) -> None:
    async with opened(path) as store:
        await store.transact([], [Put("key", b"1")], timeout_s=LONG_S)


async def test_data_stays_in_the_file(path: Path) -> None:
    await make(path)
    async with opened(path) as store:
        entry = await store.get("key", timeout_s=LONG_S)
        assert entry is not None and entry.value == b"1"


async def test_many_handles_may_create_the_file_at_once(path: Path) -> None:
    stores = [SqliteStore(path) for _ in range(8)]
    outcomes = await asyncio.gather(
        *(s.transact([Absent("key")], [Put("key", b"1")], timeout_s=LONG_S) for s in stores)
    )
    assert len([outcome for outcome in outcomes if outcome]) == 1
    for store in stores:
        await store.aclose()


async def test_commits_are_synced_and_logged_ahead(path: Path) -> None:
    await make(path)
    with directly(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with closing(schema.connect(path)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"


async def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    with directly(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    async with opened(path) as store:
        with pytest.raises(ConfigError, match="another program"):
            await store.get("key", timeout_s=LONG_S)
    assert path.read_bytes() == before


async def test_what_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)
    before = path.read_bytes()
    async with opened(path) as store:
        with pytest.raises(ConfigError, match="not a database"):
            await store.get("key", timeout_s=LONG_S)
    assert path.read_bytes() == before


async def test_a_newer_schema_says_to_upgrade(path: Path) -> None:
    await make(path)
    with directly(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    async with opened(path) as store:
        with pytest.raises(ProtocolError, match="written by a newer leasekit"):
            await store.get("key", timeout_s=LONG_S)


async def test_a_file_made_before_files_had_an_id_gets_one_and_keeps_what_it_holds(path: Path) -> None:
    async with opened(path) as store:
        before = await store.transact([], [Put("key", b"value")], timeout_s=LONG_S)
    with directly(path) as connection:
        connection.execute("ALTER TABLE state DROP COLUMN file_id")
    async with opened(path) as store:
        entry = await store.get("key", timeout_s=LONG_S)
        after = await store.transact([], [Put("key", b"other")], timeout_s=LONG_S)
    assert before is not None and after is not None and entry is not None
    assert (entry.value, after.revision) == (b"value", before.revision + 1)
    with directly(path) as connection:
        ids = connection.execute("SELECT file_id FROM state").fetchall()
    assert [len(file_id) for (file_id,) in ids] == [16]


async def test_a_damaged_file_is_named(path: Path) -> None:
    async with opened(path) as store:
        for n in range(50):
            await store.transact([], [Put(f"key{n}", b"x" * 1000)], timeout_s=LONG_S)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8 * 4096)
    async with opened(path) as store:
        with pytest.raises(ProtocolError, match=r"leases\.db"):
            await store.scan("", timeout_s=LONG_S)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_cannot_be_written_is_named(path: Path) -> None:
    path.parent.chmod(0o500)
    async with opened(path) as store:
        with pytest.raises(ConfigError, match="cannot be written"):
            await store.get("key", timeout_s=LONG_S)


async def test_a_file_that_was_removed_is_made_anew(path: Path) -> None:
    async with opened(path) as store:
        lease = await store.grant(10, timeout_s=LONG_S)
        await store.transact([], [Put("key", b"1", lease.id)], timeout_s=LONG_S)
        for file in path.parent.iterdir():
            file.unlink()
        async with opened(path) as other:
            assert await other.transact([Absent("key")], [Put("key", b"2")], timeout_s=LONG_S) is not None
            with pytest.raises(LeaseLost):
                await store.renew(lease.id, timeout_s=LONG_S)
            entry = await store.get("key", timeout_s=LONG_S)
            assert entry is not None and entry.value == b"2"


async def test_watches_look_again_when_the_file_was_replaced(path: Path) -> None:
    async with opened(path) as store:
        for n in range(5):
            committed = await store.transact([], [Put("key", b"%d" % n)], timeout_s=LONG_S)
        assert committed is not None
        watch = store.watch("key", after=committed.revision)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.1)
        for file in path.parent.iterdir():
            file.unlink()
        async with asyncio.timeout(LONG_S):
            assert isinstance(await waiting, Resync)


async def test_a_full_disk_is_a_definite_no(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect_to_a_small_disk(path: Path) -> sqlite3.Connection:
        connection = schema_connect(path)
        connection.execute("PRAGMA max_page_count = 20")
        return connection

    schema_connect = schema.connect
    monkeypatch.setattr(schema, "connect", connect_to_a_small_disk)
    async with opened(path) as store:
        with pytest.raises(StoreUnavailable, match="full"):
            await store.transact([], [Put("big", b"x" * 1_000_000)], timeout_s=LONG_S)
        assert await store.get("big", timeout_s=LONG_S) is None
        assert await store.transact([], [Put("small", b"x")], timeout_s=LONG_S) is not None


async def test_no_request_waits_longer_than_it_may_for_another_writer(path: Path) -> None:
    await make(path)
    async with opened(path) as store:
        with directly(path) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="another process has been writing"):
                await once_begun(lambda: store.transact([], [Put("key", b"2")], timeout_s=0.2))
            # Readers do not wait for the writer.
            entry = await store.get("key", timeout_s=LONG_S)
            assert entry is not None and entry.value == b"1"
            waiting = asyncio.create_task(store.transact([], [Put("key", b"2")], timeout_s=LONG_S))
            await asyncio.sleep(0.05)
            other.execute("ROLLBACK")
        assert await waiting is not None


async def test_the_probe_says_what_is_wrong(path: Path) -> None:
    async with opened(path) as store:
        health = await store.probe(timeout_s=LONG_S)
        assert health.reachable and health.details["keys"] == "0"
    path.write_text("Dear diary")
    async with opened(path) as store:
        health = await store.probe(timeout_s=LONG_S)
        assert not health.reachable
        assert "not a database" in (health.endpoints[0].error or "")


@pytest.mark.parametrize(
    ("code", "while_committing", "otherwise"),
    [
        (sqlite3.SQLITE_BUSY, Busy, Busy),
        (sqlite3.SQLITE_FULL, StoreUnavailable, StoreUnavailable),
        (sqlite3.SQLITE_IOERR | 4 << 8, OutcomeUnknown, StoreUnavailable),
        (sqlite3.SQLITE_READONLY, OutcomeUnknown, ConfigError),
        (sqlite3.SQLITE_CORRUPT, OutcomeUnknown, ProtocolError),
    ],
)
def test_what_a_failure_lets_one_conclude(
    code: int, while_committing: type[Exception], otherwise: type[Exception]
) -> None:
    error = sqlite3.OperationalError("as it happens")
    error.sqlite_errorcode = code
    assert type(failure_of(error, Path("x"), committing=True)) is while_committing
    assert type(failure_of(error, Path("x"))) is otherwise


async def test_a_write_given_up_before_it_began_never_happens(path: Path) -> None:
    await make(path)
    async with opened(path) as store:
        with store.database.lock:
            with pytest.raises(StoreUnavailable, match="could not begin"):
                await store.transact([], [Put("key", b"2")], timeout_s=0.1)
            abandoned = asyncio.create_task(store.transact([], [Put("key", b"3")], timeout_s=LONG_S))
            await asyncio.sleep(0.05)
            abandoned.cancel()
            await asyncio.wait({abandoned})
        entry = await store.get("key", timeout_s=LONG_S)
        assert entry is not None and entry.value == b"1"


async def test_a_write_given_up_while_it_is_done_is_left_open(path: Path) -> None:
    await make(path)
    async with opened(path) as store:
        await store.get("key", timeout_s=LONG_S)
        commit, stuck = store.database._commit, threading.Event()

        def commit_slowly(connection: sqlite3.Connection) -> None:
            stuck.wait(2 * LONG_S)
            commit(connection)

        store.database._commit = commit_slowly  # type: ignore[method-assign]
        with pytest.raises(OutcomeUnknown):
            await once_begun(lambda: store.transact([], [Put("key", b"2")], timeout_s=0.2))
        with pytest.raises(StoreUnavailable):
            await store.get("key", timeout_s=0.1)
        stuck.set()
        entry = await store.get("key", timeout_s=LONG_S)
        assert entry is not None and entry.value == b"2"
