"""What pyproject.toml says of the tree is true. setuptools leaves a forgotten subpackage out without a word."""

from __future__ import annotations

import importlib
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from support.binaries import REPOSITORY
from support.tree import ROOTS, pyproject, source_files

_ENTRY_POINTS = [
    ("console_scripts", pyproject()["project"]["scripts"]),
    *pyproject()["project"]["entry-points"].items(),
]


def test_every_package_of_the_tree_is_listed() -> None:
    in_tree = {name for name, file in source_files().items() if file.name == "__init__.py"}
    assert sorted(pyproject()["tool"]["setuptools"]["packages"]) == sorted(in_tree)


def test_no_module_stands_in_a_folder_that_is_no_package() -> None:
    lost = [file for file in source_files().values() if not (file.parent / "__init__.py").exists()]
    assert lost == []


def test_folders_beside_leasekit_are_mapped_into_it() -> None:
    mapping = pyproject()["tool"]["setuptools"]["package-dir"]
    assert mapping == {package: folder for folder, package in ROOTS.items()}


@pytest.mark.parametrize("folder", ["backends", "cli"])
def test_the_links_are_links_and_committed_as_such(folder: str) -> None:
    assert (REPOSITORY / "leasekit" / folder).readlink() == Path("..", folder)
    if (REPOSITORY / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "--stage", f"leasekit/{folder}"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert listed.stdout.startswith("120000 "), "git has no link here"


@pytest.mark.parametrize(
    ("group", "name", "target"),
    [(group, name, target) for group, entries in _ENTRY_POINTS for name, target in entries.items()],
)
def test_every_entry_point_leads_somewhere(group: str, name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))
    installed = {entry.name: entry.value for entry in entry_points(group=group)}
    assert installed.get(name) == target, "the installed package is out of date: pip install -e ."


def test_the_version_is_said_once_and_the_same() -> None:
    import leasekit

    assert leasekit.__version__ == pyproject()["project"]["version"]
