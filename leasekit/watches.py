"""The watches that a contest asks for: opened, closed, and heard even when they tell while nobody listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from leasekit.core import events as e
from leasekit.core.contest import NOTHING, Watching
from leasekit.errors import LeasekitError
from leasekit.store import Resync, Store

UNHURRIED_S = 0.01

_log = logging.getLogger("leasekit")


class Watches:
    """One watch for each key that is to be watched.

    What they tell goes to `feed`. What they tell while not `listening()` is kept, since a request under way then may
    have been answered from before it: `unheard` gives it.
    """

    def __init__(
        self, store: Store, feed: Callable[[e.Event], None], listening: Callable[[], bool], *, pause_s: float
    ) -> None:
        self._store = store
        self._feed = feed
        self._listening = listening
        self._pause_s = pause_s
        self._wanted = NOTHING
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._kept: dict[str, tuple[int, e.Event]] = {}

    def follow(self, wanted: Watching, *, waiting: bool) -> None:
        """See to it that the watches are those that are wanted.

        Whoever waits needs them now. A leader, or one who has left, can do with them a little later, since a watch
        tells what happened since its revision: so a short leadership goes without.
        """
        if wanted is self._wanted and (self._timer is None or not waiting):
            return  # seen to, or about to be
        before, self._wanted = self._wanted.keys, wanted
        keys = wanted.keys
        if keys == self._tasks.keys():
            return
        if waiting:
            self._match()
        elif keys != before or self._timer is None:
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_later(UNHURRIED_S, self._match)

    def unheard(self) -> list[e.Event]:
        """What was told while nobody listened, of keys that are still watched, and is not known by now; once."""
        kept, self._kept = self._kept, {}
        return [
            event
            for key, (at, event) in kept.items()
            # A store that was restored goes on from a lower revision, so `Missed` counts in any case.
            if key in self._wanted.keys and (at > self._wanted.after or isinstance(event, e.Missed))
        ]

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _match(self) -> None:
        self._cancel_timer()
        for key in [key for key in self._tasks if key not in self._wanted.keys]:
            self._tasks.pop(key).cancel()
        for key in self._wanted.keys - self._tasks.keys():
            self._tasks[key] = asyncio.create_task(self._watch(key, self._wanted.after))

    async def _watch(self, key: str, after: int) -> None:
        while True:
            try:
                async for change in self._store.watch(key, after=after):
                    after = change.revision
                    event = e.Missed() if isinstance(change, Resync) else e.Seen(key, change.entry, after)
                    if not self._listening():
                        self._kept[key] = (after, event)
                    self._feed(event)
                return  # the store was closed
            except Exception as error:  # noqa: BLE001 (whatever it is)
                # The store refuses to be watched (credentials), or its code is at fault. The timed looks go on, and so
                # does this.
                if not isinstance(error, LeasekitError):
                    _log.exception("the watch of %r failed; it is begun anew", key)
                await asyncio.sleep(self._pause_s)
