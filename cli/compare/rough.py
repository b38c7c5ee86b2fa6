"""The scenarios in which something goes wrong: a leader paused, a leader killed, the store's own leader killed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from leasekit.cli.compare import figures
from leasekit.cli.compare.candidacies import make_database, now_s
from leasekit.cli.compare.children import Worker
from leasekit.cli.compare.play import PATIENCE_S, Play, side_by_side
from leasekit.cli.compare.servers import Servers
from leasekit.errors import StoreUnavailable

# Renewals come every third of a ttl: spread over one such time, misfortunes come at any moment between two.
_RENEWAL_SHARE = 3
_STOP_TRIES = 20
_STILL_WRITES_TIMEOUT_S = 0.5
_BETWEEN_TRIES_S = 0.02
_BEFORE_KILL_S = 0.5


async def paused(play: Play) -> None:
    """Each of several leaders is stopped until another one leads its election and has written; then it goes on, with a
    write that it had decided on before."""
    database = str(play.stage.folder / f"{play.stage.election('work')}.db")
    make_database(database)
    leaders, elections, campaigns = await _led_elections(play, "paused", 2 * play.rounds)

    async def pause(number: int, leader: Worker) -> None:
        election = elections[number]
        believes = await leader.ask("believe", election=election)
        await leader.ask("write", election=election, token=believes["token"], database=database)
        await asyncio.sleep(_share_s(play, number, len(leaders)))
        await _stop(play, leader, election)
        won = await play.elected(campaigns[number])
        await play.second.ask("write", election=election, token=won["token"], database=database)
        stale = leader.send("write", election=election, token=believes["token"], database=database)
        woken_at = now_s()
        leader.resume()
        accepted = (await stale)["accepted"]
        believed = await leader.ask("believed", election=election, timeout_s=PATIENCE_S)
        if believed["told_at"] < woken_at:  # it was over before the pause
            play.lapsed += 1
            return
        play.record("paused_late_s", believed["late_s"])
        play.record("paused_noticed_s", believed["told_at"] - woken_at)
        play.record("paused_refused", float(not accepted))
        play.record("paused_accepted", float(accepted))

    await side_by_side(*(pause(number, leader) for number, leader in enumerate(leaders)))
    await _resign_all(play, elections)


async def failover(play: Play) -> None:
    """Each of several leaders is killed at another moment between two renewals; one process waits for them all."""
    leaders, elections, campaigns = await _led_elections(play, "failover", 2 * play.rounds)

    async def kill(number: int, leader: Worker) -> None:
        await asyncio.sleep(_share_s(play, number, len(leaders)))
        killed_at = now_s()
        play.stage.kill(leader)
        won = await play.elected(campaigns[number])
        play.record_wait("failover_s", killed_at, won)

    await side_by_side(*(kill(number, leader) for number, leader in enumerate(leaders)))
    await _resign_all(play, elections)


async def store_failover(play: Play) -> None:
    """One process leads, one writes and renews without a pause, and the server that leads the store is killed."""
    servers = play.stage.servers
    assert servers is not None, "nobody's servers but our own are killed"
    election = play.stage.election("store-failover")
    token: int | None = None
    for _ in range(play.rounds):
        if token is None:
            token = (await play.elected(play.campaign(play.first, election)))["token"]
        if not await _lose_leader(play, servers, election, token):
            token = None
    if token is not None:
        await play.first.ask("resign", election=election)


async def _lose_leader(play: Play, servers: Servers, election: str, token: int) -> bool:
    """One round; whether the leadership survived."""
    await play.second.ask("try_on", key=f"{election}/tried", ttl_s=play.stage.ttl_s)
    await asyncio.sleep(_BEFORE_KILL_S)
    leader = await play.stage.store_leader(play.second)
    if leader is None:
        raise StoreUnavailable("no server leads the store")
    lost = servers.endpoints.index(leader)
    killed_at = now_s()
    servers.kill(lost)
    try:
        await play.second.ask("came_through", since_s=killed_at, timeout_s=PATIENCE_S)
        # Until no renewal from before can be what it leads by.
        await asyncio.sleep(play.stage.granted_ttl_s)
        survived: bool = (await play.first.ask("leads", election=election, token=token))["leads"]
    finally:
        servers.start(lost)
        tried = await play.second.ask("tried")
    _record_gaps(play, tried, killed_at)
    play.record("store_failover_survived", float(survived))
    await play.stage.serving(play.second)
    return survived


def _record_gaps(play: Play, tried: dict[str, Any], killed_at: float) -> None:
    wrote = [(began, done) for began, done in tried["wrote"]]
    renewed_at = [done for _, done in tried["renewed"]]
    through_at = figures.first_after(wrote, killed_at)
    assert through_at is not None, "it was waited for"
    play.record("store_failover_write_s", through_at - killed_at)
    play.record("store_failover_renewal_s", figures.longest_gap_s(renewed_at, killed_at))


async def _led_elections(
    play: Play, what: str, count: int
) -> tuple[list[Worker], list[str], list[asyncio.Future[dict[str, Any]]]]:
    """So many processes that lead, each its own election, and the campaigns of one process that waits in all of them."""
    leaders = play.leaders(count)
    elections = [play.stage.election(what) for _ in leaders]
    began = [play.campaign(leader, election) for leader, election in zip(leaders, elections, strict=True)]
    for campaign in began:
        await play.elected(campaign)
    campaigns = await asyncio.gather(*(play.queue(play.second, election) for election in elections))
    return leaders, elections, campaigns


async def _resign_all(play: Play, elections: list[str]) -> None:
    await asyncio.gather(*(play.second.ask("resign", election=election) for election in elections))


def _share_s(play: Play, number: int, count: int) -> float:
    return play.stage.granted_ttl_s / _RENEWAL_SHARE * number / count


async def _stop(play: Play, leader: Worker, election: str) -> None:
    """SIGSTOP. Where the store is a file, at a moment when nobody has to wait for it: in the middle of a transaction it
    would keep all others from writing until it goes on, and that is not what is measured here."""
    for _ in range(_STOP_TRIES):
        leader.pause()
        if not play.stage.is_file:
            return
        with contextlib.suppress(StoreUnavailable):
            await play.second.ask("put", key=f"{election}/free", value="", timeout_s=_STILL_WRITES_TIMEOUT_S)
            return
        leader.resume()
        await asyncio.sleep(_BETWEEN_TRIES_S)
    raise StoreUnavailable("whenever a process is stopped, the others cannot write")
