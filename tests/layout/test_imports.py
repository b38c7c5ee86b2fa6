"""Imports run one way, backends are reached through entry points alone, and the pure rooms are pure."""

from __future__ import annotations

import ast
import sys

import pytest

from support.tree import Module, modules

# From the ground up: a module imports from its own floor and those below. Whatever is not named stands on the
# faces' floor, so that what a lower floor needs must be given its place here first.
_FLOORS: list[set[str]] = [
    {"leasekit.errors", "leasekit.clock", "leasekit.suspending", "leasekit.greenlets"},
    {"leasekit.store", "leasekit.untaken", "leasekit.urls", "leasekit.core"},
    {"leasekit.backends"},
    {
        "leasekit.connection", "leasekit.elector", "leasekit.engine", "leasekit.history", "leasekit.journal",
        "leasekit.journal_file",
        "leasekit.keeper", "leasekit.retry", "leasekit.schemes", "leasekit.tenure", "leasekit.watches",
        *(f"leasekit.observability.{module}" for module in ("events", "hub", "logs", "store_news")),
    },
    set(),
    {"leasekit.cli", "leasekit.testing", "leasekit.integrations.pytest", "leasekit.__main__"},
]  # fmt: skip
_FACES = 4

_BACKENDS_MAY_IMPORT = {
    "leasekit.store", "leasekit.core", "leasekit.clock", "leasekit.errors", "leasekit.urls", "leasekit.suspending",
    "leasekit.untaken", "leasekit.greenlets",
}  # fmt: skip

_IMPURE = {
    "asyncio", "concurrent", "contextvars", "fcntl", "grpc", "aiohttp", "consul", "http", "io", "multiprocessing", "os",
    "pathlib", "queue", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl",
    "subprocess", "sys", "tempfile", "tenacity", "threading", "time", "urllib.request", "uuid",
}  # fmt: skip
_PURE = {
    "leasekit.audit",
    "leasekit.core",
    *(f"leasekit.schedule.{room}" for room in ("pattern", "plan", "records", "times")),
    *(f"leasekit.backends.raft.{room}" for room in ("core", "kv", "server", "wire")),
    *(f"leasekit.cli.compare.{part}" for part in ("figures", "metrics", "page", "plots", "results", "tables")),
}
_WALL_CLOCKS = {"now", "utcnow", "today"}

# `Random` is a type here, and seeded: the generator itself is an argument.
_GENERATORS = {"Random", "SystemRandom"}


def _within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _floor(name: str) -> int:
    return next((number for number, floor in enumerate(_FLOORS) if _within(name, floor)), _FACES)


def _own_backend(name: str) -> str:
    """The package (or single module) that a backend consists of."""
    return ".".join(name.split(".")[:3])


def _pure_rooms() -> list[Module]:
    return [m for m in modules() if _within(m.name, _PURE) or m.name.endswith(".wire")]


def test_imports_run_one_way() -> None:
    wrong = [
        f"{module.at(line)} ({module.name}) imports {imported}"
        for module in modules()
        for imported, line in module.imports()
        if _within(imported, {"leasekit"}) and _floor(imported) > _floor(module.name)
    ]
    assert wrong == []


def test_a_backend_imports_the_contract_and_itself_alone() -> None:
    wrong = [
        f"{module.at(line)} imports {imported}"
        for module in modules()
        if _within(module.name, {"leasekit.backends"})
        for imported, line in module.imports()
        if _within(imported, {"leasekit"}) and not _within(imported, _BACKENDS_MAY_IMPORT | {_own_backend(module.name)})
    ]
    assert wrong == []


def test_nothing_names_a_backend() -> None:
    # The test kit compares every store with the memory store's state, which is the model of the contract.
    model = "leasekit.backends.memory"
    # Its members are run and looked after by commands of leasekit's own.
    native = "leasekit.backends.raft"
    wrong = [
        f"{module.at(line)} imports {imported}"
        for module in modules()
        if not _within(module.name, {"leasekit.backends"})
        for imported, line in module.imports()
        if _within(imported, {"leasekit.backends"})
        and not (_within(module.name, {"leasekit.testing"}) and _within(imported, {model}))
        and not (_within(module.name, {"leasekit.cli.raft"}) and _within(imported, {native}))
    ]
    assert wrong == []


