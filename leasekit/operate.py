"""What an operator can do to a leadership that another process holds: ask, or force (ELECTION.md, rule 10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

from leasekit.core import records
from leasekit.core.lease import DRIFT, MARGIN_FLOOR_S
from leasekit.core.records import HoldRecord, LeaderRecord, RequestRecord
from leasekit.election import ElectionCore
from leasekit.errors import ConfigError, OutcomeUnknown
from leasekit.store import At, Delete, Entry, Put, Resync

ANSWER_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 5.0


async def ask(core: ElectionCore, action: str, to: str | None, timeout_s: float) -> bool:
    """Write a request for the present leadership and wait until that is over. False: unanswered in time."""
    store, keys = core.connection.store, core.keys
    entry, revision = await core.look()
    record = _leader(entry)
    if entry is None or record is None:
        return action == "resign"
    if to is not None:
        if record.id == to:
            return True
        if to not in {candidate.id for candidate in await core.candidates()}:
            raise ConfigError("to", f"no candidate {to!r} queues in election {core.name!r}")
    request = RequestRecord(token=record.base + entry.revision, action=action, to=to)
    put = Put(keys.request, records.dump_request(request))
    if await store.transact((At(keys.leader, entry.revision),), (put,), timeout_s=REQUEST_TIMEOUT_S) is None:
        return await _answered(core, to)
    changes = store.watch(keys.leader, after=revision)
    try:
        async with asyncio.timeout(timeout_s):
            async for change in changes:
                now = (await core.look())[0] if isinstance(change, Resync) else change.entry
                if now is None or now.revision != entry.revision:
                    break
    except TimeoutError:
        return False
    finally:
        await cast(AsyncGenerator[object, None], changes).aclose()
    return await _answered(core, to)


async def _answered(core: ElectionCore, to: str | None) -> bool:
    """The leadership asked for is over: whether as it was asked."""
    if to is None:
        return True
    leader = await core.leader()
    return leader is not None and leader.id == to


async def force_resign(core: ElectionCore, timeout_s: float) -> bool:
    """Put a hold in the leader's place, then revoke its lease. Whoever is first in the queue waits and claims.

    The hold is what makes it safe: without it another could be elected while the deposed leader still believes. Called
    again, it carries on what was interrupted. False: nobody leads, and nothing is left to be done.
    """
    store = core.connection.store
    entry, _ = await core.look()
    record = records.load_leader(entry.value) if entry is not None else None
    if entry is None or record is None:
        return False
    if isinstance(record, HoldRecord):
        hold, held_at = record, entry.revision if entry.lease_id is None else None
    else:
        hold, held_at = await _put_hold(core, entry, record, timeout_s)
    if held_at is None:
        return False
    await store.revoke(hold.lease_id, timeout_s=timeout_s)
    await _let_hold_end(core, hold, held_at, timeout_s)
    return True


async def _put_hold(
    core: ElectionCore, leader: Entry, record: LeaderRecord, timeout_s: float
) -> tuple[HoldRecord, int | None]:
    """Replace the leader's record by a hold; returns its revision, None if that leader had gone by itself."""
    store, keys = core.connection.store, core.keys
    hold = HoldRecord(lease_id=leader.lease_id or "", ttl_s=record.ttl_s)
    if leader.lease_id is None:
        return hold, None
    ops = (Put(keys.leader, records.dump_hold(hold)), Delete(keys.candidate(record.id)), Delete(keys.request))
    try:
        held = await store.transact((At(keys.leader, leader.revision),), ops, timeout_s=timeout_s)
    except OutcomeUnknown:
        # Repeating settles it: refused now means that it was applied, or that the leader went by itself.
        held = await store.transact((At(keys.leader, leader.revision),), ops, timeout_s=timeout_s)
        now, _ = await core.look()
        if held is None and now is not None and _hold(now) == hold:
            return hold, now.revision
    return hold, held.revision if held is not None else None


async def _let_hold_end(core: ElectionCore, hold: HoldRecord, held_at: int, timeout_s: float) -> None:
    """Bind the hold to a lease that nobody renews, and that outlasts the deposed leader's belief.

    Else it would stay until somebody queues; and who only tries never does, since it does not wait.
    """
    store, keys = core.connection.store, core.keys
    # From now on, as the revoke is acknowledged, the old lease is trusted for a ttl at most.
    longest_s = hold.ttl_s * (1 + DRIFT) + MARGIN_FLOOR_S
    if longest_s > store.capabilities.ttl_max_s:
        return
    lease = await store.grant(max(longest_s, store.capabilities.ttl_min_s), timeout_s=timeout_s)
    if lease.ttl_s >= longest_s:
        put = Put(keys.leader, records.dump_hold(hold), lease.id)
        await store.transact((At(keys.leader, held_at),), (put,), timeout_s=timeout_s)


def _leader(entry: Entry | None) -> LeaderRecord | None:
    record = records.load_leader(entry.value) if entry is not None else None
    return record if isinstance(record, LeaderRecord) else None


def _hold(entry: Entry) -> HoldRecord | None:
    record = records.load_leader(entry.value)
    return record if isinstance(record, HoldRecord) else None
