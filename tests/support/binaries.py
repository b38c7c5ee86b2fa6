"""Where the servers under test are found, and what a test does that misses one."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MISSING = "not found here: "
"""Stands in every skip reason of this kind; the terminal summary counts them by it."""


@cache
def find(folder: str, program: str) -> Path | None:
    """`program` of the server package `folder` (etcd-3.4, redis, ...), None if this machine has none.

    Looks in `.cache/servers/` (filled by `make servers`), then in the folder that LEASEKIT_SERVERS names, then on PATH.
    """
    roots = [REPOSITORY / ".cache" / "servers"]
    if named := os.environ.get("LEASEKIT_SERVERS"):
        roots.append(Path(named))
    for root in roots:
        if os.access(root / folder / program, os.X_OK):
            return root / folder / program
    # PATH says nothing of versions, so it stands in for etcd 3.5 and Consul, never for the older etcd.
    found = None if folder == "etcd-3.4" else shutil.which(program)
    return Path(found) if found else None


def require(folder: str, program: str) -> Path:
    """`program` of `folder`; where it is missing the test is skipped, or fails if CI is set (nothing is skipped there)."""
    return find(folder, program) or refuse(f"{folder}/{program}", "`make servers` gets it")


def refuse(what: str, remedy: str) -> NoReturn:
    """End the test: `what` is missing on this machine. A failure in CI, elsewhere a skip that says what to do."""
    reason = f"{MISSING}{what} ({remedy})"
    if in_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def in_ci() -> bool:
    """Whether a missing server is a failure."""
    return os.environ.get("CI", "").lower() in {"true", "1"}
