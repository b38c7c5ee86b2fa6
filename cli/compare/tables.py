"""A comparison as text: what was measured, what each store promises, what is missing. Pure, save for the terminal's width
and colours (`leasekit.cli.render`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leasekit.cli import render
from leasekit.cli.compare import figures
from leasekit.cli.compare.metrics import METRICS, SCENARIOS, Metric, Unit
from leasekit.cli.compare.results import Comparison, Promises, StoreResult

FAILOVER = next(metric for metric in METRICS if metric.name == "failover_s")
_SCENARIO_TITLES = {scenario.name: scenario.title for scenario in SCENARIOS}
_UNIT_NAMES = {Unit.BYTES: "B", Unit.PERCENT: "%", Unit.MIB: "MiB"}


def as_text(comparison: Comparison) -> str:
    """The whole of it."""
    parts = [machine_line(comparison), settings_line(comparison), ""]
    if comparison.metrics:
        parts += [_table(*measured(comparison)), "", "median, and the slowest or most where rounds differ", ""]
    if any(store.promises for store in comparison.stores):
        parts += [_table(*promised(comparison)), ""]
    parts += [figures.printable(f"{subject}: {text}") for subject, text in remarks(comparison)]
    return "\n".join(parts).rstrip("\n")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[figures.printable(cell) for cell in row] for row in rows]
    return render.table([figures.printable(head) for head in heads], cells)


def measured(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: a row for each figure, a column for each store that could be measured."""
    stores = [store for store in comparison.stores if store.error is None]
    rows = []
    for metric in comparison.metrics:
        scale, unit = scale_of(metric, [store.of(metric) for store in stores])
        name = f"{metric.title}, {unit}" if unit else metric.title
        rows.append([name, *(cell(metric, store.of(metric), scale) for store in stores)])
    return ["", *(store.title for store in stores)], rows


def promised(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: what each store promises, and with it the failovers that were measured."""
    stores = [store for store in comparison.stores if store.promises is not None]
    columns = [_promised(store, store.promises) for store in stores if store.promises is not None]
    names = list(columns[0]) if columns else []
    return ["", *(store.title for store in stores)], [[name, *(column[name] for column in columns)] for name in names]


def _promised(store: StoreResult, promises: Promises) -> dict[str, str]:
    found = figures.summary(store.of(FAILOVER))
    return {
        "version": store.version or figures.NOTHING,
        "shortest ttl": f"{promises.ttl_min_s:g} s",
        "ttl granted here": f"{promises.ttl_s:g} s",
        "lease gone within": f"{promises.expires_within_s:.1f} s",
        "failover here, median": f"{found.median:.2f} s" if found else figures.NOTHING,
        "failover here, slowest": f"{found.most:.2f} s" if found else figures.NOTHING,
        "survives a restart": "yes" if promises.durable else "no",
        "tells its own time": "yes" if promises.server_time else "no",
    }


def remarks(comparison: Comparison) -> list[tuple[str, str]]:
    """What is missing, of which store, and why."""
    said = []
    for store in comparison.stores:
        if store.error is not None:
            said.append((store.title, f"could not be measured: {store.error}"))
        said += [(store.title, f"{_SCENARIO_TITLES[name]}: failed: {why}") for name, why in store.failed.items()]
        said += [(store.title, f"{_SCENARIO_TITLES[name]}: {_lapsed(count)}") for name, count in store.lapsed.items()]
        said += [(store.title, f"{_SCENARIO_TITLES[name]}: left out: {why}") for name, why in store.left_out.items()]
    return said + [(name, f"left out: {why}") for name, why in comparison.not_found.items()]


def _lapsed(count: int) -> str:
    return f"{count} samples do not count, since the lease had run out before: this machine is too busy for such leases"


def machine_line(comparison: Comparison) -> str:
    """This machine in a line."""
    about: Mapping[str, Any] = comparison.machine
    packages = "".join(f", {name} {version}" for name, version in about["packages"].items())
    load = f"load {about['load_before']:g} before"
    if "load_after" in about:
        load += f", {about['load_after']:g} after"
    return (
        f"{about['cores']} cores ({about['processor']}), {about['memory_gib']:g} GiB, {about['system']}, "
        f"Python {about['python']}, SQLite {about['sqlite']}{packages}; {load}"
    )


def settings_line(comparison: Comparison) -> str:
    """What was asked for, in a line."""
    return (
        f"leasekit {comparison.version}, leases of {comparison.ttl_s:g} s, {comparison.rounds} rounds, "
        f"{comparison.began}, took {render.duration(comparison.took_s)}; servers and processes on this machine alone"
    )


def scale_of(metric: Metric, of_stores: Sequence[Sequence[float]]) -> tuple[float, str]:
    """By what the samples are multiplied for people, and the name of that unit: the same along a row."""
    if metric.unit is not Unit.SECONDS:
        return 1.0, _UNIT_NAMES.get(metric.unit, "")
    medians = [found.median for samples in of_stores if (found := figures.summary(samples)) is not None]
    return (1000.0, "ms") if max(medians, default=0.0) < 1 else (1.0, "s")


def cell(metric: Metric, samples: Sequence[float], scale: float) -> str:
    """One store's figure: the median, and the most where they differ."""
    found = figures.summary(samples)
    if found is None:
        return figures.NOTHING
    if metric.unit in (Unit.YES, Unit.TIMES):
        return f"{sum(samples):.0f} of {found.count}"
    median, most = figures.number(found.median * scale), figures.number(found.most * scale)
    return median if median == most else f"{median} ({most})"


def where_measured(metric: Metric, comparison: Comparison) -> list[StoreResult]:
    """The stores that have samples of this figure."""
    return [store for store in comparison.stores if store.of(metric)]
