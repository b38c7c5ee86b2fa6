"""Traces and metrics as the real SDK exports them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, get_tracer

import leasekit
from leasekit import LossReason
from leasekit.observability import Elected, Ended, Refused, Renewal, StoreBack, StoreFailing, opentelemetry
from leasekit.observability.events import Outcome
from leasekit.observability.hub import HUB
from leasekit.observability.opentelemetry import Instrumented

PATIENCE_S = 30.0
STORE = "teststore://h1/x"


@dataclass
class Telemetry:
    """What a program that traces and measures sets up, with its exporters in memory."""

    instrumented: Instrumented
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    traces: TracerProvider

    def spans(self, election: str) -> list[ReadableSpan]:
        """The finished ones, of this election."""
        assert self.instrumented.flush(PATIENCE_S)
        spans = self.exporter.get_finished_spans()
        return [span for span in spans if (span.attributes or {}).get("leasekit.election") == election]

    def points(self, metric: str) -> list[Any]:
        """The data points of a metric, as of now."""
        assert self.instrumented.flush(PATIENCE_S)
        data = self.reader.get_metrics_data()
        found = [
            one
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric
        ]
        return list(found[0].data.data_points) if found else []

    def values(self, metric: str) -> dict[tuple[object, ...], float]:
        """The values of a metric by its attributes' values, in the order of their names."""
        return {
            tuple(value for _, value in sorted(point.attributes.items())): point.value for point in self.points(metric)
        }


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces, metrics = TracerProvider(), MeterProvider([reader])
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    instrumented = opentelemetry.instrument(tracer_provider=traces, meter_provider=metrics)
    yield Telemetry(instrumented, exporter, reader, traces)
    instrumented.remove()
    traces.shutdown()
    metrics.shutdown()


def test_a_leadership_is_a_span_from_its_beginning_to_its_end(telemetry: Telemetry, prefix: str) -> None:
    with leasekit.connect(f"memory://{prefix}") as store:
        election = leasekit.Election(prefix, store=store, id="me")
        # It outlives what it begins in, so it is no part of that.
        with telemetry.traces.get_tracer("test").start_as_current_span("request"):
            leadership = election.campaign(timeout_s=PATIENCE_S)
        assert telemetry.spans(prefix) == []
        leadership.resign()
    (span,) = telemetry.spans(prefix)
    assert span.name == "leasekit.leadership"
    assert span.parent is None
    assert dict(span.attributes or {}) == {
        "leasekit.election": prefix,
        "leasekit.id": "me",
        "leasekit.token": leadership.token,
        "leasekit.store": f"memory://{prefix}",
        "leasekit.reason": "resigned",
    }
    assert span.status.status_code is StatusCode.UNSET


def test_its_times_are_those_of_what_happened_not_of_when_it_was_told(telemetry: Telemetry) -> None:
    HUB.tell(Elected("timed", "me", 7, STORE, 1_800_000_000.25))
    HUB.tell(Ended("timed", "me", 7, LossReason.TRANSFERRED, 30.5, 1_800_000_030.75))
    (span,) = telemetry.spans("timed")
    assert (span.start_time, span.end_time) == (1_800_000_000_250_000_000, 1_800_000_030_750_000_000)


@pytest.mark.parametrize("reason", LossReason)
def test_a_leadership_that_was_lost_is_an_error_and_one_that_was_given_up_is_none(
    telemetry: Telemetry, reason: LossReason
) -> None:
    HUB.tell(Elected("ends", "me", 7, STORE, 1.0))
    HUB.tell(Ended("ends", "me", 7, reason, 1.0, 2.0))
    (span,) = telemetry.spans("ends")
    given_up = reason in (LossReason.RESIGNED, LossReason.TRANSFERRED, LossReason.CLOSED)
    assert span.status.status_code is (StatusCode.UNSET if given_up else StatusCode.ERROR)
    assert (span.attributes or {})["leasekit.reason"] == reason.value


