"""The hooks of the conformance suite, and the words that its tests are written in."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import cached_property

import pytest

from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Changed, Committed, Put, Resync, Store
from leasekit.testing.faulty_watch import close_watch

_LASTING_S = 60.0


class Watching:
    """What a watch has told so far. The watch runs by itself until the `watching` block ends."""

    def __init__(self, watch: AsyncIterator[Changed | Resync], timeout_s: float) -> None:
        self.events: list[Changed | Resync] = []
        self._timeout_s = timeout_s
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._read(watch))

    async def told(self, key: str, value: bytes | None, *, since: int = 0) -> Changed | Resync:
        """Wait until the watch says that `key` is `value` (None: gone), or to look again, later than `since`."""

        def says_so(event: Changed | Resync) -> bool:
            if event.revision <= since:
                return False
            return isinstance(event, Resync) or (event.key == key and _value(event) == value)

        return await self.first(says_so)

    async def first(
        self, wanted: Callable[[Changed | Resync], bool], *, timeout_s: float | None = None
    ) -> Changed | Resync:
        """Wait for the first event that is `wanted`, among those told already or yet to come."""
        async with asyncio.timeout(self._timeout_s if timeout_s is None else timeout_s):
            while True:
                self._arrived.clear()
                for event in self.events:
                    if wanted(event):
                        return event
                if self._task.done():
                    self._task.result()
                    pytest.fail(f"the watch ended by itself after {self.events}")
                await self._arrived.wait()

    @property
    def changes(self) -> list[Changed]:
        return [event for event in self.events if isinstance(event, Changed)]

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self, watch: AsyncIterator[Changed | Resync]) -> None:
        try:
            async for event in watch:
                self.events.append(event)
                self._arrived.set()
        finally:
            self._arrived.set()
            await close_watch(watch)


class ConformanceBase:
    """What an author sets and defines."""

    timeout_s: float = 5.0
    """How long any one request may take."""
    slack_s: float = 0.5
    """How late a busy machine may be in noticing things. Only limits from above are widened by it."""
    ttl_s: float | None = None
    """The time to live that the tests ask for; None for one second, or `ttl_min_s` if that is more."""

    async def open(self, prefix: str) -> Store:
        """A new handle, as another client would have it, on the data under `prefix`. The suite closes it."""
        raise NotImplementedError("define open(self, prefix)")

    async def restart(self) -> None:
        """Stop the store and start it again, with the data that it keeps."""
        pytest.skip("restart() is not defined")

    async def compact(self, store: Store, revision: int) -> None:
        """Let the store forget its history up to `revision`."""
        pytest.skip("compact() is not defined")

    def silenced(self) -> AbstractAsyncContextManager[None]:
        """Within this context the store answers late or not at all (a stopped server, a held lock)."""
        pytest.skip("silenced() is not defined")

    @cached_property
    def prefix(self) -> str:
        """Where this test's data is."""
        return f"conformance-{uuid.uuid4().hex}"

    @asynccontextmanager
    async def clients(self, count: int, prefix: str | None = None) -> AsyncIterator[list[Store]]:
        """Handles on the same data, closed at the end."""
        async with AsyncExitStack() as stack:
            stores = []
            for _ in range(count):
                store = await self.open(prefix or self.prefix)
                stack.push_async_callback(store.aclose)
                stores.append(store)
            yield stores

    @asynccontextmanager
    async def client(self, prefix: str | None = None) -> AsyncIterator[Store]:
        """One handle, closed at the end."""
        async with self.clients(1, prefix) as [store]:
            yield store

    @asynccontextmanager
    async def watching(self, store: Store, key: str, *, prefix: bool = False, after: int) -> AsyncIterator[Watching]:
        """A watch that runs within the block."""
        watching = Watching(store.watch(key, prefix=prefix, after=after), self.timeout_s)
        try:
            yield watching
        finally:
            await watching.stop()

    def ttl_of(self, store: Store) -> float:
        """The time to live to ask for."""
        return self.ttl_s if self.ttl_s is not None else max(1.0, store.capabilities.ttl_min_s)

    def lasting_ttl_of(self, store: Store) -> float:
        """A time to live that outlasts a test, also where everything takes long."""
        return min(max(_LASTING_S, self.ttl_of(store)), store.capabilities.ttl_max_s)

    async def put(self, store: Store, key: str, value: bytes, lease_id: str | None = None) -> int:
        """Set a key, come what may; returns the revision."""
        return (await self.commit(store, Put(key, value, lease_id))).revision

    async def commit(self, store: Store, *ops: Put) -> Committed:
        """Do `ops` without comparing anything."""
        committed = await store.transact([], ops, timeout_s=self.timeout_s)
        assert committed is not None, "a transaction that compares nothing cannot lose"
        return committed

    async def put_patiently(self, store: Store, key: str, value: bytes) -> int:
        """Set a key on a store that is about to come back."""
        async with asyncio.timeout(10 * self.timeout_s):
            while True:
                try:
                    return await self.put(store, key, value)
                except (StoreUnavailable, OutcomeUnknown):
                    await asyncio.sleep(0.05)

    async def value(self, store: Store, key: str) -> bytes | None:
        """What `key` holds now."""
        entry = await store.get(key, timeout_s=self.timeout_s)
        return entry.value if entry else None

    async def revision(self, store: Store) -> int:
        """The store's revision as of now."""
        return (await store.scan("", timeout_s=self.timeout_s)).revision


def _value(change: Changed) -> bytes | None:
    return change.entry.value if change.entry else None


def now_s() -> float:
    """The loop's time, so that the suite runs on virtual time too."""
    return asyncio.get_running_loop().time()
