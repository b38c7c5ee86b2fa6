"""What needs a package of its own costs nothing until it is asked for, and says what to install when that package is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

_WITHOUT = """
import sys
sys.modules[{package!r}] = None
try:
    import leasekit.{module}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "package", "advice"),
    [
        ("integrations.apscheduler", "apscheduler", "pip install 'leasekit[apscheduler]'"),
        ("integrations.pytest", "pytest", "pip install pytest"),
        ("observability.prometheus", "prometheus_client", "pip install 'leasekit[prometheus]'"),
        ("observability.opentelemetry", "opentelemetry", "pip install 'leasekit[opentelemetry]'"),
    ],
)
def test_what_to_install_is_said_when_the_package_is_missing(module: str, package: str, advice: str) -> None:
    program = _WITHOUT.format(package=package, module=module)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert advice in said


@pytest.mark.parametrize("module", ["asgi", "systemd"])
def test_those_that_need_no_package_bring_none(module: str) -> None:
    program = f"import sys, leasekit.integrations.{module}; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    brought = {"fastapi", "starlette", "uvicorn", "apscheduler", "pytest", "grpc", "aiohttp"} & set(loaded)
    assert brought == set()