def test_what_happens_in_a_leadership_stands_in_its_span_alone(telemetry: Telemetry) -> None:
    HUB.tell(Elected("one", "me", 7, STORE, 1.0))
    HUB.tell(Elected("other", "me", 8, "teststore://h2/x", 1.0))
    HUB.tell(StoreFailing(STORE, True, "StoreUnavailable", "down"))
    HUB.tell(StoreBack(STORE, 2.5))
    HUB.tell(Refused("table", "one", 7, 9))
    HUB.tell(Refused("table", "one", 6, 9))  # by another leadership, of another process perhaps
    HUB.tell(Ended("one", "me", 7, LossReason.DEADLINE, 1.0, 2.0))
    HUB.tell(Ended("other", "me", 8, LossReason.RESIGNED, 1.0, 2.0))
    (one,), (other,) = telemetry.spans("one"), telemetry.spans("other")
    assert [(event.name, dict(event.attributes or {})) for event in one.events] == [
        ("renewal_failing", {"leasekit.error": "StoreUnavailable"}),
        ("store_back", {"leasekit.after_s": 2.5}),
        ("fence_refused", {"leasekit.resource": "table", "leasekit.highest": 9}),
    ]
    assert list(other.events) == []


def test_what_stands_so_now_is_computed_when_it_is_read(
    telemetry: Telemetry, prefix: str, stuck_engine: Callable[[], AbstractContextManager[None]]
) -> None:
    with leasekit.connect(f"memory://{prefix}") as store:
        election = leasekit.Election(prefix, store=store, ttl_s=15)
        with election.campaign(timeout_s=PATIENCE_S), stuck_engine():
            assert telemetry.values("leasekit.is_leader")[prefix,] == 1
            first = telemetry.values("leasekit.lease_remaining")[prefix,]
            second = telemetry.values("leasekit.lease_remaining")[prefix,]
            assert 0 < second < first < 15
            assert telemetry.values("leasekit.queue_length")[prefix,] == 0
        assert telemetry.values("leasekit.is_leader")[prefix,] == 0
        assert telemetry.values("leasekit.lease_remaining")[prefix,] == 0


def test_what_happens_is_counted(telemetry: Telemetry) -> None:
    for token in range(3):
        HUB.tell(Elected("counted", "me", token, STORE, 1.0))
        HUB.tell(Ended("counted", "me", token, LossReason.DEADLINE, 1.0, 2.0))
    HUB.tell(Refused("counted-table", "counted", 1, 2))
    for took_s in (0.002, 0.2):
        HUB.tell(Renewal("teststore", Outcome.RENEWED, took_s))
    transitions = telemetry.values("leasekit.transitions")
    assert (transitions["counted", "elected"], transitions["counted", "deadline"]) == (3, 3)
    assert telemetry.values("leasekit.fence_refusals")["counted", "counted-table"] == 1
    (point,) = [point for point in telemetry.points("leasekit.renewal") if point.attributes["store"] == "teststore"]
    assert (point.count, point.attributes["outcome"]) == (2, "renewed")
    # Seconds need other buckets than the SDK's own, which are meant for milliseconds.
    assert point.explicit_bounds[0] == 0.001
    assert [count for count in point.bucket_counts if count] == [1, 1]


def test_what_was_removed_says_nothing_more(telemetry: Telemetry) -> None:
    HUB.tell(Elected("removed", "me", 7, STORE, 1.0))
    assert telemetry.instrumented.flush(PATIENCE_S)
    telemetry.instrumented.remove()
    HUB.tell(Elected("later", "me", 8, STORE, 1.0))
    spans = telemetry.exporter.get_finished_spans()
    assert [(span.attributes or {})["leasekit.election"] for span in spans] == ["removed"]
    assert "leasekit.reason" not in (spans[0].attributes or {})
    assert telemetry.points("leasekit.is_leader") == []


def test_without_an_sdk_nothing_happens_and_nothing_breaks(prefix: str) -> None:
    assert not get_tracer("leasekit").start_span("none").is_recording()
    instrumented = opentelemetry.instrument()
    with leasekit.connect(f"memory://{prefix}") as store:
        election = leasekit.Election(prefix, store=store)
        with election.campaign(timeout_s=PATIENCE_S) as leadership:
            assert leadership.valid
    assert instrumented.flush(PATIENCE_S)
    instrumented.remove()
