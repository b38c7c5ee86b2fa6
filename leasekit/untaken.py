"""What a watch's consumer has not taken yet: for stores whose watches are filled by one hub and emptied by many tasks."""

from __future__ import annotations

import asyncio

from leasekit.errors import LeasekitError
from leasekit.store import Changed, Resync


class Untaken:
    """Changes wait here, the latest of each key, so that a slow consumer costs no more than its keys. For one loop."""

    def __init__(self) -> None:
        self._changes: dict[str, Changed] = {}
        self._resync: Resync | None = None
        self._error: LeasekitError | None = None
        self._closed = False
        self._news = asyncio.Event()

    def put(self, change: Changed) -> None:
        """`change` happened; an untaken one of the same key is forgotten."""
        self._changes.pop(change.key, None)
        self._changes[change.key] = change
        self._news.set()

    def look_again(self, revision: int) -> None:
        """What happened before is not known: the consumer must look. Changes from `revision` on are told."""
        self._changes.clear()
        self._resync = Resync(revision)
        self._news.set()

    def fail(self, error: LeasekitError) -> None:
        """It cannot go on."""
        self._error = error
        self._news.set()

    def close(self) -> None:
        """No more will come."""
        self._closed = True
        self._news.set()

    async def next(self) -> Changed | Resync | None:
        """What to tell next; None when closed. Raises what it failed with."""
        while True:
            await self._news.wait()
            if self._closed:
                return None
            if self._error is not None:
                raise self._error
            if self._resync is not None:
                resync, self._resync = self._resync, None
                return resync
            if self._changes:
                return self._changes.pop(next(iter(self._changes)))
            self._news.clear()
