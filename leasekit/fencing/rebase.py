"""Raising the token base: what a store that was restored or replaced needs before its tokens rise again."""

from __future__ import annotations

from dataclasses import dataclass

from leasekit.core.records import BASE_KEY, HoldRecord, dump_base, load_base, load_leader
from leasekit.errors import ConfigError, OutcomeUnknown, ProtocolError
from leasekit.fencing.contract import check_token
from leasekit.store import Absent, At, Entry, Put, Store

ABOVE_MAX = 2**62
"""Revisions are added to the base, and tokens must stay below 2**63."""
TRIES = 5


@dataclass(frozen=True, slots=True)
class Rebased:
    """What came of it. `stale` are leaders still in office, elected before: election, id, token."""

    before: int
    base: int
    stale: tuple[tuple[str, str, int], ...]


async def rebase(store: Store, above: int, *, timeout_s: float) -> Rebased:
    """See to it that all tokens from now on are higher than `above`, for every election under the store's prefix.

    Never lowers the base. Who leads already keeps its token, and is refused on until it is elected anew.

    Raises:
        ConfigError: `above` is no token, or so high that tokens would soon have no room.
        StoreUnavailable, OutcomeUnknown: ask again; twice does no harm.
    """
    if check_token(above) > ABOVE_MAX:
        raise ConfigError("above", f"is {above}; above {ABOVE_MAX} tokens would have no room to rise")
    for _ in range(TRIES):
        entry = await store.get(BASE_KEY, timeout_s=timeout_s)
        before = 0 if entry is None else load_base(entry.value)
        if before >= above or await _put(store, entry, above, timeout_s):
            return Rebased(before, max(before, above), await _stale(store, above, timeout_s))
    raise OutcomeUnknown("the token base was changed by others each time it was read; look what they do, and ask again")


async def _put(store: Store, entry: Entry | None, base: int, timeout_s: float) -> bool:
    unchanged = Absent(BASE_KEY) if entry is None else At(BASE_KEY, entry.revision)
    return await store.transact((unchanged,), (Put(BASE_KEY, dump_base(base)),), timeout_s=timeout_s) is not None


async def _stale(store: Store, above: int, timeout_s: float) -> tuple[tuple[str, str, int], ...]:
    found = []
    for entry in (await store.scan("", timeout_s=timeout_s)).entries:
        election, _, rest = entry.key.partition("/")
        if rest != "leader":
            continue
        try:
            record = load_leader(entry.value)
        except ProtocolError:  # another program's key
            continue
        if not isinstance(record, HoldRecord) and record.base + entry.revision <= above:
            found.append((election, record.id, record.base + entry.revision))
    return tuple(found)
