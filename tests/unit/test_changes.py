"""What follows a key, over watches that miss something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

from leasekit.backends.memory.store import MemoryStore
from leasekit.changes import changes
from leasekit.errors import StoreUnavailable
from leasekit.store import Changed, Delete, Put, Resync


class Forgetful(MemoryStore):
    """Its first watch may have missed something, and tells nothing any more: what it told last is so again."""

    def __init__(self) -> None:
        super().__init__(None)
        self.begun: list[int] = []
        self.ended = 0

    async def watch(  # type: ignore[override]
        self, key: str, *, prefix: bool = False, after: int
    ) -> AsyncIterator[Changed | Resync]:
        self.begun.append(after)
        try:
            if len(self.begun) == 1:
                yield Resync(after)
                await asyncio.Event().wait()
            async for change in super().watch(key, prefix=prefix, after=after):
                yield change
        finally:
            self.ended += 1


async def test_after_a_look_another_watch_tells_what_comes() -> None:
    store = Forgetful()
    looks: list[int] = []
    unanswered = [StoreUnavailable("away")]

    async def look() -> int:
        if unanswered:
            raise unanswered.pop()
        put = await store.transact((), (Put("key", b"here"),), timeout_s=1)  # as if it had been there to be read
        assert put is not None
        looks.append(put.revision)
        return put.revision

    following = changes(store, "key", after=0, look=look, random=Random(1))
    told = asyncio.ensure_future(anext(following))
    while len(store.begun) < 2:
        await asyncio.sleep(0.001)
    assert (store.begun, store.ended) == ([0, *looks], 1), "from the look on, and the old watch has ended"
    await store.transact((), (Delete("key"),), timeout_s=1)
    change = await asyncio.wait_for(told, 5)
    assert (change.key, change.entry) == ("key", None)
    await following.aclose()
    assert store.ended == 2
    await store.aclose()


async def test_the_end_of_the_store_ends_it() -> None:
    store = MemoryStore(None)
    following = changes(store, "key", after=0, look=lambda: asyncio.sleep(0, 0), random=Random(1))
    told = asyncio.ensure_future(anext(following, "the end"))
    await asyncio.sleep(0)
    await store.aclose()
    assert await asyncio.wait_for(told, 5) == "the end"
