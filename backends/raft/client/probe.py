"""What `leasekit doctor` is told of a Raft cluster: every member looked at by itself, and what is unsafe about them."""

from __future__ import annotations

import asyncio
import ipaddress
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from leasekit.backends.raft.client.calls import Calls
from leasekit.backends.raft.client.channel import Channel, Lost
from leasekit.backends.raft.client.leader import Leader
from leasekit.backends.raft.client.settings import Settings
from leasekit.backends.raft.core.types import Role
from leasekit.backends.raft.requests import MemberStatus, Read
from leasekit.backends.raft.transport.outgoing import NoConnection, dial
from leasekit.backends.raft.transport.security import host_of
from leasekit.errors import LeasekitError, ProtocolError
from leasekit.store import EndpointHealth, Get, Health

_ROUND_TRIPS = 3
_LAG = 1000
"""Entries that a member may be behind before it is worth a word."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one member said of itself."""

    status: MemberStatus
    cluster: str
    round_trip_s: float


async def examine(settings: Settings, leader: Leader, calls: Calls, *, timeout_s: float) -> Health:
    """Look at every address that is known, and ask the cluster for a linearizable read. Raises nothing."""
    quorum = asyncio.create_task(_quorum(calls, settings.root, timeout_s))
    looks = await _look_at_all(settings, leader, timeout_s)
    seen = {address: look for address, look in looks.items() if isinstance(look, Seen)}
    found = warnings(seen)
    if not seen:
        quorum.cancel()
        await asyncio.wait([quorum])
    elif problem := await quorum:
        found.append(problem)
    if settings.tls is None and (exposed := [address for address in looks if not is_loopback(host_of(address))]):
        found.append(
            f"What goes to {', '.join(exposed)} is not encrypted, and anybody may pose as it: use raft+tls://."
        )
    endpoints = tuple(_endpoint_health(address, look) for address, look in looks.items())
    return Health(endpoints, tuple(found), details(seen))


def warnings(seen: Mapping[str, Seen]) -> list[str]:
    """What is unsafe about what the members say, in whole sentences."""
    if not seen:
        return []
    found = []
    if len({look.cluster for look in seen.values()}) > 1:
        found.append("The addresses belong to different clusters: leaders in one know nothing of the other's.")
    newest = _newest(seen)
    voters = newest.status.raft.membership.voters
    if len(voters) == 1:
        found.append("This cluster has one voter: while it is down, nobody can be elected or keep leading.")
    elif len(voters) % 2 == 0:
        survive = (len(voters) - 1) // 2
        found.append(
            f"This cluster has {len(voters)} voters, and survives the loss of {survive} of them, as it would with one "
            "voter less: add one, or remove one."
        )
    answering = {look.status.raft.id for look in seen.values()}
    for member, address in newest.status.raft.membership.voters.items():
        if member not in answering:
            found.append(f"Member {member} at {address} cannot be reached from here.")
    for look in seen.values():
        raft = look.status.raft
        if look.status.failure is not None:
            found.append(f"Member {raft.id} takes no part any more: {look.status.failure}")
        elif raft.leader is None:
            found.append(f"Member {raft.id} knows no leader: it is cut off from the others, or a majority is down.")
        elif (behind := newest.status.raft.commit - raft.commit) > _LAG:
            found.append(f"Member {raft.id} is {behind} entries behind: it is of no help until it has caught up.")
    return found


def details(seen: Mapping[str, Seen]) -> dict[str, str]:
    """Facts for the eye."""
    if not seen:
        return {}
    newest = _newest(seen)
    raft = newest.status.raft
    facts = {
        "cluster": newest.cluster,
        "term": str(raft.term),
        "commit": str(raft.commit),
        "leader": raft.leader or "-",
    }
    for address, look in seen.items():
        its = look.status.raft
        role = "learner" if its.id in raft.membership.learners else its.role.value
        facts[f"{address} member"] = f"{its.id}, {role}, {max(0, raft.commit - its.commit)} entries behind"
    return facts


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _newest(seen: Mapping[str, Seen]) -> Seen:
    return max(seen.values(), key=lambda look: (look.status.raft.term, look.status.raft.commit))


async def _look_at_all(settings: Settings, leader: Leader, timeout_s: float) -> dict[str, Seen | str]:
    """The addresses in the URL first, then those that the members name beside them."""
    looks: dict[str, Seen | str] = {}
    wanted = list(settings.addresses)
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + timeout_s
    while wanted:
        left_s = max(0.0, ends_s - loop.time())
        # What is learnt from the first round gets its share of the time.
        share_s = left_s if looks else left_s / 2
        results = await asyncio.gather(*(_look(address, settings, leader, share_s) for address in wanted))
        looks.update(zip(wanted, results, strict=True))
        named = [address for look in results if isinstance(look, Seen) for address in _members(look)]
        wanted = [address for address in dict.fromkeys(named) if address not in looks]
    return looks


def _members(look: Seen) -> list[str]:
    membership = look.status.raft.membership
    return [*membership.voters.values(), *membership.learners.values()]


async def _look(address: str, settings: Settings, leader: Leader, timeout_s: float) -> Seen | str:
    loop = asyncio.get_running_loop()
    channel: Channel | None = None
    try:
        async with asyncio.timeout(timeout_s):
            channel = await dial(address, lambda: Channel(address, ""), settings.tls, timeout_s=timeout_s)
            round_trips_s = []
            for _ in range(_ROUND_TRIPS):
                sent_s = loop.time()
                status = await channel.status()
                round_trips_s.append(loop.time() - sent_s)
            cluster = channel.welcomed.result().cluster
    except TimeoutError:
        return "does not answer"
    except (NoConnection, Lost, ProtocolError) as error:
        return str(error).removeprefix(f"{address} ")
    finally:
        if channel is not None:
            channel.abort()
    return Seen(status, cluster, statistics.median(round_trips_s))


async def _quorum(calls: Calls, root: str, timeout_s: float) -> str | None:
    try:
        await calls.read(lambda number: Read(id=number, compares=(), ops=(Get(root),)), timeout_s=timeout_s)
    except LeasekitError as error:
        return f"A read that must be current fails, so no election can go on: {error}"
    return None


def _endpoint_health(address: str, look: Seen | str) -> EndpointHealth:
    if isinstance(look, str):
        return EndpointHealth(address, look)
    leads = look.status.raft.role is Role.LEADER and look.status.failure is None
    version = look.status.version or None
    return EndpointHealth(address, look.status.failure, version, look.round_trip_s, leads)
