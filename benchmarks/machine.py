"""What the figures were measured on, and how busy it was."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def described() -> str:
    """One paragraph about this machine and the versions in use."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "protobuf", "aiohttp", "py-consul"))
    return (
        f"{os.cpu_count()} cores ({_processor()}), {_memory_gib():.0f} GiB, {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}; {packages}."
    )


def load() -> str:
    """How many processes wanted a core lately."""
    one, five, _ = os.getloadavg()
    return f"load {one:.1f} in the last minute, {five:.1f} in the last five, on {os.cpu_count()} cores"


def revision() -> str:
    """Which leasekit this is."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return git.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def interpreter() -> str:
    """The Python under which leasekit runs here."""
    return sys.executable
