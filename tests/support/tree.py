"""The source tree as tests of the layout see it: modules by their import names, whichever folder they live in."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from support.binaries import REPOSITORY

ROOTS = {"leasekit": "leasekit", "backends": "leasekit.backends", "cli": "leasekit.cli"}
GENERATED = {"leasekit.backends.etcd.rpc_pb2"}


@dataclass(frozen=True)
class Module:
    """One source file, under the name it is imported by."""

    name: str
    file: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package it stands in (itself, if it is one)."""
        return self.name if self.file.name == "__init__.py" else self.name.rpartition(".")[0]

    def imports(self) -> Iterator[tuple[str, int]]:
        """The modules it imports anywhere, inside functions too, with line numbers."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = self._source(node)
                for alias in node.names:
                    inside = f"{source}.{alias.name}"
                    yield (inside if inside in module_names() else source), node.lineno

    def _source(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.package.split(".")
        base = ".".join(parts[: len(parts) - node.level + 1])
        return f"{base}.{node.module}" if node.module else base

    def at(self, line: int) -> str:
        """Where in the repository."""
        return f"{self.file.relative_to(REPOSITORY)}:{line}"


@cache
def source_files() -> dict[str, Path]:
    """Every source file by import name. The links inside leasekit/ are not followed: each file comes once."""
    files = {}
    for root, package in ROOTS.items():
        for file in sorted((REPOSITORY / root).rglob("*.py")):
            relative = file.relative_to(REPOSITORY / root)
            if any((REPOSITORY / root / parent).is_symlink() for parent in relative.parents):
                continue
            parts = [package, *relative.with_suffix("").parts]
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


@cache
def module_names() -> frozenset[str]:
    """The import names of all modules."""
    return frozenset(source_files())


@cache
def modules() -> tuple[Module, ...]:
    """All modules that people wrote, parsed."""
    return tuple(
        Module(name, file, ast.parse(file.read_text(), str(file)))
        for name, file in source_files().items()
        if name not in GENERATED
    )


@cache
def pyproject() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
