"""What came out: a data model, and its JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from leasekit.cli.compare import figures
from leasekit.cli.compare.metrics import METRICS, Metric

# Below a nanosecond is noise of the clock's binary fractions.
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Promises:
    """What the store says of itself (`leasekit.store.Capabilities`), and the lease that it granted."""

    ttl_min_s: float
    ttl_max_s: float
    ttl_s: float
    """As granted."""
    expires_within_s: float
    """How long after its last renewal a lease of that ttl is surely gone, while the store itself is well."""
    durable: bool
    server_time: bool
    compares_empty: bool


@dataclass(slots=True)
class StoreResult:
    """One store. `error` says why nothing could be measured at all."""

    name: str
    title: str
    servers: int
    url: str | None = None
    """Of a store that was given; None for one that was started for the comparison."""
    version: str | None = None
    promises: Promises | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)
    """By the metric's name."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Scenarios that do not apply here, and why."""
    failed: dict[str, str] = field(default_factory=dict)
    """Scenarios that went wrong, and how."""
    lapsed: dict[str, int] = field(default_factory=dict)
    """Samples that do not count, by scenario: the leader's lease had run out before, on a machine too busy to renew it."""
    error: str | None = None

    def of(self, metric: Metric) -> list[float]:
        """The samples of one figure."""
        return self.samples.get(metric.name, [])


@dataclass(slots=True)
class Comparison:
    """A whole run."""

    version: str
    """Of leasekit."""
    began: str
    """UTC, ISO 8601."""
    machine: Mapping[str, Any]
    ttl_s: float
    rounds: int
    scenarios: Sequence[str]
    stores: list[StoreResult] = field(default_factory=list)
    not_found: dict[str, str] = field(default_factory=dict)
    """Stores that could not be started for want of a program, and what to do."""
    took_s: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether all that was begun came to its end."""
        return not any(store.error or store.failed for store in self.stores)

    @property
    def metrics(self) -> list[Metric]:
        """Those of which any store has samples."""
        return [metric for metric in METRICS if any(store.of(metric) for store in self.stores)]


def as_data(comparison: Comparison) -> dict[str, Any]:
    """The JSON document, without the schema number."""
    return {
        "leasekit": comparison.version,
        "began": comparison.began,
        "took_s": round(comparison.took_s, 1),
        "machine": dict(comparison.machine),
        "settings": {
            "ttl_s": comparison.ttl_s,
            "rounds": comparison.rounds,
            "scenarios": list(comparison.scenarios),
        },
        "complete": comparison.complete,
        "metrics": [
            {
                "name": metric.name,
                "scenario": metric.scenario,
                "title": metric.title,
                "unit": metric.unit.value,
                "about": metric.about,
            }
            for metric in comparison.metrics
        ],
        "stores": [_store(store) for store in comparison.stores],
        "not_found": [{"name": name, "why": why} for name, why in comparison.not_found.items()],
    }


def _store(store: StoreResult) -> dict[str, Any]:
    return {
        "name": store.name,
        "title": store.title,
        "servers": store.servers,
        "url": store.url,
        "version": store.version,
        "error": store.error,
        "promises": None if store.promises is None else asdict(store.promises),
        "measured": {metric.name: _measured(metric, store.of(metric)) for metric in METRICS if store.of(metric)},
        "left_out": dict(store.left_out),
        "failed": dict(store.failed),
        "lapsed": dict(store.lapsed),
    }


def _measured(metric: Metric, samples: Sequence[float]) -> dict[str, Any]:
    found = figures.summary(samples)
    assert found is not None, "only what has samples is asked for"
    return {
        "unit": metric.unit.value,
        "count": found.count,
        "least": _rounded(found.least),
        "lower_quartile": _rounded(found.lower_quartile),
        "median": _rounded(found.median),
        "upper_quartile": _rounded(found.upper_quartile),
        "most": _rounded(found.most),
        "samples": [_rounded(sample) for sample in samples],
    }


def _rounded(value: float) -> float:
    assert math.isfinite(value), "JSON knows no infinity"
    return round(value, _DIGITS)


def from_data(data: Mapping[str, Any]) -> Comparison:
    """A run from its JSON document; what this version does not know is left out."""
    settings = data["settings"]
    return Comparison(
        version=data["leasekit"],
        began=data["began"],
        machine=data["machine"],
        ttl_s=settings["ttl_s"],
        rounds=settings["rounds"],
        scenarios=settings["scenarios"],
        stores=[_read_store(store) for store in data["stores"]],
        not_found={missing["name"]: missing["why"] for missing in data["not_found"]},
        took_s=data["took_s"],
    )


def _read_store(data: Mapping[str, Any]) -> StoreResult:
    promises = data["promises"]
    return StoreResult(
        name=data["name"],
        title=data["title"],
        servers=data["servers"],
        url=data["url"],
        version=data["version"],
        promises=None if promises is None else Promises(**promises),
        samples={name: measured["samples"] for name, measured in data["measured"].items()},
        left_out=dict(data["left_out"]),
        failed=dict(data["failed"]),
        lapsed=dict(data["lapsed"]),
        error=data["error"],
    )
