"""Traces and metrics for OpenTelemetry (`pip install 'leasekit[opentelemetry]'`: the API alone, the SDK is yours).

    from leasekit.observability import opentelemetry
    opentelemetry.instrument()

A leadership is a span, `leasekit.leadership`, from its beginning to its end with the reason; what happens in it is a span
event. The instruments are those of `leasekit.observability.prometheus`, named as OpenTelemetry names them: exported to
Prometheus they have the same names. What stands so *now* is computed when it is read. Of the API only traces and metrics
are used: its log events are not stable yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import leasekit
from leasekit.observability import live
from leasekit.observability.events import (
    GIVEN_UP,
    RENEWAL_BUCKETS_S,
    Elected,
    Ended,
    Event,
    Refused,
    Renewal,
    StoreBack,
    StoreFailing,
)
from leasekit.observability.hub import HUB, Relay
from leasekit.observability.live import Standing
from leasekit.observability.names import Names

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
except ImportError as error:
    raise ImportError("this needs OpenTelemetry's API: pip install 'leasekit[opentelemetry]'") from error

SCOPE = "leasekit"


class _Spans:
    """The leaderships of this process as spans. Used by the listener's thread alone, but for `end_all`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[tuple[str, str, int], tuple[Span, str]] = {}
        self._lock = threading.Lock()

    def hear(self, event: Event) -> None:
        with self._lock:
            match event:
                case Elected():
                    self._begin(event)
                case Ended():
                    self._end(event)
                case StoreFailing(store, renewing=True, error=error):
                    self._note(lambda on, _: on == store, "renewal_failing", {"leasekit.error": error})
                case StoreBack(store, after_s):
                    self._note(lambda on, _: on == store, "store_back", {"leasekit.after_s": after_s})
                case Refused(resource, election, token, highest):
                    told: dict[str, str | int | float] = {"leasekit.resource": resource, "leasekit.highest": highest}
                    self._note(lambda _, key: (key[0], key[2]) == (election, token), "fence_refused", told)

    def end_all(self) -> None:
        """Nobody listens any more: what goes on is not told of."""
        with self._lock:
            for span, _ in self._open.values():
                span.end()
            self._open.clear()

    def _begin(self, event: Elected) -> None:
        span = self._tracer.start_span(
            "leasekit.leadership",
            context=Context(),  # of its own: it outlives whatever it began in
            kind=SpanKind.INTERNAL,
            attributes={
                "leasekit.election": event.election,
                "leasekit.id": event.id,
                "leasekit.token": event.token,
                "leasekit.store": event.store,
            },
            start_time=_ns(event.wall_s),
        )
        self._open[event.election, event.id, event.token] = (span, event.store)

    def _end(self, event: Ended) -> None:
        span, _ = self._open.pop((event.election, event.id, event.token), (None, ""))
        if span is None:  # it began before anybody listened
            return
        span.set_attribute("leasekit.reason", event.reason.value)
        if event.reason not in GIVEN_UP:
            span.set_status(Status(StatusCode.ERROR, f"lost: {event.reason.value}"))
        span.end(_ns(event.wall_s))

    def _note(
        self,
        concerns: Callable[[str, tuple[str, str, int]], bool],
        name: str,
        told: dict[str, str | int | float],
    ) -> None:
        for key, (span, store) in self._open.items():
            if concerns(store, key):
                span.add_event(name, told)


class _Instruments:
    """The metrics."""

    def __init__(self, meter: Meter) -> None:
        self._elections = Names()
        self._resources = Names()
        self._on = True
        self._transitions = meter.create_counter(
            "leasekit.transitions", description="Leaderships that began (reason elected) or ended, by the reason."
        )
        self._renewals = meter.create_histogram(
            "leasekit.renewal",
            unit="s",
            description="Attempts to renew a lease, by what became of them.",
            explicit_bucket_boundaries_advisory=RENEWAL_BUCKETS_S,
        )
        self._refusals = meter.create_counter(
            "leasekit.fence_refusals", description="Writes with a stale token that guards here refused."
        )
        gauges: list[tuple[str, str, str, Callable[[Standing], float | None]]] = [
            ("leasekit.is_leader", "", "1 while this process leads, else 0.", lambda one: int(one.leads)),
            ("leasekit.lease_remaining", "s", "How long it leads on unrenewed.", lambda one: one.remaining_s),
            ("leasekit.queue_length", "", "Candidates behind the leader, as last seen.", lambda one: one.waiting),
        ]
        for name, unit, description, of in gauges:
            meter.create_observable_gauge(name, [self._observed(of)], unit=unit, description=description)

    def hear(self, event: Event) -> None:
        match event:
            case Elected(election):
                self._transitions.add(1, {"election": self._elections(election), "reason": "elected"})
            case Ended(election, reason=reason):
                self._transitions.add(1, {"election": self._elections(election), "reason": reason.value})
            case Renewal(scheme, outcome, took_s):
                self._renewals.record(took_s, {"store": scheme, "outcome": outcome.value})
            case Refused(resource, election):
                names = {"resource": self._resources(resource), "election": self._elections(election)}
                self._refusals.add(1, names)

    def end(self) -> None:
        """An observable instrument cannot be taken back: from now on it observes nothing."""
        self._on = False

    def _observed(self, of: Callable[[Standing], float | None]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for standing in live.standings() if self._on else ():
                value = of(standing)
                if value is not None and self._elections(standing.election) == standing.election:
                    yield Observation(value, {"election": standing.election})

        return observe


class Instrumented:
    """What `instrument` began."""

    def __init__(self, spans: _Spans, instruments: _Instruments) -> None:
        self._spans = spans
        self._instruments = instruments
        # Two threads, since an exporter of spans may take its time.
        self._relays = Relay(spans.hear), Relay(instruments.hear)
        self._stop = [HUB.add(relay) for relay in self._relays]

    def flush(self, timeout_s: float = 1.0) -> bool:
        """Wait until what happened has been handed to OpenTelemetry; False if that takes longer than `timeout_s`."""
        told = [relay.flush(timeout_s) for relay in self._relays]
        return all(told)

    def remove(self) -> None:
        """Tell OpenTelemetry no more. Leaderships that go on end as spans now, without a reason."""
        for stop in self._stop:
            stop()
        self.flush()
        self._instruments.end()
        self._spans.end_all()


def instrument(
    *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Instrumented:
    """Tell OpenTelemetry of all elections of this process from now on. None: the global providers.

    Once for a process: each call makes spans and instruments of its own. In a server that forks, after the fork.
    """
    tracer = trace.get_tracer(SCOPE, leasekit.__version__, tracer_provider)
    meter = metrics.get_meter(SCOPE, leasekit.__version__, meter_provider)
    return Instrumented(_Spans(tracer), _Instruments(meter))


def _ns(wall_s: float) -> int:
    return round(wall_s * 1e6) * 1000  # a float has no more digits
