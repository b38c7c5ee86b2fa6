"""Wheel, sdist and editable install, each built from a copy of the tree and tried in a clean environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.binaries import REPOSITORY
from support.tree import ROOTS, source_files

_TIMEOUT_S = 240
pytestmark = pytest.mark.timeout(_TIMEOUT_S)

# What a user without any extra can do.
_TRIAL = """
import importlib.util, sys
from importlib.resources import files

import leasekit, leasekit.backends.memory, leasekit.backends.sqlite, leasekit.cli.main, leasekit.fencing, leasekit.testing

for extra in ("grpc", "google.protobuf", "aiohttp", "consul", "rich", "pytest"):
    try:
        found = importlib.util.find_spec(extra)
    except ModuleNotFoundError:
        found = None
    assert found is None, f"{extra} is here: this environment is not clean"
assert files("leasekit").joinpath("py.typed").is_file()
assert files("leasekit.backends.etcd").joinpath("rpc.proto").is_file()

for url in ("memory://", "sqlite:///leases.db"):
    with leasekit.connect(url) as store, leasekit.Election("trial", store=store, ttl_s=2).campaign(timeout_s=10) as led:
        assert led.valid and led.token > 0
for scheme in ("etcd", "consul"):
    try:
        leasekit.connect(f"{scheme}://127.0.0.1:1")
    except leasekit.ConfigError as error:
        assert f"pip install 'leasekit[{scheme}]'" in str(error), error
    else:
        raise AssertionError(f"{scheme} opens without its extra")
print(leasekit.__file__, leasekit.backends.memory.__file__)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tree, so that building leaves nothing in the repository."""
    ignored = shutil.ignore_patterns(
        ".git", ".venv", ".cache", "build", "dist", "*.egg-info", "__pycache__", ".*_cache"
    )
    return Path(shutil.copytree(REPOSITORY, tmp_path / "copy", symlinks=True, ignore=ignored))


def _run(command: Sequence[str | Path], cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _build(kind: str, copy: Path) -> Path:
    _run([sys.executable, "-m", "build", f"--{kind}", "--outdir", copy / "out", copy], copy)
    (built,) = (copy / "out").iterdir()
    return built


def _try_in_clean_environment(folder: Path, *install: str | Path) -> str:
    """Install into a new environment and use leasekit there; returns where its modules come from."""
    environment = folder / "environment"
    _run([sys.executable, "-m", "venv", "--without-pip", environment], folder)
    python = environment / "bin" / "python"
    _run([sys.executable, "-m", "pip", "--python", python, "install", "-q", *install], folder)
    assert "Usage: leasekit" in _run([environment / "bin" / "leasekit", "--help"], folder)
    return _run([python, "-c", _TRIAL], folder)


def _sources() -> set[str]:
    """Every file that must be in the wheel, by its path there."""
    files = {"leasekit/py.typed"}
    for folder, package in ROOTS.items():
        inside = set(source_files().values()) | set((REPOSITORY / folder).rglob("*.proto"))
        inside |= set((REPOSITORY / folder).rglob("*.pyi"))
        within = {file.relative_to(REPOSITORY / folder) for file in inside if file.is_relative_to(REPOSITORY / folder)}
        files |= {f"{package.replace('.', '/')}/{path}" for path in within}
    return files


def test_the_wheel_has_every_module_and_works_without_extras(copy: Path, tmp_path: Path) -> None:
    wheel = _build("wheel", copy)
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == _sources()
    origin = _try_in_clean_environment(tmp_path, wheel)
    assert str(copy) not in origin


def test_the_sdist_builds_into_a_wheel_that_works(copy: Path, tmp_path: Path) -> None:
    sdist = _build("sdist", copy)
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {str(file.relative_to(REPOSITORY)) for file in source_files().values()} <= packed
    assert {"LICENSE", "README.md", "pyproject.toml"} <= packed
    shutil.rmtree(copy / "leasekit")
    origin = _try_in_clean_environment(tmp_path, sdist)
    assert str(copy) not in origin


def test_an_editable_install_runs_from_the_tree(copy: Path, tmp_path: Path) -> None:
    origin = _try_in_clean_environment(tmp_path, "--editable", copy)
    assert [str(copy) in path for path in origin.split()] == [True, True]
