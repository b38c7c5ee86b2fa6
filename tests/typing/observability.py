"""`leasekit.observability` as its users' type checkers see it. Never run."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_type

from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import leasekit
from leasekit.observability import Elected, Ended, Event, health, opentelemetry, prometheus, subscribe


def listening() -> None:
    def listener(event: Event) -> None:
        match event:
            case Elected():
                assert_type(event.token, int)
            case Ended():
                assert_type(event.reason, leasekit.LossReason)

    assert_type(subscribe(listener), Callable[[], None])
    subscribe(lambda: None)  # type: ignore[arg-type, misc]


def measuring() -> None:
    prometheus.install().remove()
    prometheus.install(CollectorRegistry()).remove()
    telemetry = opentelemetry.instrument(tracer_provider=TracerProvider(), meter_provider=MeterProvider())
    assert_type(telemetry.flush(timeout_s=2), bool)
    telemetry.remove()


def serving() -> None:
    FastAPI().mount("/health", health.app("reports", bound_s=3))
    FastAPI().mount("/health", health.app())
