"""A fence inside the election's own store: a write is one transaction that compares the leader's record as well.

This one remembers nothing, since it can do better: it asks who leads. A write passes only while its token is that of the
leadership in office, which is decided where leaderships are granted, in the same instant as the write.

Promised: what every store here promises of its transactions, over failovers of it too. Not promised: anything about
values larger than the store takes (etcd: 1.5 MB, Consul: 512 kB in one transaction).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from leasekit import engine
from leasekit.aio import _on_engine
from leasekit.core.records import HoldRecord, load_leader
from leasekit.errors import ConfigError, LeadershipLost, LossReason
from leasekit.fencing.contract import check_token, refused
from leasekit.store import At, Delete, Op, Put

if TYPE_CHECKING:
    from leasekit import aio
    from leasekit.election import ElectionCore
    from leasekit.sync import Election

TIMEOUT_S = 5.0

_KEY = re.compile(r"[!-.0-~]+(/[!-.0-~]+)*")
_KEY_LENGTH_MAX = 200


class _Writes:
    """What both faces do, on the engine's loop."""

    def __init__(self, core: ElectionCore, timeout_s: float) -> None:
        self._core = core
        self._timeout_s = timeout_s
        self._known: tuple[int, int] | None = None
        """A token, and the revision of the `leader` record that it is made of: asked for once in a leadership."""

    @property
    def resource(self) -> str:
        """What is guarded: what the leader of this election writes."""
        return self._core.name

    def key(self, key: str) -> str:
        """Where the value stands, relative to the store's prefix."""
        if not (isinstance(key, str) and len(key) <= _KEY_LENGTH_MAX and _KEY.fullmatch(key)):
            raise ConfigError(
                "key", f"{key!r} will not do: printable ASCII, parts joined by single slashes, at most 200"
            )
        return f"{self._core.name}/data/{key}"

    async def write(self, values: Mapping[str, bytes | None], token: int) -> None:
        ops: list[Op] = [
            Delete(self.key(key)) if value is None else Put(self.key(key), value) for key, value in values.items()
        ]
        check_token(token)
        store, leader = self._core.connection.store, self._core.keys.leader
        revision = await self._revision(token)
        if await store.transact((At(leader, revision),), ops, timeout_s=self._timeout_s) is None:
            self._known = None
            await self._revision(token)
            raise AssertionError("a leader's record changed, and its revision did not")

    async def check(self, token: int) -> None:
        check_token(token)
        self._known = None
        await self._revision(token)

    async def get(self, key: str) -> bytes | None:
        entry = await self._core.connection.store.get(self.key(key), timeout_s=self._timeout_s)
        return None if entry is None else entry.value

    async def highest(self) -> int | None:
        leader = await self._core.leader(self._timeout_s)
        return None if leader is None else leader.token

    async def _revision(self, token: int) -> int:
        if self._known is not None and self._known[0] == token:
            return self._known[1]
        entry = await self._core.connection.store.get(self._core.keys.leader, timeout_s=self._timeout_s)
        record = None if entry is None else load_leader(entry.value)
        if entry is None or record is None or isinstance(record, HoldRecord):
            raise LeadershipLost(LossReason.SUPERSEDED, election=self.resource, token=token)
        leading = record.base + entry.revision
        if leading > token:
            raise refused(self.resource, self.resource, token, leading)
        if leading < token:
            raise LeadershipLost(LossReason.SUPERSEDED, election=self.resource, token=token)
        self._known = (token, entry.revision)
        return entry.revision


class StoreFence:
    """Guards values in the store that an election stands in, under `<prefix>/<election>/data/`.

        fence = StoreFence(election)
        with election.campaign() as leadership:
            fence.put("cursor", b"4711", leadership.token)

    Args:
        election: whose leader may write.
        timeout_s: how long one request may take, in seconds.
    """

    def __init__(self, election: Election, *, timeout_s: float = TIMEOUT_S) -> None:
        self._writes = _Writes(election._core, timeout_s)

    @property
    def resource(self) -> str:
        """The election's name."""
        return self._writes.resource

    def put(self, key: str, value: bytes, token: int) -> None:
        """Set `key`. Raises as `write` does."""
        self.write({key: value}, token)

    def delete(self, key: str, token: int) -> None:
        """Remove `key`; a missing one is no failure. Raises as `write` does."""
        self.write({key: None}, token)

    def write(self, values: Mapping[str, bytes | None], token: int) -> None:
        """Set these keys, and remove those whose value is None, all or nothing.

        Raises:
            FencingRejected: another leads, with a higher token. Nothing was written. Stop.
            LeadershipLost: this leadership is over, and nobody has a higher token. Nothing was written. Stop.
            OutcomeUnknown: it may have been applied, or may be yet: repeat it.
            StoreUnavailable: it was not applied; try again.
            ConfigError: a key or the token will not do.
        """
        engine.get().run(self._writes.write(dict(values), token))

    def get(self, key: str) -> bytes | None:
        """The value of `key` now, by a linearizable read; None if there is none. Whoever leads."""
        return engine.get().run(self._writes.get(key))

    def highest(self) -> int | None:
        """The token of the leadership in office, None if nobody leads."""
        return engine.get().run(self._writes.highest())

    @contextmanager
    def admit(self, token: int) -> Iterator[None]:
        """Let this token pass if it is the leader's now. Raises as `write` does. Holds nobody off afterwards."""
        engine.get().run(self._writes.check(token))
        yield


class AsyncStoreFence:
    """The same, for an election of `leasekit.aio`. See `StoreFence`."""

    def __init__(self, election: aio.Election, *, timeout_s: float = TIMEOUT_S) -> None:
        self._writes = _Writes(election._core, timeout_s)

    @property
    def resource(self) -> str:
        """The election's name."""
        return self._writes.resource

    async def put(self, key: str, value: bytes, token: int) -> None:
        """Set `key`. See `StoreFence.write`."""
        await self.write({key: value}, token)

    async def delete(self, key: str, token: int) -> None:
        """Remove `key`; a missing one is no failure. See `StoreFence.write`."""
        await self.write({key: None}, token)

    async def write(self, values: Mapping[str, bytes | None], token: int) -> None:
        """Set these keys, and remove those whose value is None, all or nothing. See `StoreFence.write`."""
        await _on_engine(self._writes.write(dict(values), token))

    async def get(self, key: str) -> bytes | None:
        """The value of `key` now, by a linearizable read; None if there is none. Whoever leads."""
        return await _on_engine(self._writes.get(key))

    async def highest(self) -> int | None:
        """The token of the leadership in office, None if nobody leads."""
        return await _on_engine(self._writes.highest())

    @asynccontextmanager
    async def admit(self, token: int) -> AsyncIterator[None]:
        """Let this token pass if it is the leader's now. Holds nobody off afterwards."""
        await _on_engine(self._writes.check(token))
        yield
