"""Right calls have the right types and wrong ones are refused, by mypy as users run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.binaries import REPOSITORY

pytest.importorskip("mypy")

API = Path(__file__).with_name("api.py")


def mypy(*files: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), *map(str, files)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.timeout(900)
def test_users_see_the_types_that_were_meant(tmp_path: Path) -> None:
    checked = mypy(API, cache=REPOSITORY / ".mypy_cache")
    assert checked.returncode == 0, checked.stdout
    # The same file with one mistake more: this test can fail.
    broken = tmp_path / "broken.py"
    broken.write_text(API.read_text().replace("job_or_raise(1), bytes)", "job_or_raise(1), str)"))
    checked = mypy(broken, cache=REPOSITORY / ".mypy_cache")
    assert checked.returncode == 1
    assert "[assert-type]" in checked.stdout
    assert "Found 1 error in 1 file" in checked.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert (REPOSITORY / "leasekit" / "py.typed").exists()
