"""A watch that stalls, breaks or misses changes on order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from leasekit.errors import LeasekitError
from leasekit.store import Changed, Resync, Store


async def close_watch(watch: AsyncIterator[Changed | Resync]) -> None:
    """Close a store's watch. The contract types it as an iterator; every one has `aclose()`."""
    aclose = getattr(watch, "aclose", None)
    assert aclose is not None, f"{type(watch).__qualname__} has no aclose()"
    await aclose()


class FaultyWatch(AsyncIterator[Changed | Resync]):
    """Tells what the store's own watch tells, when and as far as it was ordered to."""

    def __init__(
        self, store: Store, key: str, *, prefix: bool, after: int, closed: Callable[[FaultyWatch], None]
    ) -> None:
        self._store = store
        self._key = key
        self._prefix = prefix
        self._told = after
        self._keys_told: set[str] = set()
        self._inner: AsyncIterator[Changed | Resync] | None = None
        self._next: asyncio.Future[Changed | Resync] | None = None
        self._ordered = asyncio.Event()
        self._stalled = self._dropped = self._missed = self._closed = False
        self._when_closed = closed

    def __aiter__(self) -> FaultyWatch:
        return self

    async def __anext__(self) -> Changed | Resync:
        try:
            while not self._closed:
                self._ordered.clear()
                if self._stalled:
                    await self._ordered.wait()
                elif self._missed:
                    return await self._skip()
                elif (event := await self._tell()) is not None:
                    return event
            raise StopAsyncIteration
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End the watch, and the store's own under it."""
        self._closed = True
        self._ordered.set()
        self._when_closed(self)
        await self._break()

    def stall(self) -> None:
        """Say nothing until `resume`."""
        self._stalled = True
        self._ordered.set()

    def resume(self) -> None:
        """Go on where it stood still."""
        self._stalled = False
        self._ordered.set()

    def drop(self) -> None:
        """Open the store's watch anew, from the last revision told."""
        self._dropped = True
        self._ordered.set()

    def resync(self) -> None:
        """Miss what is not told yet, and say so."""
        self._missed = True
        self._ordered.set()

    async def _tell(self) -> Changed | Resync | None:
        """The next event; None after an order."""
        if self._dropped:
            self._dropped = False
            await self._break()
        if self._inner is None:
            # One revision may have changed several keys, of which some are told: ask for that revision again.
            after = self._told - 1 if self._keys_told else self._told
            self._inner = self._store.watch(self._key, prefix=self._prefix, after=after)
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._inner))
        order = asyncio.ensure_future(self._ordered.wait())
        either: set[asyncio.Future[Any]] = {self._next, order}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            order.cancel()
        if self._ordered.is_set() or not self._next.done():
            return None
        event = self._next.result()
        self._next = None
        return event if self._is_new(event) else None

    def _is_new(self, event: Changed | Resync) -> bool:
        if isinstance(event, Resync) or event.revision != self._told:
            self._told = event.revision
            self._keys_told.clear()
        if isinstance(event, Changed):
            if event.key in self._keys_told:
                return False
            self._keys_told.add(event.key)
        return True

    async def _skip(self) -> Resync:
        self._missed = False
        await self._break()
        snapshot = await self._store.scan(self._key, timeout_s=5)
        self._told = snapshot.revision
        self._keys_told.clear()
        return Resync(snapshot.revision)

    async def _break(self) -> None:
        if self._next is not None:
            self._next.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, LeasekitError):
                await self._next
            self._next = None
        if self._inner is not None:
            await close_watch(self._inner)
            self._inner = None
