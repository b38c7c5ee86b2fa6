"""What `Store.probe` says of Consul: each agent looked at by itself, and what is unsafe about how they are set."""

from __future__ import annotations

import asyncio
import json
import statistics
from dataclasses import dataclass
from typing import Any

from leasekit.backends.consul import failures
from leasekit.backends.consul.agents import CONNECTIONS_MAX, Agents
from leasekit.backends.consul.client import Answer, NoAnswer
from leasekit.backends.consul.settings import Settings
from leasekit.errors import LeasekitError
from leasekit.store import EndpointHealth, Health

_ROUND_TRIPS = 3
# Where fewer processes than this fit under an agent's limit on connections, it is worth a warning.
_PROCESSES_FEW = 4


@dataclass(frozen=True, slots=True)
class _Seen:
    health: EndpointHealth
    servers: int | None = None
    agent: dict[str, Any] | None = None
    """What the agent says of itself; None where the token may not ask."""


async def examine(agents: Agents, settings: Settings, *, timeout_s: float) -> Health:
    """Look at every agent that the URL names. Raises nothing."""
    seen = await asyncio.gather(
        *(_look(agents, i, str(endpoint), timeout_s) for i, endpoint in enumerate(settings.endpoints))
    )
    details = {
        "expiry": "Consul ends a session, and its keys, at twice its TTL after the last renewal.",
        "server time": "From the Date header, to the second: the clock of the machine that the agent runs on.",
    }
    for found in seen:
        if found.agent is not None:
            details[f"{found.health.endpoint} agent"] = _kind(found.agent)
        if (most := _connections_max(found)) is not None:
            details[f"{found.health.endpoint} connections"] = (
                f"At most {most} from one host (limits.http_max_conns_per_client); "
                f"a process takes 2 to 4, with many elections up to {CONNECTIONS_MAX}."
            )
    return Health(tuple(found.health for found in seen), tuple(_warnings(seen, settings)), details)


async def _look(agents: Agents, agent: int, endpoint: str, timeout_s: float) -> _Seen:
    try:
        async with asyncio.timeout(timeout_s):
            return await _examine(agents, agent, endpoint, timeout_s)
    except (NoAnswer, LeasekitError) as error:
        return _Seen(EndpointHealth(endpoint, str(error)))
    except TimeoutError:
        return _Seen(EndpointHealth(endpoint, f"no answer within {timeout_s:g} s"))


async def _examine(agents: Agents, agent: int, endpoint: str, timeout_s: float) -> _Seen:
    loop = asyncio.get_running_loop()
    round_trips_s = []
    for _ in range(_ROUND_TRIPS):
        sent_s = loop.time()
        leader = await agents.ask_one(agent, "/v1/status/leader", timeout_s=timeout_s)
        round_trips_s.append(loop.time() - sent_s)
    if leader.status != 200:
        raise failures.failure(leader.status, leader.body, agent=endpoint, writes=False)
    peers = await agents.ask_one(agent, "/v1/status/peers", timeout_s=timeout_s)
    about = await agents.ask_one(agent, "/v1/agent/self", timeout_s=timeout_s)
    said = _object(about) if about.status == 200 else None
    health = EndpointHealth(
        endpoint,
        None if _value(leader) else "this agent knows no cluster leader",
        version=_at(said, "Config", "Version"),
        round_trip_s=statistics.median(round_trips_s),
        is_store_leader=_is_leader(said),
    )
    known_peers = _value(peers)
    return _Seen(health, len(known_peers) if isinstance(known_peers, list) else None, said)


def _warnings(seen: list[_Seen], settings: Settings) -> list[str]:
    warnings = []
    if any(found.servers == 1 for found in seen):
        warnings.append("This Consul has one server: while it is down, nobody can be elected or keep leading.")
    if settings.checks:
        warnings.append(
            f"Sessions depend on the health checks {', '.join(settings.checks)}: they can end long before their TTL, "
            "as soon as a check fails, and then another may lead while this process still believes that it does."
        )
    if settings.lock_delay_s:
        warnings.append(f"After a crash nobody can be elected for {settings.lock_delay_s:g} s more (lock_delay_s).")
    if settings.tls and not settings.tls.verify:
        warnings.append("CONSUL_HTTP_SSL_VERIFY=false: anyone on the way can pose as Consul and read the token.")
    for found in seen:
        warnings += _agent_warnings(found)
    return warnings


def _agent_warnings(found: _Seen) -> list[str]:
    endpoint, agent = found.health.endpoint, found.agent
    if agent is None:
        return []
    warnings = []
    most = _connections_max(found)
    if most is not None and most < _PROCESSES_FEW * CONNECTIONS_MAX:
        warnings.append(
            f"Agent {endpoint} takes {most} connections from one host, all its processes together "
            f"(limits.http_max_conns_per_client): one process with many elections may need {CONNECTIONS_MAX}, and who "
            "finds no place cannot renew."
        )
    if _at(agent, "Config", "Server"):
        shortest = _at(agent, "DebugConfig", "SessionTTLMin")
        if shortest in (None, "", "0s", "10s"):
            warnings.append(f"Server {endpoint} refuses a TTL below 10 s (its agent option session_ttl_min).")
    elif _at(agent, "DebugConfig", "LeaveOnTerm"):
        warnings.append(
            f"Client agent {endpoint} leaves the cluster when it is stopped (leave_on_terminate): "
            "every session made through it ends then, and with it every leadership held through it."
        )
    return warnings


def _connections_max(found: _Seen) -> int | None:
    """How many connections the agent takes from one address; None if it does not say, or takes any number."""
    most = _at(found.agent, "DebugConfig", "HTTPMaxConnsPerClient")
    return most if isinstance(most, int) and most > 0 else None


def _kind(agent: dict[str, Any]) -> str:
    kind = "server" if _at(agent, "Config", "Server") else "client"
    return f"{kind} {_at(agent, 'Config', 'NodeName')} in datacenter {_at(agent, 'Config', 'Datacenter')}"


def _is_leader(agent: dict[str, Any] | None) -> bool | None:
    says = _at(agent, "Stats", "consul", "leader")
    return None if says is None else says == "true"


def _value(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        return None


def _object(answer: Answer) -> dict[str, Any] | None:
    value = _value(answer)
    return value if isinstance(value, dict) else None


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
