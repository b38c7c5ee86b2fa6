"""Environments apart from this one, for packages that cannot live beside today's: made once, under `.cache/venvs/`."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from support import binaries


def python(name: str) -> Path:
    """The interpreter of the environment of that name in `benchmarks/venvs.py`, which is made if it is not there."""
    cache = binaries.REPOSITORY / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "venvs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make = [sys.executable, "-c", f"from benchmarks import venvs; print(venvs.python({name!r}))"]
        done = subprocess.run(make, capture_output=True, text=True, cwd=binaries.REPOSITORY, check=False)
    if done.returncode:
        binaries.refuse(f"an environment for {name}", f"it could not be made: {done.stderr.strip()[-300:]}")
    return Path(done.stdout.strip())
