"""Clients that read at one member each, whoever leads: they would see what a leader says that was replaced long ago.

A `RaftStore` goes where the leader is, so all clients tend to be at the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from leasekit import urls
from leasekit.backends.raft.client import settings
from leasekit.backends.raft.client.channel import Channel, Lost
from leasekit.backends.raft.requests import Done, Read
from leasekit.backends.raft.transport.outgoing import NoConnection, dial
from leasekit.errors import ProtocolError
from leasekit.store import Committed, Get
from support.raft_history import History, Look, Seen
from support.team import now_s

_ANSWER_S = 1.0
_PAUSE_S = 0.02
_AGAIN_S = 0.1


class Lookers:
    """One at each member of a store's URL. `keys`: what to read next, without the URL's prefix."""

    def __init__(self, url: str, history: History, keys: Callable[[], Sequence[str]]) -> None:
        self._settings = settings.read(urls.parse(url))
        self._history = history
        self._keys = keys

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        async with asyncio.TaskGroup() as group:
            for address in self._settings.addresses:
                group.create_task(self._look_at(address, stop))

    async def _look_at(self, address: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(NoConnection, Lost, ProtocolError, TimeoutError):
                channel = await dial(address, lambda: Channel(address, ""), self._settings.tls, timeout_s=_ANSWER_S)
                try:
                    while not stop.is_set():
                        async with asyncio.timeout(_ANSWER_S):
                            await self._look(address, channel)
                        await asyncio.sleep(_PAUSE_S)
                finally:
                    channel.abort()
            await asyncio.sleep(_AGAIN_S)

    async def _look(self, address: str, channel: Channel) -> None:
        keys = self._keys()
        gets = tuple(Get(self._settings.root + key) for key in keys)
        called_s = now_s()
        answer = await channel.ask(lambda number: Read(id=number, compares=(), ops=gets))
        if not isinstance(answer, Done):
            return  # most do not lead
        assert isinstance(answer.result, Committed)
        seen = [
            Seen(key, found[0].value, found[0].revision) if found else Seen(key)
            for key, found in zip(keys, answer.result.reads, strict=True)
        ]
        self._history.looks.append(
            Look(
                client=f"at {address}",
                seen=tuple(seen),
                called_s=called_s,
                returned_s=now_s(),
                revision=answer.result.revision,
            )
        )
        self._history.counts["reads at one member"] += 1
