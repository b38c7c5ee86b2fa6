"""Metrics for Prometheus (`pip install 'leasekit[prometheus]'`).

    from leasekit.observability import prometheus
    prometheus.install()

What counts up is counted as it happens; what stands so *now* is computed when it is scraped, so that a process that was
paused beyond its lease never shows itself as the leader. Labels hold names of elections and resources, never ids, tokens
or URLs. prometheus_client's multiprocess mode knows no custom collectors: let each process be scraped by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from leasekit.errors import LossReason
from leasekit.observability import live
from leasekit.observability.events import RENEWAL_BUCKETS_S, Elected, Ended, Event, Refused, Renewal
from leasekit.observability.hub import HUB, Relay
from leasekit.observability.names import OTHERS, Names

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
except ImportError as error:
    raise ImportError("this needs prometheus_client: pip install 'leasekit[prometheus]'") from error

_REASONS = ("elected", *(reason.value for reason in LossReason if reason is not LossReason.FORKED))
"""A fork has no part in the counts: it is another process."""
SCRAPE_WAITS_S = 0.5
"""At most, for what happened before the scrape to be counted in it."""


@dataclass(frozen=True, slots=True)
class _Timings:
    """A histogram. Immutable, so that a scrape sees one consistent whole."""

    counts: tuple[int, ...] = (0,) * (len(RENEWAL_BUCKETS_S) + 1)
    total_s: float = 0.0

    def with_one(self, took_s: float) -> _Timings:
        at = bisect_left(RENEWAL_BUCKETS_S, took_s)
        counts = tuple(count + (place == at) for place, count in enumerate(self.counts))
        return replace(self, counts=counts, total_s=self.total_s + took_s)

    def buckets(self) -> list[tuple[str, float]]:
        edges = [*map(str, RENEWAL_BUCKETS_S), "+Inf"]
        return list(zip(edges, accumulate(self.counts), strict=True))


class _Collector:
    """Counts on the listener's thread; any thread may collect."""

    def __init__(self) -> None:
        self._elections = Names()
        self._resources = Names()
        self._transitions: dict[tuple[str, str], int] = {}
        self._refusals: dict[tuple[str, str], int] = {}
        self._renewals: dict[tuple[str, str], _Timings] = {}
        self.relay = Relay(self.hear)

    def hear(self, event: Event) -> None:
        match event:
            case Elected(election):
                self._count_transition(election, "elected")
            case Ended(election, reason=reason):
                self._count_transition(election, reason.value)
            case Renewal(scheme, outcome, took_s):
                timings = self._renewals.get((scheme, outcome.value), _Timings())
                self._renewals[scheme, outcome.value] = timings.with_one(took_s)
            case Refused(resource, election):
                key = (self._resources(resource), self._elections(election))
                self._refusals[key] = self._refusals.get(key, 0) + 1

    def _count_transition(self, election: str, reason: str) -> None:
        key = (self._elections(election), reason)
        self._transitions[key] = self._transitions.get(key, 0) + 1

    def describe(self) -> Iterator[Metric]:
        """The metrics without values: what the registry compares, so that they are not installed twice."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        self.relay.flush(SCRAPE_WAITS_S)
        is_leader, transitions, renewals, remaining, refusals, waiting = families = _families()
        standings = {standing.election: standing for standing in live.standings()}
        # Who led here once is shown as not leading, and does not just vanish.
        once = {election for election, _ in list(self._transitions)} - {OTHERS}
        for election in sorted({*standings, *once}):
            if self._elections(election) != election:
                continue  # one of too many: only counted
            standing = standings.get(election)
            is_leader.add_metric([election], float(standing is not None and standing.leads))
            for reason in _REASONS:  # with 0 from the start: Prometheus sees no increase in what was not there
                self._transitions.setdefault((election, reason), 0)
            remaining.add_metric([election], standing.remaining_s if standing is not None else 0.0)
            if standing is not None and standing.waiting is not None:
                waiting.add_metric([election], standing.waiting)
        for labels, count in self._transitions.copy().items():
            transitions.add_metric(labels, count)
        for labels, count in self._refusals.copy().items():
            refusals.add_metric(labels, count)
        for labels, timings in self._renewals.copy().items():
            renewals.add_metric(labels, timings.buckets(), timings.total_s)
        yield from families


def _families() -> tuple[
    GaugeMetricFamily,
    CounterMetricFamily,
    HistogramMetricFamily,
    GaugeMetricFamily,
    CounterMetricFamily,
    GaugeMetricFamily,
]:
    return (
        GaugeMetricFamily(
            "leasekit_is_leader", "1 while this process leads the election, else 0.", labels=["election"]
        ),
        CounterMetricFamily(
            "leasekit_transitions",
            "Leaderships of this process that began (reason elected) or ended, by the reason.",
            labels=["election", "reason"],
        ),
        HistogramMetricFamily(
            "leasekit_renewal_seconds",
            "Attempts to renew a lease, by what became of them.",
            labels=["store", "outcome"],
        ),
        GaugeMetricFamily(
            "leasekit_lease_remaining_seconds",
            "How long this process leads on if no renewal comes through any more; 0 while it does not lead.",
            labels=["election"],
        ),
        CounterMetricFamily(
            "leasekit_fence_refusals",
            "Writes with a stale token that guards in this process refused.",
            labels=["resource", "election"],
        ),
        GaugeMetricFamily(
            "leasekit_queue_length",
            "Candidates that queue behind the leader, as last seen by a candidate of this process.",
            labels=["election"],
        ),
    )


class Installed:
    """The metrics in one registry."""

    def __init__(self, collector: _Collector, registry: CollectorRegistry) -> None:
        self._collector = collector
        self._registry = registry
        self._stop_listening = HUB.add(collector.relay)

    def remove(self) -> None:
        """Take them out again."""
        self._stop_listening()
        self._registry.unregister(self._collector)


def install(registry: CollectorRegistry | None = None) -> Installed:
    """Add leasekit's metrics to `registry` (None: the default one), for all elections of this process.

    Counts begin now; what is computed at each scrape is right from the start. In a server that forks, install after the
    fork. Raises ValueError if the registry has them already.
    """
    chosen = REGISTRY if registry is None else registry
    collector = _Collector()
    chosen.register(collector)
    return Installed(collector, chosen)
