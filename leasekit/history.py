"""The record of past leaderships. It is for people, so it is kept off the critical path: written a moment later, by
compare-and-swap, several lines at once if they come quickly.

A process that dies within `WRITE_AFTER_S` of an election or a release leaves its line out, or open: then the next
leader closes it, as expired (or as revoked, if it was forced to resign).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from leasekit.clock import Clock
from leasekit.core import records
from leasekit.core.records import Keys, PastLeadership
from leasekit.errors import LeasekitError, LossReason, ProtocolError
from leasekit.store import Absent, At, Entry, Put, Store

WRITE_AFTER_S = 0.05
TIMEOUT_S = 5.0
TRIES = 5


@dataclass(frozen=True, slots=True)
class Line:
    """A line to be written, and how the leadership before it ended if it could not say so itself."""

    past: PastLeadership
    before: LossReason


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
        past = PastLeadership(token, id, records.utc(self._clock.wall_s()), None, None)
        self._lines[token] = Line(past, LossReason.REVOKED if over_hold else LossReason.EXPIRED)
        self._write_soon()

    def ended(self, token: int, id: str, reason: LossReason) -> None:
        """A leadership has ended here."""
        now = records.utc(self._clock.wall_s())
        line = self._lines.get(token) or Line(PastLeadership(token, id, now, None, None), LossReason.EXPIRED)
        self._lines[token] = replace(line, past=replace(line.past, ended=now, reason=reason.value))
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
        known = by_token.get(token)
        began = known.began if known is not None else line.past.began
        by_token[token] = replace(line.past, began=began)
        for earlier in by_token.values():
            if earlier.token < token and earlier.reason is None:
                by_token[earlier.token] = replace(earlier, ended=line.past.began, reason=line.before.value)
    return tuple(by_token[token] for token in sorted(by_token))[-records.HISTORY_LENGTH :]


def _load(entry: Entry | None) -> tuple[PastLeadership, ...]:
    """An unreadable history begins anew: it must not stop an election."""
    if entry is None:
        return ()
    try:
        return records.load_history(entry.value)
    except ProtocolError:
        return ()
