"""One watch: what its consumer has not taken yet, and from where to go on."""

from __future__ import annotations

import asyncio

from leasekit.errors import LeasekitError
from leasekit.store import Changed, Resync


class Subscription:
    """Filled by the hub, emptied by its consumer. An untaken change of a key gives way to a newer one of the same key."""

    def __init__(self, key: str, *, prefix: bool, after: int) -> None:
        self.key = key
        self.prefix = prefix
        self.after = after
        """All changes up to this revision are in here or were taken."""
        self._untaken: dict[str, Changed] = {}
        self._resync: Resync | None = None
        self._error: LeasekitError | None = None
        self._closed = False
        self._news = asyncio.Event()

    def tell(self, changes: tuple[Changed, ...], revision: int) -> None:
        """These happened, and nothing else up to `revision`."""
        for change in changes:
            self._untaken.pop(change.key, None)
            self._untaken[change.key] = change
        self.after = revision
        if changes:
            self._news.set()

    def resync(self, revision: int) -> None:
        """What happened up to `revision` is not known: the consumer must look. What comes later will be told."""
        self._untaken.clear()
        self._resync = Resync(revision)
        self.after = revision
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
            if self._untaken:
                return self._untaken.pop(next(iter(self._untaken)))
            self._news.clear()
