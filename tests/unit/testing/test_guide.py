"""The examples of docs/writing-a-backend.md do what the page says."""

from __future__ import annotations

import ast
import asyncio
import re
import tomllib
from pathlib import Path

import pytest

from leasekit.backends.memory import MemoryStore
from leasekit.errors import LeaseLost, OutcomeUnknown
from leasekit.store import Absent, Capabilities
from leasekit.testing import FaultyStore, ManualClock, run_virtual

PAGE = (Path(__file__).parents[3] / "docs" / "writing-a-backend.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def example(containing: str) -> str:
    [found] = [code for code in PYTHON if containing in code]
    return str(found)


@pytest.mark.parametrize("code", PYTHON)
def test_every_example_is_python(code: str) -> None:
    ast.parse(code)


def test_the_entry_points_are_toml() -> None:
    [code] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert "mystore" in tomllib.loads(code)["project"]["entry-points"]["leasekit.backends"]


def test_the_capabilities_are_complete() -> None:
    names: dict[str, object] = {"Capabilities": Capabilities}
    declaration = re.search(r"Capabilities\(.*?\n    \)", example("class MyStore"), re.DOTALL)
    assert declaration is not None
    exec(f"capabilities = {declaration[0]}", names)  # noqa: S102
    assert isinstance(names["capabilities"], Capabilities)


def test_the_example_on_virtual_time_runs() -> None:
    names = {
        "asyncio": asyncio, "pytest": pytest, "MemoryStore": MemoryStore, "ManualClock": ManualClock,
        "LeaseLost": LeaseLost, "run_virtual": run_virtual,
    }  # fmt: skip
    exec(example("async def scenario"), names)  # noqa: S102
    clock = names["clock"]
    assert isinstance(clock, ManualClock)
    assert clock.now().boot_s == pytest.approx(1000 + 14 + 60)


async def test_the_example_of_faults_names_what_exists() -> None:
    orders, _, count = example("store.inject").rpartition("assert ")
    names: dict[str, object] = {"MemoryStore": MemoryStore, "Absent": Absent}
    exec(orders, names)  # noqa: S102
    store = names["store"]
    assert isinstance(store, FaultyStore)
    with pytest.raises(OutcomeUnknown):
        await store.transact([], [], timeout_s=1)
    await store.transact([], [], timeout_s=1)
    assert eval(count, names)
