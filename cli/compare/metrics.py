"""What is measured: scenarios, and the figures that each yields. Pure. The names are those of the JSON, and stay."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Unit(enum.Enum):
    """What the samples of a figure are."""

    SECONDS = "s"
    COUNT = "count"
    BYTES = "bytes"
    PER_MINUTE = "per_minute"
    PERCENT = "percent_of_a_core"
    MIB = "mib"
    YES = "yes"
    """1 or 0 in each round."""
    TIMES = "times"
    """So many in each round: the sum tells."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure. `about` says how it is measured, in a sentence."""

    name: str
    scenario: str
    title: str
    unit: Unit
    about: str
    plotted: bool = True


@dataclass(frozen=True, slots=True)
class Scenario:
    """A part of the comparison. `kills_servers`: it takes a store of three, and one that is ours to harm."""

    name: str
    title: str
    kills_servers: bool = False


SCENARIOS = (
    Scenario("acquire", "acquire and release"),
    Scenario("handover", "handover"),
    Scenario("watch", "watch latency"),
    Scenario("renewal", "renewal"),
    Scenario("requests", "requests of a handover"),
    Scenario("idle", "idle load"),
    Scenario("paused", "a paused leader"),
    Scenario("failover", "failover of the leader"),
    Scenario("store-failover", "failover of the store's own leader", kills_servers=True),
)
SCENARIO_NAMES = tuple(scenario.name for scenario in SCENARIOS)

METRICS = (
    Metric(
        "acquire_s",
        "acquire",
        "acquire + release",
        Unit.SECONDS,
        "One process, nobody else in the queue, a lease in hand: elected and resigned again.",
    ),
    Metric(
        "handover_s",
        "handover",
        "handover",
        Unit.SECONDS,
        "From the moment the leader begins to resign until the next one, in another process, knows that it leads.",
    ),
    Metric(
        "watch_s",
        "watch",
        "put seen elsewhere",
        Unit.SECONDS,
        "From the moment a put is sent by one process until the watch of another one tells it.",
    ),
    Metric("renewal_s", "renewal", "renewal", Unit.SECONDS, "One renewal of a lease, until it counts."),
    Metric(
        "renewal_requests",
        "renewal",
        "requests of a renewal",
        Unit.COUNT,
        "Messages to the store for one renewal, counted on the way.",
        plotted=False,
    ),
    Metric(
        "renewal_bytes",
        "renewal",
        "bytes of a renewal",
        Unit.BYTES,
        "To the store and back for one renewal, without TCP's own.",
        plotted=False,
    ),
    Metric(
        "handover_requests",
        "requests",
        "requests of a handover",
        Unit.COUNT,
        "Messages to the store by both processes, counted on the way, from a resignation until all is quiet: the next "
        "leader's election, the record of the past, the watches, and the old leader's queueing anew.",
    ),
    Metric(
        "handover_calls",
        "requests",
        "store calls of a handover",
        Unit.COUNT,
        "The same in calls of leasekit's store contract, which are the same on every store.",
        plotted=False,
    ),
    Metric(
        "idle_requests_per_minute",
        "idle",
        "requests/min, idle",
        Unit.PER_MINUTE,
        "One leader and one waiting candidate, and nothing happens: messages to the store.",
        plotted=False,
    ),
    Metric(
        "idle_calls_per_minute",
        "idle",
        "store calls/min, idle",
        Unit.PER_MINUTE,
        "The same in calls of leasekit's store contract.",
        plotted=False,
    ),
    Metric(
        "idle_cpu_percent",
        "idle",
        "processor, both clients",
        Unit.PERCENT,
        "Processor time of the two processes meanwhile, in percent of one core.",
        plotted=False,
    ),
    Metric(
        "idle_server_cpu_percent",
        "idle",
        "processor, servers",
        Unit.PERCENT,
        "Processor time of all servers of the store meanwhile, in percent of one core.",
        plotted=False,
    ),
    Metric(
        "idle_server_mib",
        "idle",
        "memory, servers",
        Unit.MIB,
        "Resident memory of all servers of the store.",
        plotted=False,
    ),
    Metric(
        "paused_late_s",
        "paused",
        "believed after deadline",
        Unit.SECONDS,
        "A leader's process is stopped (SIGSTOP) until another leads, and goes on: for how long after its deadline "
        "it still answered that it leads.",
        plotted=False,
    ),
    Metric(
        "paused_noticed_s",
        "paused",
        "woken until told",
        Unit.SECONDS,
        "From SIGCONT until the program's callback is told that the leadership is over.",
    ),
    Metric(
        "paused_refused",
        "paused",
        "stale writes refused",
        Unit.TIMES,
        "A write that had been decided on before the pause, sent after it with the old token to an SQL database that "
        "is fenced: refused.",
        plotted=False,
    ),
    Metric("paused_accepted", "paused", "stale writes accepted", Unit.TIMES, "The same: not refused.", plotted=False),
    Metric(
        "failover_s",
        "failover",
        "failover after kill -9",
        Unit.SECONDS,
        "From the kill of the leader's process, at any moment between two renewals, until a waiting one is elected.",
    ),
    Metric(
        "store_failover_write_s",
        "store-failover",
        "store failover: a write",
        Unit.SECONDS,
        "From the kill of the server that leads the store until a write that was begun after it succeeds.",
    ),
    Metric(
        "store_failover_renewal_s",
        "store-failover",
        "store failover: renewals",
        Unit.SECONDS,
        "The longest time meanwhile in which no renewal was confirmed.",
    ),
    Metric(
        "store_failover_survived",
        "store-failover",
        "leadership survived",
        Unit.YES,
        "Whether the leadership of a process outlived it.",
        plotted=False,
    ),
)
