"""The scenarios in which nothing goes wrong."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leasekit.cli.compare import machine
from leasekit.cli.compare.children import Worker
from leasekit.cli.compare.play import Counted, Play

_PAIRS_WARM_UP = 10
_RENEWALS_WARM_UP = 3
# After a candidate stands in the queue, its watch is still to be opened.
_SETTLE_S = 0.1
_QUIET_S = 0.3
_QUIET_WITHIN_S = 10.0
# So long that hardly any renewal falls between.
_COUNTED_TTL_S = 60.0
_IDLE_PER_ROUND_S = 2.0
_SEEN_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class _Load:
    """What was used so far; of the servers None where the system does not tell."""

    requests: int
    calls: int
    cpu_s: float
    server_cpu_s: float | None


async def acquire(play: Play) -> None:
    """Pairs of campaign and resign by one process, uncontended."""
    election = play.stage.election("acquire")
    ttl_s = play.stage.ttl_s
    await play.first.ask("pairs", election=election, ttl_s=ttl_s, count=_PAIRS_WARM_UP)
    told = await play.first.ask("pairs", election=election, ttl_s=ttl_s, count=20 * play.rounds)
    play.record("acquire_s", *told["took_s"])


async def handover(play: Play) -> None:
    """The leader resigns, the other process is elected, and so on in turn."""
    election = play.stage.election("handover")
    leader, candidate = play.first, play.second
    await play.elected(play.campaign(leader, election))
    for number in range(4 * play.rounds + 1):
        elected = await play.queue(candidate, election)
        await asyncio.sleep(_SETTLE_S)
        resigned = await leader.ask("resign", election=election)
        won = await play.elected(elected)
        if number:  # the first is for warming up
            play.record_wait("handover_s", resigned["at"], won)
        leader, candidate = candidate, leader
    await leader.ask("resign", election=election)


async def watch(play: Play) -> None:
    """Puts by one process, one after the other, told by the watch of another."""
    key = f"{play.stage.election('watch')}/key"
    await play.second.ask("watch", key=key)
    for number in range(10 * play.rounds + 1):
        put = play.first.send("put", key=key, value=str(number))
        seen = await play.second.ask("seen", key=key, value=str(number), timeout_s=_SEEN_TIMEOUT_S)
        sent = await put
        if number:
            play.record("watch_s", seen["at"] - sent["at"])


async def renewal(play: Play) -> None:
    """Renewals of one lease: timed on the way straight to the store, counted on the way through the door."""
    await _grant(play, play.first)
    told = await play.first.ask("renewals", count=10 * play.rounds)
    play.record("renewal_s", *told["took_s"])
    await play.first.ask("revoke")
    counted = await play.counted()
    if counted.door is None:
        return
    await _grant(play, counted.first)
    for _ in range(2 * play.rounds):
        requests, size = counted.door.requests, counted.door.bytes
        await counted.first.ask("renewals", count=1)
        play.record("renewal_requests", counted.door.requests - requests)
        play.record("renewal_bytes", counted.door.bytes - size)
    await counted.first.ask("revoke")


async def requests(play: Play) -> None:
    """Handovers, with what is asked of the store from one to the next."""
    counted = await play.counted()
    election = play.stage.election("requests")
    leader, candidate = counted.first, counted.second
    await play.elected(play.campaign(leader, election, _COUNTED_TTL_S))
    elected = await play.queue(candidate, election, _COUNTED_TTL_S)
    before = await _quiet(counted)
    for _ in range(play.rounds + 1):
        await leader.ask("resign", election=election)
        await play.elected(elected)
        # Who has led queues again, so that each handover begins alike.
        elected = play.campaign(leader, election, _COUNTED_TTL_S)
        after = await _quiet(counted)
        if counted.door is not None:
            play.record("handover_requests", after[0] - before[0])
        play.record("handover_calls", after[1] - before[1])
        before = after
        leader, candidate = candidate, leader
    await leader.ask("resign", election=election)
    await play.elected(elected)
    await candidate.ask("resign", election=election)


async def idle(play: Play) -> None:
    """One process leads, one waits, for some renewals; what that costs."""
    counted = await play.counted()
    election = play.stage.election("idle")
    await play.elected(play.campaign(counted.first, election))
    elected = await play.queue(counted.second, election)
    await _quiet(counted)
    period_s = play.stage.granted_ttl_s / 3
    # A waiting candidate looks by itself every two ttls; whole periods of the renewals, lest one more or less count.
    length_s = period_s * math.ceil(max(2 * play.stage.granted_ttl_s, _IDLE_PER_ROUND_S * play.rounds) / period_s)
    pids = play.stage.servers.pids if play.stage.servers is not None else []
    before = await _load(counted, pids)
    await asyncio.sleep(length_s)
    after = await _load(counted, pids)
    minutes = length_s / 60
    if counted.door is not None:
        play.record("idle_requests_per_minute", (after.requests - before.requests) / minutes)
    play.record("idle_calls_per_minute", (after.calls - before.calls) / minutes)
    play.record("idle_cpu_percent", 100 * (after.cpu_s - before.cpu_s) / length_s)
    if before.server_cpu_s is not None and after.server_cpu_s is not None:
        play.record("idle_server_cpu_percent", 100 * (after.server_cpu_s - before.server_cpu_s) / length_s)
    if (mib := _sum(map(machine.resident_mib, pids))) is not None:
        play.record("idle_server_mib", mib)
    await counted.first.ask("resign", election=election)
    await play.elected(elected)
    await counted.second.ask("resign", election=election)


async def _grant(play: Play, worker: Worker) -> None:
    """A lease that has been renewed, so that all streams are open."""
    await worker.ask("grant", key=f"{play.stage.election('renewal')}/key", ttl_s=play.stage.ttl_s)
    await worker.ask("renewals", count=_RENEWALS_WARM_UP)


async def _quiet(counted: Counted) -> tuple[int, int]:
    """Wait until nobody asks the store any more; what was asked so far."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _QUIET_WITHIN_S
    last = await counted.so_far()
    while loop.time() < give_up_at:
        await asyncio.sleep(_QUIET_S)
        now = await counted.so_far()
        if now == last:
            break
        last = now
    return last


async def _load(counted: Counted, pids: Sequence[int]) -> _Load:
    requests, calls = await counted.so_far()
    told = [await worker.ask("counts") for worker in (counted.first, counted.second)]
    return _Load(requests, calls, float(sum(one["cpu_s"] for one in told)), _sum(map(machine.cpu_s, pids)))


def _sum(values: Iterable[float | None]) -> float | None:
    """Of all, if all are known and there are any."""
    known = list(values)
    return None if not known or any(value is None for value in known) else sum(value or 0.0 for value in known)
