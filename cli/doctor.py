"""`leasekit doctor`: whether the store answers, what it grants, how long a failover takes, what is unsafe."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from leasekit import clock
from leasekit.cli import exit_codes, render
from leasekit.cli.options import Seconds, one_of, store_options
from leasekit.cli.session import Session, session
from leasekit.core.lease import DRIFT, margin_s
from leasekit.election import DEFAULT_TTL_S
from leasekit.errors import LeasekitError, LeaseLost
from leasekit.keeper import RENEWAL_SHARE
from leasekit.store import Health, Lease, ServerTime, Store

# An etcd failover takes about an election timeout and a bit, during which no renewal is confirmed.
ETCD_TTL_SAFE_S = 5.0
# The decisions do not depend on it, but the times in records become puzzling.
WALL_SKEW_NOTED_S = 2.0
SUSPEND_NOTED_S = 1.0
_RENEWALS = 3
COARSE_CLOCK_SOURCES = ("jiffies", "refined-jiffies", "acpi_pm", "pit")
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_TIME_OFFSETS = Path("/proc/self/timens_offsets")


@dataclass(slots=True)
class Findings:
    """What was found. `error` says why no lease could be had; None if one could."""

    store: str
    health: Health
    asked_ttl_s: float
    granted_ttl_s: float | None = None
    renewal_s: float | None = None
    """How long a renewal takes to be confirmed."""
    failover_within_s: float | None = None
    server_time: ServerTime | None = None
    wall_skew_s: float | None = None
    error: str | None = None
    exit_code: int = exit_codes.OK
    clock: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@click.command()
@click.option(
    "--ttl",
    "ttl_s",
    type=Seconds(positive=True),
    default=f"{DEFAULT_TTL_S:g}",
    show_default=True,
    metavar="S",
    help="The time to live to try.",
)
@one_of("text", "json")
@store_options
@click.pass_context
def doctor(ctx: click.Context, ttl_s: float, output: str) -> None:
    """Check the store and this machine's clocks. Grants one lease and revokes it; writes no key.

    Exits with 0 if leases can be had, 69 if the store cannot be reached. What is unsafe is said as a warning.
    """
    with session(ctx) as store:
        findings = store.run(_examine(store, ttl_s))
    if output == "json":
        click.echo(render.document(**_data(findings)))
    else:
        click.echo("\n".join(_lines(findings)))
    ctx.exit(findings.exit_code)


async def _examine(store: Session, ttl_s: float) -> Findings:
    backend = store.connection.store
    health = await backend.probe(timeout_s=store.timeout_s)
    findings = Findings(store.connection.url, health, ttl_s)
    findings.warnings.extend(health.warnings)
    try:
        lease = await backend.grant(ttl_s, timeout_s=store.timeout_s)
        findings.granted_ttl_s = lease.ttl_s
        try:
            findings.renewal_s = await _renewal_s(backend, lease, store.timeout_s)
        finally:
            await backend.revoke(lease.id, timeout_s=store.timeout_s)
        findings.failover_within_s = backend.capabilities.expires_within_s(lease.ttl_s)
        findings.server_time = await backend.server_time(timeout_s=store.timeout_s)
    except LeasekitError as error:
        findings.error = str(error)
        findings.exit_code = exit_codes.of_error(error)
    if findings.server_time is not None:
        findings.wall_skew_s = clock.SYSTEM_CLOCK.wall_s() - findings.server_time.unix_s
    _examine_ttl(findings)
    _examine_clocks(findings)
    return findings


async def _renewal_s(backend: Store, lease: Lease, timeout_s: float) -> float:
    """How long a renewal takes to be confirmed: the median of a few. A lease that ended meanwhile says enough."""
    took_s = []
    for _ in range(_RENEWALS):
        sent_at = clock.SYSTEM_CLOCK.now()
        try:
            await backend.renew(lease.id, timeout_s=timeout_s)
        except LeaseLost:
            return lease.ttl_s
        took_s.append(-clock.SYSTEM_CLOCK.now().until(sent_at))
    return statistics.median(took_s)


def _examine_ttl(findings: Findings) -> None:
    granted_s = findings.granted_ttl_s
    if granted_s is None:
        return
    if granted_s > findings.asked_ttl_s:
        findings.warnings.append(
            f"asked for a ttl of {findings.asked_ttl_s:g} s, the store grants {granted_s:g} s: failovers take that long"
        )
    counts_within_s = granted_s / RENEWAL_SHARE
    if findings.renewal_s is not None and findings.renewal_s > counts_within_s / 2:
        never = findings.renewal_s > counts_within_s
        findings.warnings.append(
            f"a renewal takes {findings.renewal_s:.2f} s, and counts only if confirmed within {counts_within_s:.2f} s, "
            f"a sixth of the ttl: leaderships {'will' if never else 'may'} be lost at their deadlines. "
            f"Take a ttl of {math.ceil(2 * RENEWAL_SHARE * findings.renewal_s)} s or more"
        )
    if findings.store.startswith("etcd") and granted_s < ETCD_TTL_SAFE_S:
        findings.warnings.append(
            f"a ttl of {granted_s:g} s may not outlast the failover of etcd's own leader: "
            f"take {ETCD_TTL_SAFE_S:g} s or more, or leaderships are lost whenever etcd changes its leader"
        )
    skew_s, server = findings.wall_skew_s, findings.server_time
    if skew_s is not None and server is not None and abs(skew_s) > WALL_SKEW_NOTED_S + server.resolution_s:
        findings.warnings.append(
            f"this machine's wall clock and the store's differ by {abs(skew_s):.1f} s: who leads does not depend on it, "
            f"but times in records will puzzle people"
        )


def _examine_clocks(findings: Findings) -> None:
    now = clock.SYSTEM_CLOCK.now()
    findings.clock = {"source": clock.source(), "kernel_source": _read(_CLOCK_SOURCE), "drift_bound": DRIFT}
    findings.clock["margin_s"] = round(margin_s(findings.granted_ttl_s or findings.asked_ttl_s), 3)
    findings.clock["suspended_s"] = round(max(0.0, now.boot_s - now.raw_s), 1)
    if "BOOTTIME" not in clock.source() and "MONOTONIC_RAW" not in clock.source():
        findings.warnings.append(
            f"this platform has no clock known to count suspend ({clock.source()}): after a suspend, a leader may "
            f"believe too long; let what it writes to check fencing tokens"
        )
    if findings.clock["kernel_source"] in COARSE_CLOCK_SOURCES:
        findings.warnings.append(
            f"the kernel takes its time from {findings.clock['kernel_source']}, which is coarse or drifts: "
            f"the drift bound of {DRIFT:.0%} may not hold"
        )
    if findings.clock["suspended_s"] > SUSPEND_NOTED_S:
        findings.warnings.append(
            f"since it booted, this machine was suspended for {findings.clock['suspended_s']:g} s (or its clock slewed): "
            f"leases run out meanwhile, and leasekit notices on waking; what was late is for the fence to refuse"
        )
    if any(number != "0" for line in _read(_TIME_OFFSETS).splitlines() for number in line.split()[1:]):
        findings.warnings.append(
            "this is a time namespace with clocks of its own: processes outside it cannot share an SQLite store with it"
        )


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _data(findings: Findings) -> dict[str, Any]:
    return {
        "ok": findings.exit_code == exit_codes.OK,
        "store": findings.store,
        "error": findings.error,
        "endpoints": [asdict(endpoint) for endpoint in findings.health.endpoints],
        "details": findings.health.details,
        "ttl": {"asked_s": findings.asked_ttl_s, "granted_s": findings.granted_ttl_s},
        "renewal_s": findings.renewal_s,
        "failover_within_s": findings.failover_within_s,
        "wall_skew_s": findings.wall_skew_s,
        "clock": findings.clock,
        "warnings": findings.warnings,
    }


def _lines(findings: Findings) -> list[str]:
    lines = [f"store      {findings.store}"]
    for endpoint in findings.health.endpoints:
        if endpoint.error is not None:
            lines.append(f"  FAILED   {endpoint.endpoint}: {endpoint.error}")
            continue
        trip = "" if endpoint.round_trip_s is None else f", {endpoint.round_trip_s * 1000:.1f} ms"
        version = "" if endpoint.version is None else f", version {endpoint.version}"
        leads = ", leads the store" if endpoint.is_store_leader else ""
        lines.append(f"  ok       {endpoint.endpoint}{version}{trip}{leads}")
    lines += [f"  {name}: {value}" for name, value in findings.health.details.items()]
    if findings.error is not None or findings.renewal_s is None:
        lines.append(f"lease      FAILED: {findings.error}")
    else:
        lines.append(f"lease      granted for {findings.granted_ttl_s:g} s (asked {findings.asked_ttl_s:g} s), revoked")
        lines.append(f"renewal    confirmed in {findings.renewal_s * 1000:.1f} ms")
        lines.append(
            f"failover   within {findings.failover_within_s:.1f} s of a leader's last renewal, "
            f"while the store itself is well"
        )
    kernel = f", from {findings.clock['kernel_source']}" if findings.clock["kernel_source"] else ""
    lines.append(f"clocks     {findings.clock['source']}{kernel}")
    lines.append(
        f"margin     {findings.clock['margin_s']:g} s before the lease's end: clock rates may differ by {DRIFT:.0%}"
    )
    lines += [f"WARNING    {warning}" for warning in findings.warnings]
    return lines
