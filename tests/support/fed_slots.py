"""Slots that come when a test says so: the claims, runs and outcomes are real, and only the waiting for time is not."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import leasekit
from leasekit import aio
from leasekit.schedule import aio as aio_slots
from leasekit.schedule import slots
from leasekit.schedule.records import Line

TTL_S = 15.0
"""No run is to be lost because the machine is busy."""
_POLL_S = 0.005


class _Fed:
    """What a test tells: the next slot, or an error that the claiming is to end with."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.serving_ended = False
        """Whether a worker has served, and claims no more."""
        self._orders: queue.SimpleQueue[datetime | Exception] = queue.SimpleQueue()
        self._next = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=600)

    def feed(self, slot: datetime | None = None) -> datetime:
        """Let one more slot come, or this one again; returns it."""
        if slot is None:
            slot = self._next = self._next + timedelta(seconds=1)
        self._orders.put(slot)
        return slot

    def fail(self, error: Exception) -> None:
        """Let the next waiting for a slot end so."""
        self._orders.put(error)

    def _order(self) -> datetime | None:
        try:
            order = self._orders.get_nowait()
        except queue.Empty:
            return None
        if isinstance(order, Exception):
            raise order
        return order


class FedSlots(_Fed):
    """In the place of `leasekit.Slots`, for a worker in threads."""

    def __init__(self, name: str, store: leasekit.ConnectedStore, **policy: Any) -> None:
        super().__init__(name)
        self.real = slots.Slots(name, store=store, ttl_s=TTL_S, **policy)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        with self.real.serving():
            yield
        self.serving_ended = True

    def next_run(self, stop: threading.Event) -> slots.Run | None:
        while not stop.is_set():
            if (slot := self._order()) is not None:
                run = self.real.claim(slot)
                assert run is not None
                return run
            stop.wait(_POLL_S)
        return None

    def lines(self) -> list[Line]:
        return self.real.lines()


class FedAsyncSlots(_Fed):
    """In the place of `leasekit.aio.Slots`, for a worker in tasks."""

    def __init__(self, name: str, store: leasekit.ConnectedStore, **policy: Any) -> None:
        super().__init__(name)
        self.real = aio_slots.Slots(name, store=aio.ConnectedStore(store.connection), ttl_s=TTL_S, **policy)
        self._seen = slots.Slots(name, store=store)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with self.real.serving():
            yield
        self.serving_ended = True

    async def next_run(self, stop: asyncio.Event) -> aio_slots.Run | None:
        while not stop.is_set():
            if (slot := self._order()) is not None:
                run = await self.real.claim(slot)
                assert run is not None
                return run
            await asyncio.sleep(_POLL_S)
        return None

    def lines(self) -> list[Line]:
        return self._seen.lines()
