"""In which order the one thread does SQLite's work."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from leasekit.backends.sqlite.store import SqliteStore
from leasekit.backends.sqlite.worker import Begin, Worker
from leasekit.errors import StoreUnavailable

LONG_S = 30.0


class Busy:
    """Keeps a store's thread busy until told otherwise."""

    def __init__(self, worker: Worker) -> None:
        self._go_on = threading.Event()
        self._begun = threading.Event()
        self.task = asyncio.create_task(worker.run(self._hold, 30))

    def _hold(self, _: Begin) -> None:
        self._begun.set()
        self._go_on.wait(30)

    async def begun(self) -> None:
        await asyncio.to_thread(self._begun.wait, 30)

    def end(self) -> None:
        self._go_on.set()


async def test_renewals_do_not_wait_behind_other_work(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "file")
    lease = await store.grant(60, timeout_s=LONG_S)
    busy = Busy(store._worker)
    await busy.begun()
    done: list[str] = []

    async def note(name: str, work: asyncio.Future[object]) -> None:
        await work
        done.append(name)

    others = [
        asyncio.create_task(note("read", asyncio.ensure_future(store.get("k", timeout_s=LONG_S)))) for _ in range(50)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    renewal = asyncio.create_task(note("renewal", asyncio.ensure_future(store.renew(lease.id, timeout_s=LONG_S))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    busy.end()
    await asyncio.gather(busy.task, renewal, *others)
    assert done[0] == "renewal"
    assert done[1:] == ["read"] * 50
    await store.aclose()


async def test_an_urgent_call_that_nobody_waits_for_any_more_is_not_made(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "file")
    worker = store._worker
    busy = Busy(worker)
    await busy.begun()
    made: list[str] = []
    with pytest.raises(StoreUnavailable, match="could not begin in time"):
        await worker.run(lambda _: made.append("late"), 0.05, urgent=True)
    busy.end()
    await busy.task
    await worker.run(lambda _: made.append("in time"), LONG_S, urgent=True)
    assert made == ["in time"]
    await store.aclose()
