"""Following a key for as long as a store is open: what watches tell, and a look where they may have missed something."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from random import Random

from leasekit import retry
from leasekit.store import Changed, Resync, Store


async def changes(
    store: Store, key: str, *, prefix: bool = False, after: int, look: Callable[[], Awaitable[int]], random: Random
) -> AsyncGenerator[Changed, None]:
    """Changes of `key` (or of all keys with that prefix) later than revision `after`, until the store is closed.

    Where some may have been missed, `look` reads what there is now, and returns as of which revision; while the store
    does not answer, it is asked again, with pauses from `random`. Another watch is begun from there: the old one might
    tell nothing of a change back to what it told last (see `Store.watch`).
    """
    while True:
        watch = store.watch(key, prefix=prefix, after=after)
        try:
            async for change in watch:
                if isinstance(change, Resync):
                    break
                yield change
            else:
                return
        finally:
            if (aclose := getattr(watch, "aclose", None)) is not None:
                await aclose()
        async for attempt in retry.while_unanswered(random):
            with attempt:
                after = await look()
