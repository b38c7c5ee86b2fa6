"""`import leasekit` costs little: no backend and no optional package comes with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = (
    "grpc",
    "google",
    "aiohttp",
    "consul",
    "cronsim",
    "requests",
    "rich",
    "pytest",
    "multiprocessing",
    "sqlalchemy",
    "redis",
    "httpx",
    "prometheus_client",
    "opentelemetry",
    "leasekit.backends.",
)


@pytest.mark.parametrize(
    "module",
    [
        "leasekit",
        "leasekit.cli.main",
        "leasekit.cli.cron",
        "leasekit.cli.health",
        "leasekit.observability.health",
        "leasekit.fencing.sql",
        "leasekit.backends.memory",
        "leasekit.backends.sqlite",
    ],
)
def test_importing_brings_no_optional_package(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = [name for name in imported if name.startswith(_HEAVY) and not name.startswith(module)]
    assert module in imported
    assert heavy == []


def test_asking_who_leads_brings_nothing_that_only_leaders_need() -> None:
    # Scripts ask every second, and every module costs a millisecond.
    program = "import sys, leasekit.cli.show, leasekit.connection; print(*sys.modules, sep='\\n')"
    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    not_needed = (
        "leasekit.observability",
        "leasekit.schedule",
        "leasekit.elector",
        "leasekit.keeper",
        "leasekit.audit",
    )
    assert [name for name in imported if name.startswith(not_needed)] == []
