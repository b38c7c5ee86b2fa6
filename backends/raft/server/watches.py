"""Who is told of which changes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from leasekit.backends.raft.requests import Event
from leasekit.store import Changed

WatchId = tuple[Hashable, int]
"""A client and its request's id."""

PROGRESS_EVERY_REVISIONS = 1_000
"""A watch whose keys rest is told this often how far it has seen: resumed elsewhere from a revision that is forgotten
there, it would have to read everything again, and all candidates would at once."""


@dataclass(slots=True)
class _Watch:
    key: str
    prefix: bool
    untold: list[Changed] = field(default_factory=list)


class Watches:
    """The watches at one member, and what each has not been told yet."""

    def __init__(self) -> None:
        self._all: dict[WatchId, _Watch] = {}
        self._by_key: dict[str, dict[WatchId, None]] = {}
        self._by_prefix: dict[str, dict[WatchId, None]] = {}
        self._dirty: dict[WatchId, None] = {}
        self._progress = 0

    def __len__(self) -> int:
        return len(self._all)

    def add(self, watch: WatchId, key: str, *, prefix: bool) -> None:
        """From now on `watch` hears of `key`, or of all keys with that prefix."""
        self.remove(watch)
        self._all[watch] = _Watch(key, prefix)
        (self._by_prefix if prefix else self._by_key).setdefault(key, {})[watch] = None

    def remove(self, watch: WatchId) -> None:
        """Tell it nothing more. One that is not there is no failure."""
        gone = self._all.pop(watch, None)
        if gone is None:
            return
        self._dirty.pop(watch, None)
        index = self._by_prefix if gone.prefix else self._by_key
        del index[gone.key][watch]
        if not index[gone.key]:
            del index[gone.key]

    def remove_all_of(self, client: Hashable) -> None:
        """The client is gone."""
        for watch in [watch for watch in self._all if watch[0] == client]:
            self.remove(watch)

    def clear(self) -> list[WatchId]:
        """Forget all; which they were."""
        gone = list(self._all)
        for index in (self._all, self._by_key, self._by_prefix, self._dirty):
            index.clear()
        return gone

    def note(self, changes: Sequence[Changed]) -> None:
        """These changes were applied."""
        for change in changes:
            for watch in self._by_key.get(change.key, ()):
                self._owe(watch, change)
            for prefix, watches in self._by_prefix.items():
                if change.key.startswith(prefix):
                    for watch in watches:
                        self._owe(watch, change)

    def take_events(self, revision: int) -> list[tuple[Hashable, Event]]:
        """What is to be told now; everything up to `revision` was noted."""
        events: list[tuple[Hashable, Event]] = []
        if revision - self._progress >= PROGRESS_EVERY_REVISIONS:
            self._progress = revision
            self._dirty.update(dict.fromkeys(self._all))
        for watch in self._dirty:
            client, request = watch
            untold, self._all[watch].untold = self._all[watch].untold, []
            events.append((client, Event(id=request, changes=tuple(untold), revision=revision)))
        self._dirty.clear()
        return events

    def _owe(self, watch: WatchId, change: Changed) -> None:
        self._all[watch].untold.append(change)
        self._dirty[watch] = None
