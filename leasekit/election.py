"""What both faces' `Election` have in common: its settings, and the operations, run on the engine's loop."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from leasekit.connection import Connection, loading
from leasekit.core import records
from leasekit.core.lease import check_timing
from leasekit.core.records import HoldRecord, Keys, PastLeadership
from leasekit.errors import ConfigError, LeadershipLost, OutcomeUnknown
from leasekit.store import Entry, Get

if TYPE_CHECKING:
    from leasekit.elector import Elector
    from leasekit.tenure import Tenure

DEFAULT_TTL_S = 15.0
READ_TIMEOUT_S = 5.0
TRY_TIMEOUT_S = 5.0
RELEASE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as the store has it. `since` is UTC and for people; `ttl_s` the granted one of the lease."""

    id: str
    token: int
    host: str
    pid: int
    since: str
    ttl_s: float
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who queues."""

    id: str
    priority: int
    host: str
    pid: int
    ttl_s: float
    meta: Mapping[str, Any] = field(default_factory=dict)


class ElectionCore:
    """One named election, seen through one connection, and one candidate in it."""

    def __init__(
        self,
        name: str,
        *,
        connection: Connection,
        id: str | None,
        ttl_s: float,
        priority: int,
        meta: Mapping[str, Any] | None,
    ) -> None:
        self.name = records.check_name("name", name)
        self.connection = connection
        self._given_id = records.check_name("id", id) if id is not None else None
        if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float):
            raise ConfigError("ttl_s", f"is {ttl_s!r}; it must be a number of seconds")
        check_timing(ttl_s=ttl_s)
        capabilities = connection.store.capabilities
        if not capabilities.ttl_min_s <= ttl_s <= capabilities.ttl_max_s:
            raise ConfigError(
                "ttl_s",
                f"is {ttl_s:g}; this store takes {capabilities.ttl_min_s:g} to {capabilities.ttl_max_s:g} seconds",
            )
        self.ttl_s = float(ttl_s)
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise ConfigError("priority", f"is {priority!r}; it must be an integer")
        self.priority = priority
        self.meta = _checked_meta(meta)
        self.keys = Keys(name)
        self._made_id = _made_id()
        self._elector: tuple[int, Elector] | None = None

    @property
    def id(self) -> str:
        """The candidate's id: the given one, or `host-pid-random`, made anew in a forked child."""
        if self._given_id is not None:
            return self._given_id
        if self._made_id[0] != os.getpid():
            self._made_id = _made_id()
        return self._made_id[1]

    def elector(self) -> Elector:
        """The candidate's driver in this process. Call on the engine's loop."""
        if self._elector is None or self._elector[0] != os.getpid():
            elector = self.connection.elector(
                election=self.name, id=self.id, ttl_s=self.ttl_s, priority=self.priority, meta=self.meta
            )
            self._elector = (os.getpid(), elector)
        return self._elector[1]

    async def campaign(self, timeout_s: float | None) -> Tenure:
        if timeout_s is not None and timeout_s < 0:
            raise ConfigError("timeout_s", f"is {timeout_s}; it cannot be negative")
        tenure = await self.elector().campaign(once=False, timeout_s=timeout_s)
        assert tenure is not None, "a campaign without `once` ends elected or by an error"
        return tenure

    async def try_campaign(self) -> Tenure | None:
        return await self.elector().campaign(once=True, timeout_s=TRY_TIMEOUT_S)

    async def resign(self, tenure: Tenure, timeout_s: float) -> None:
        await self.elector().resign(tenure, timeout_s=timeout_s)

    async def transfer(self, tenure: Tenure, to: str, timeout_s: float) -> bool:
        return await self.elector().transfer(tenure, to, timeout_s=timeout_s)

    async def release(self, tenure: Tenure, timeout_s: float) -> None:
        """The work has stopped: transfer if an operator asked for that and it can be done, else resign."""
        if tenure.wish is not None and tenure.wish.to is not None:
            with contextlib.suppress(ConfigError, LeadershipLost, OutcomeUnknown):  # the candidate has gone
                await self.transfer(tenure, tenure.wish.to, timeout_s)
        await self.resign(tenure, timeout_s)

    async def leader(self, timeout_s: float = READ_TIMEOUT_S) -> Leader | None:
        entry = await self.connection.store.get(self.keys.leader, timeout_s=timeout_s)
        self.connection.journal.saw(self.name, None, entry)
        return leader_of(entry)

    async def candidates(self, timeout_s: float = READ_TIMEOUT_S) -> list[Candidate]:
        with loading:
            from leasekit.core import queue

        committed = await self.connection.store.transact((), queue.look_ops(self.keys), timeout_s=timeout_s)
        assert committed is not None, "a transaction that compares nothing is not refused"
        look = queue.read_look(committed.reads, committed.revision)
        return [candidate_of(entry) for entry in look.queue]

    async def history(self, limit: int, timeout_s: float = READ_TIMEOUT_S) -> list[PastLeadership]:
        if limit < 1:
            raise ConfigError("limit", f"is {limit}; it must be 1 or more")
        entry = await self.connection.store.get(self.keys.history, timeout_s=timeout_s)
        return list(records.load_history(entry.value)[-limit:]) if entry else []

    async def look(self, timeout_s: float = READ_TIMEOUT_S) -> tuple[Entry | None, int]:
        """The leader's entry, and the revision as of which it stands so."""
        committed = await self.connection.store.transact((), (Get(self.keys.leader),), timeout_s=timeout_s)
        assert committed is not None, "a transaction that compares nothing is not refused"
        (found,) = committed.reads
        return (found[0] if found else None), committed.revision


def _made_id() -> tuple[int, str]:
    """An id for a candidate that was given none, and the process that it is for."""
    host = "".join(c if c.isalnum() and c.isascii() else "-" for c in socket.gethostname()).strip("-") or "host"
    return os.getpid(), f"{host[:100]}-{os.getpid()}-{os.urandom(4).hex()}"


def leader_of(entry: Entry | None) -> Leader | None:
    """Who leads by this entry; nobody while a forced resignation holds the place."""
    if entry is None:
        return None
    record = records.load_leader(entry.value)
    if isinstance(record, HoldRecord):
        return None
    return Leader(
        id=record.id,
        token=record.base + entry.revision,
        host=record.host,
        pid=record.pid,
        since=record.since,
        ttl_s=record.ttl_s,
        meta=record.meta,
    )


def candidate_of(entry: Entry) -> Candidate:
    """The candidate that this entry stands for."""
    record = records.load_candidate(entry.value)
    return Candidate(
        id=record.id,
        priority=record.priority,
        host=record.host,
        pid=record.pid,
        ttl_s=record.ttl_s,
        meta=record.meta,
    )


def _checked_meta(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    import json

    copy = dict(meta or {})
    try:
        # As the records have it: UTF-8, and no NaN, which JSON does not know.
        size = len(json.dumps(copy, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError("meta", f"must be JSON: {error}") from None
    if size > 65536:
        raise ConfigError("meta", f"is {size} bytes as JSON; at most 65536 are kept")
    return copy