def test_nothing_but_the_command_line_imports_the_command_line_and_nothing_but_tests_the_test_kit() -> None:
    plugin = "leasekit.integrations.pytest"  # loaded by tests alone: the test kit as fixtures
    wrong = [
        f"{module.at(line)} imports {imported}"
        for private in ("leasekit.cli", "leasekit.testing")
        for module in modules()
        if not _within(module.name, {private}) and module.name not in {"leasekit.__main__", plugin}
        for imported, line in module.imports()
        if _within(imported, {private})
    ]
    assert wrong == []


@pytest.mark.parametrize("module", _pure_rooms(), ids=lambda module: module.name)
def test_a_pure_room_has_no_clock_no_chance_and_no_network(module: Module) -> None:
    wrong = [
        f"{module.at(line)} imports {imported}" for imported, line in module.imports() if _within(imported, _IMPURE)
    ]
    wrong += [f"{module.at(line)} reads the wall clock" for line in _reads_of_the_wall_clock(module)]
    assert wrong == []


def test_only_the_clock_reads_clocks() -> None:
    wrong = [
        f"{module.at(line)} imports {imported}"
        for module in modules()
        if module.name != "leasekit.clock"
        for imported, line in module.imports()
        if imported == "time"
    ]
    wrong += [
        f"{module.at(line)} reads the wall clock"
        for module in modules()
        if module.name != "leasekit.clock"
        for line in _reads_of_the_wall_clock(module)
    ]
    assert wrong == []


def test_chance_comes_from_a_generator_that_is_given() -> None:
    wrong = [
        f"{module.at(line)} uses random.{name}"
        for module in modules()
        for name, line in _uses_of_random(module)
        if name not in _GENERATORS
    ]
    assert wrong == []


def test_dependencies_beyond_the_core_stay_in_their_backends() -> None:
    known = sys.stdlib_module_names | {"leasekit", "click", "tenacity"}
    # `rich` and the test kit's own needs are imported inside functions and modules that say so when they are missing.
    extras = {
        "leasekit.backends.etcd": {"grpc", "google"},
        "leasekit.backends.consul": {"consul", "aiohttp", "yarl"},
        "leasekit.backends.raft": {"msgpack"},
        "leasekit.fencing": {"sqlalchemy", "redis", "httpx", "requests"},
        "leasekit.observability.prometheus": {"prometheus_client"},
        "leasekit.observability.opentelemetry": {"opentelemetry"},
        "leasekit.schedule": {"cronsim"},
        "leasekit.testing": {"pytest", "hypothesis"},
        "leasekit.integrations.pytest": {"pytest"},
        "leasekit.integrations.apscheduler": {"apscheduler"},
        "leasekit.cli": {"rich", "sqlalchemy", "prometheus_client"},
    }
    wrong = [
        f"{module.at(line)} imports {imported}"
        for module in modules()
        for imported, line in module.imports()
        if imported.partition(".")[0] not in known
        and not any(_within(module.name, {room}) and imported.partition(".")[0] in may for room, may in extras.items())
    ]
    assert wrong == []


def _reads_of_the_wall_clock(module: Module) -> list[int]:
    """Lines with `datetime.now()` and its like."""
    return [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr in _WALL_CLOCKS
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr) in {"datetime", "date"}
    ]


def _uses_of_random(module: Module) -> list[tuple[str, int]]:
    """What is taken from the module `random`, and where."""
    nodes = list(ast.walk(module.tree))
    used = [
        (alias.name, node.lineno)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "random"
        for alias in node.names
    ]
    if any(isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names) for node in nodes):
        used += [
            (node.attr, node.lineno)
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
        ]
    return used
