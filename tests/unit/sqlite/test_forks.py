"""Forks: the child cannot use the parent's handle, may open its own, and harms nobody."""

from __future__ import annotations

import asyncio
import os
import traceback
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from leasekit.backends.sqlite import SqliteStore
from leasekit.errors import StoreUnavailable
from leasekit.store import Absent, Changed, Put

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


LONG_S = 30.0


def in_a_fork(child: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run `child` in a forked process; its failure is the test's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is the point
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio.run(asyncio.wait_for(child(), LONG_S))
            status = 0
        except BaseException:  # noqa: BLE001 - nothing may escape into the parent's test run
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the child failed, see its traceback"


async def test_the_child_cannot_use_the_parents_handle(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "leases.db")
    await store.transact([], [Put("key", b"1")], timeout_s=LONG_S)

    async def child() -> None:
        with pytest.raises(StoreUnavailable, match="fork"):
            await store.get("key", timeout_s=LONG_S)
        with pytest.raises(StoreUnavailable, match="fork"):
            await anext(store.watch("key", after=0))
        await store.aclose()

    await asyncio.to_thread(in_a_fork, child)
    entry = await store.get("key", timeout_s=LONG_S)
    assert entry is not None and entry.value == b"1"
    await store.aclose()


async def test_parent_and_child_each_with_a_handle_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    store = SqliteStore(path)
    assert await store.transact([Absent("a")], [Put("a", b"parent")], timeout_s=LONG_S) is not None

    async def child() -> None:
        own = SqliteStore(path)
        assert await own.transact([Absent("a")], [Put("a", b"child")], timeout_s=LONG_S) is None
        assert await own.transact([Absent("b")], [Put("b", b"child")], timeout_s=LONG_S) is not None
        await own.aclose()

    await asyncio.to_thread(in_a_fork, child)
    assert await store.transact([Absent("b")], [Put("b", b"parent")], timeout_s=LONG_S) is None
    await store.aclose()


async def test_the_parents_last_close_does_not_pull_the_log_from_under_the_child(tmp_path: Path) -> None:
    """SQLite removes its log when the last connection closes. Were its locks inherited, the child's would not count."""
    path = tmp_path / "leases.db"
    store = SqliteStore(path)
    await store.transact([], [Put("a", b"1")], timeout_s=LONG_S)
    ready_read, ready_write = os.pipe()
    closed_read, closed_write = os.pipe()

    async def child() -> None:
        own = SqliteStore(path)
        await own.transact([], [Put("b", b"1")], timeout_s=LONG_S)
        os.write(ready_write, b".")
        await asyncio.to_thread(os.read, closed_read, 1)
        assert await own.transact([], [Put("c", b"1")], timeout_s=LONG_S) is not None
        third = SqliteStore(path)
        assert [entry.key for entry in (await third.scan("", timeout_s=LONG_S)).entries] == ["a", "b", "c"]

    forked = asyncio.create_task(asyncio.to_thread(in_a_fork, child))
    await asyncio.to_thread(os.read, ready_read, 1)
    await store.get("a", timeout_s=LONG_S)
    await store.aclose()
    os.write(closed_write, b".")
    await forked
    for descriptor in (ready_read, ready_write, closed_read, closed_write):
        os.close(descriptor)
    other = SqliteStore(path)
    assert [entry.key for entry in (await other.scan("", timeout_s=LONG_S)).entries] == ["a", "b", "c"]
    await other.aclose()


async def test_the_parents_watches_go_on_over_a_fork(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    store = SqliteStore(path)
    committed = await store.transact([], [Put("a", b"1")], timeout_s=LONG_S)
    assert committed is not None
    watch = store.watch("b", after=committed.revision)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.05)

    async def child() -> None:
        own = SqliteStore(path)
        await own.transact([], [Put("b", b"1")], timeout_s=LONG_S)
        await own.aclose()

    await asyncio.to_thread(in_a_fork, child)
    async with asyncio.timeout(LONG_S):
        event = await waiting
    assert isinstance(event, Changed) and event.key == "b"
    await store.aclose()


async def test_forking_while_requests_are_under_way_breaks_none(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "leases.db")

    async def nothing() -> None:
        pass

    writing = asyncio.gather(*(store.transact([], [Put(f"k/{n}", b"")], timeout_s=LONG_S) for n in range(200)))
    for _ in range(5):
        await asyncio.to_thread(in_a_fork, nothing)
    revisions = [done.revision for done in await writing if done]
    assert len(set(revisions)) == 200
    await store.aclose()
