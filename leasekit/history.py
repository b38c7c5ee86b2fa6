"""The record of past leaderships. It is for people, so it is kept off the critical path: written a moment later, by
compare-and-swap, several lines at once if they come quickly.

A process that dies within `WRITE_AFTER_S` of an election or a release leaves its line out, or open: then the next
leader closes it, as expired (or as revoked, if it was forced to resign).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import NamedTuple

from leasekit.clock import Clock
from leasekit.core import records
from leasekit.core.records import Keys, PastLeadership
from leasekit.errors import LeasekitError, LossReason, ProtocolError
from leasekit.store import Absent, At, Entry, Put, Store

WRITE_AFTER_S = 0.05
TIMEOUT_S = 5.0
TRIES = 5


class Line(NamedTuple):
    """A line to be written: wall times as they were read, since an election does not wait for them to be spelt out."""

    token: int
    id: str
    began_s: float
    ended_s: float | None
    reason: LossReason | None
    before: LossReason
    """How the leadership before it ended, if it could not say so itself."""

    @property
    def past(self) -> PastLeadership:
        """As it will stand there."""
        ended = None if self.ended_s is None else records.utc(self.ended_s)
        return PastLeadership(
            self.token, self.id, records.utc(self.began_s), ended, self.reason.value if self.reason else None
        )


class History:
    """The history of one election, as far as this process has something to add to it."""

    def __init__(self, keys: Keys, store: Store, clock: Clock) -> None:
        self._keys = keys
        self._store = store
        self._clock = clock
        self._lines: dict[int, Line] = {}
        self._last_written: Entry | None = None
        self._writing: asyncio.Task[None] | None = None

    def began(self, token: int, id: str, *, over_hold: bool) -> None:
        """A leadership has begun here."""
        before = LossReason.REVOKED if over_hold else LossReason.EXPIRED
        self._lines[token] = Line(token, id, self._clock.wall_s(), None, None, before)
        self._write_soon()

    def ended(self, token: int, id: str, reason: LossReason) -> None:
        """A leadership has ended here."""
        now_s = self._clock.wall_s()
        line = self._lines.get(token) or Line(token, id, now_s, None, None, LossReason.EXPIRED)
        self._lines[token] = line._replace(ended_s=now_s, reason=reason)
        self._write_soon()

    async def flush(self) -> None:
        """Write what is still to be written."""
        if self._writing is not None:
            await self._writing

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="leasekit-history")

    async def _write(self) -> None:
        try:
            await asyncio.sleep(WRITE_AFTER_S)
            for _ in range(TRIES):
                if not self._lines or await self._append():
                    break
        except LeasekitError:
            # Nothing depends on it; what is left is written with the next line.
            return
        finally:
            self._writing = None

    async def _append(self) -> bool:
        """One compare-and-swap; False: lost to another writer, or more lines have come."""
        lines = dict(self._lines)
        entry = self._last_written or await self._store.get(self._keys.history, timeout_s=TIMEOUT_S)
        self._last_written = None
        value = records.dump_history(merged(_load(entry), lines))
        unchanged = Absent(self._keys.history) if entry is None else At(self._keys.history, entry.revision)
        committed = await self._store.transact((unchanged,), (Put(self._keys.history, value),), timeout_s=TIMEOUT_S)
        if committed is None:
            return False
        self._last_written = Entry(self._keys.history, value, committed.revision, committed.revision, None)
        for token, line in lines.items():
            if self._lines[token] is line:
                del self._lines[token]
        return not self._lines


def merged(past: tuple[PastLeadership, ...], lines: dict[int, Line]) -> tuple[PastLeadership, ...]:
    """The history with these lines in their places by token. A line that a later one follows is over."""
    by_token = {line.token: line for line in past}
    for token, line in lines.items():
        new = line.past
        known = by_token.get(token)
        by_token[token] = new if known is None else replace(new, began=known.began)
        for earlier in by_token.values():
            if earlier.token < token and earlier.reason is None:
                by_token[earlier.token] = replace(earlier, ended=new.began, reason=line.before.value)
    return tuple(by_token[token] for token in sorted(by_token))[-records.HISTORY_LENGTH :]


def _load(entry: Entry | None) -> tuple[PastLeadership, ...]:
    """An unreadable history begins anew: it must not stop an election."""
    if entry is None:
        return ()
    try:
        return records.load_history(entry.value)
    except ProtocolError:
        return ()
