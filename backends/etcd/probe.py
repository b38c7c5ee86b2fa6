"""What `leasekit doctor` is told of an etcd cluster."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import statistics
from dataclasses import dataclass

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd.client import Client, Repeat
from leasekit.backends.etcd.endpoints import Server
from leasekit.backends.etcd.faults import Failure
from leasekit.backends.etcd.methods import RANGE, STATUS
from leasekit.errors import LeasekitError
from leasekit.store import EndpointHealth, Health

_ROUNDS = 3

# The first releases that ignore a deposed leader's wish to revoke leases (etcd#15247: #17425 in 3.5, #17465 in 3.4).
_SAFE_REVOKE = {(3, 4): 31, (3, 5): 13}


@dataclass(frozen=True, slots=True)
class Look:
    """What one server said of itself."""

    status: rpc.StatusResponse
    round_trip_s: float


async def probe(client: Client, root: bytes, *, timeout_s: float) -> Health:
    """Ask every server for its state, and the cluster for a linearizable read."""
    servers = client.endpoints.servers
    looks, quorum = await asyncio.gather(
        asyncio.gather(*(_look(client, server, timeout_s) for server in servers)), _quorum(client, root, timeout_s)
    )
    endpoints = tuple(_endpoint_health(server, look) for server, look in zip(servers, looks, strict=True))
    seen = {server.address: look for server, look in zip(servers, looks, strict=True) if isinstance(look, Look)}
    exposed = [server.address for server in servers if not server.encrypted and not is_loopback(server.host)]
    found = warnings(seen)
    if quorum and seen:
        found.append(quorum)
    if exposed and client.tokens.renewable:
        found.append(f"The password goes to {', '.join(exposed)} unencrypted: use etcd+tls://.")
    return Health(endpoints, tuple(found), details(seen))


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def warnings(looks: dict[str, Look]) -> list[str]:
    """What is unsafe about what the servers say, in whole sentences."""
    found = []
    if len({look.status.header.cluster_id for look in looks.values()}) > 1:
        found.append("The endpoints belong to different etcd clusters: leaders in one know nothing of the other's.")
    for address, look in looks.items():
        status = look.status
        if advice := _version_advice(status.version):
            found.append(f"{address} runs etcd {status.version}: {advice}")
        if status.isLearner:
            found.append(f"{address} is a learner: it serves no current reads and no writes.")
        elif not status.leader:
            found.append(f"{address} knows no leader: it is cut off from a majority of its peers, or they are down.")
    alarms = dict.fromkeys(error for look in looks.values() for error in look.status.errors)
    found.extend(_alarm(error) for error in alarms if "no leader" not in error)
    return found


def details(looks: dict[str, Look]) -> dict[str, str]:
    """Facts for the eye."""
    if not looks:
        return {}
    newest = max((look.status for look in looks.values()), key=lambda status: status.raftIndex)
    return {
        "cluster id": f"{newest.header.cluster_id:x}",
        "raft term": str(newest.raftTerm),
        "raft index": str(newest.raftIndex),
        "revision": str(newest.header.revision),
        "database size": f"{newest.dbSize / 1e6:.1f} MB, {newest.dbSizeInUse / 1e6:.1f} MB of it in use",
    }


async def _look(client: Client, server: Server, timeout_s: float) -> Look | str:
    loop = asyncio.get_running_loop()
    if client.endpoints.closed:
        return client.endpoints.why_not()
    try:
        async with asyncio.timeout(timeout_s):
            await client.endpoints.wait_for(server)
            round_trips_s = []
            for _ in range(_ROUNDS):
                sent_s = loop.time()
                status = await client.attempt(
                    server, STATUS, rpc.StatusRequest(), timeout_s=timeout_s, without_leader=True
                )
                round_trips_s.append(loop.time() - sent_s)
    except TimeoutError:
        return server.trouble or "does not answer"
    except Failure as failure:
        return failure.words
    except LeasekitError as error:
        return str(error)
    return Look(status, statistics.median(round_trips_s))


async def _quorum(client: Client, root: bytes, timeout_s: float) -> str | None:
    request = rpc.RangeRequest(key=root, count_only=True)
    try:
        await client.call(RANGE, request, timeout_s=timeout_s, repeat=Repeat.READ)
    except LeasekitError as error:
        return f"A read that must be current fails, so no election can go on: {error}"
    return None


def _endpoint_health(server: Server, look: Look | str) -> EndpointHealth:
    if isinstance(look, str):
        return EndpointHealth(server.address, look)
    status = look.status
    leads = status.leader == status.header.member_id
    return EndpointHealth(server.address, None, status.version, look.round_trip_s, leads)


def _version_advice(version: str) -> str | None:
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        return None
    major, minor, patch = map(int, match.groups())
    if (major, minor) < (3, 4):
        return "leasekit is tested from 3.4 on."
    first = _SAFE_REVOKE.get((major, minor), 0)
    if patch < first:
        return (
            f"before {major}.{minor}.{first} a leader that stalls (slow disk, no CPU) may revoke living leases after "
            "it was replaced, which ends a leadership too early. Upgrade."
        )
    return None


def _alarm(error: str) -> str:
    if "NOSPACE" in error:
        return (
            f"etcd's database is full and refuses writes ({error}): compact and defragment it, then disarm the alarm."
        )
    if "CORRUPT" in error:
        return f"etcd says that its data is corrupt ({error})."
    return f"etcd reports: {error}"
