"""The watches that a contest asks for: opened, closed, and heard even when they tell while nobody listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from leasekit.core import events as e
from leasekit.core.contest import NOTHING, Watching
from leasekit.errors import LeasekitError
from leasekit.store import Resync, Store

UNHURRIED_S = 0.01

_log = logging.getLogger("leasekit")


class Stand(NamedTuple):
    """How far a watch has come: the state of its key that it tells changes from, and the revision as of which."""

    revision: int
    created: int | None
    """The create revision; None if the key is absent, -1 if it is not known."""


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
        self._waiting = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stands: dict[str, Stand] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._kept: dict[str, tuple[int, e.Event]] = {}

    def follow(self, wanted: Watching, *, waiting: bool) -> None:
        """See to it that the watches are those that are wanted.

        Whoever waits needs them now. A leader, or one who has left, can do with them a little later, since a watch
        tells what happened since its revision: so a short leadership goes without.
        """
        if wanted is self._wanted and (self._timer is None or not waiting):
            return  # seen to, or about to be
        before, self._wanted, self._waiting = self._wanted.keys, wanted, waiting
        keys = wanted.keys
        if keys == self._tasks.keys() and not self._out_of_step():
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

    def _out_of_step(self) -> list[str]:
        """Keys of which a read has shown another state, later, than the one that their watch tells changes from.

        Changes may come to one, so the watch would say nothing of a change back to its own state: it is begun anew.
        """
        after = self._wanted.after
        return [
            key
            for key, known in self._wanted.known
            if (stand := self._stands.get(key)) is not None
            # What is known of the keys that a leader watches is that it has just written them.
            and (stand.revision <= after and stand.created != known if self._waiting else stand.revision < after)
        ]

    def _match(self) -> None:
        self._cancel_timer()
        for key in [*(self._tasks.keys() - self._wanted.keys), *self._out_of_step()]:
            self._tasks.pop(key).cancel()
            del self._stands[key]
        for key, known in self._wanted.known:
            if key not in self._tasks:
                self._stands[key] = Stand(self._wanted.after, known)
                self._tasks[key] = asyncio.create_task(self._watch(key, self._wanted.after))

    async def _watch(self, key: str, after: int) -> None:
        while True:
            try:
                async for change in self._store.watch(key, after=after):
                    after = change.revision
                    if isinstance(change, Resync):
                        event: e.Event = e.Missed()
                        self._stands[key] = Stand(after, -1)
                    else:
                        event = e.Seen(key, change.entry, after)
                        self._stands[key] = Stand(after, change.entry.create_revision if change.entry else None)
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
