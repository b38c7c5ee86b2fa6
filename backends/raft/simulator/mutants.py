"""Faults put into the code one at a time, each of a kind that others had: the simulator has to find every one.

A mutant is a replacement of text in a module. It is compiled in a process of its own, so that nothing leaks; a text that
does not stand in its module exactly once is an error, so that the table cannot fall behind the code in silence.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType

from leasekit.backends.raft.simulator.mutant_table import MUTANTS, PACKAGE, Mutant

SEEDS_MAX = 400
HANGS_AFTER_S = 60
"""Processor time: a seed that takes longer than that is found, too. Usually one takes a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Found:
    """`seeds` is how many it took; None: it was not found. `violation`: the first line of what was seen."""

    mutant: Mutant
    seeds: int | None
    violation: str = ""


def mutated(mutant: Mutant) -> dict[str, str]:
    """By full module name, the changed source. Raises ValueError if the text is not there exactly once."""
    sources: dict[str, str] = {}
    for edit in mutant.edits:
        name = f"{PACKAGE}.{edit.module}"
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        source = sources.get(name) or Path(spec.origin).read_text("utf-8")
        if (count := source.count(edit.old)) != 1:
            raise ValueError(f"mutant {mutant.name}: its text stands {count} times in {edit.module}, not once")
        sources[name] = source.replace(edit.old, edit.new)
    return sources


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads the changed modules from their changed sources."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname in self._sources else None

    def get_source(self, fullname: str) -> str:
        return self._sources[fullname]

    def is_package(self, fullname: str) -> bool:
        return False


class Hangs(Exception):
    """A seed takes far longer than any should."""


def find(name: str, seeds_max: int) -> tuple[int | None, str]:
    """Run seeds until one shows the fault. Spoils this process: call it in one of its own. As in `Found`."""
    sources = mutated(next(mutant for mutant in MUTANTS if mutant.name == name))
    for loaded in [loaded for loaded in sys.modules if loaded.startswith(PACKAGE)]:
        del sys.modules[loaded]
    sys.meta_path.insert(0, _Finder(sources))
    simulate = importlib.import_module(f"{PACKAGE}.simulator.run").simulate
    signal.signal(signal.SIGVTALRM, _hang)
    for seed in range(seeds_max):
        signal.setitimer(signal.ITIMER_VIRTUAL, HANGS_AFTER_S)
        violation = simulate(seed).violation
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if violation is not None:
            if "NameError" in violation:
                raise ValueError(f"mutant {name}: it does not run: {violation}")
            return seed + 1, _first_line(violation)
    return None, ""


def _hang(_signal: int, _frame: FrameType | None) -> None:
    raise Hangs


def _first_line(violation: str) -> str:
    lines = violation.strip().splitlines()
    # Of a traceback the last line says what it was.
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def find_all(mutants: Sequence[Mutant] = MUTANTS, *, seeds_max: int = SEEDS_MAX, jobs: int = 1) -> Iterator[Found]:
    """Each mutant in a process of its own, `jobs` at a time; in the order of the table."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        results = pool.map(find, [mutant.name for mutant in mutants], [seeds_max] * len(mutants))
        yield from (Found(mutant, *result) for mutant, result in zip(mutants, results, strict=True))


def main(*, seeds_max: int = SEEDS_MAX, jobs: int = 1, tell: Callable[[str], None] = print) -> int:
    """Find all, and tell the table as it comes; 1 if one was not found, else 0."""
    missed = 0
    seeds = []
    tell("| mutant | fault | module | seeds | seen as |")
    tell("|---|---|---|---|---|")
    for found in find_all(seeds_max=seeds_max, jobs=jobs):
        mutant = found.mutant
        modules = ", ".join(sorted({edit.module for edit in mutant.edits}))
        seen = found.violation[:90].replace("|", "/")
        tell(f"| {mutant.name} | {mutant.what} | {modules} | {found.seeds or 'not found'} | {seen} |")
        if found.seeds is None:
            missed += 1
        else:
            seeds.append(found.seeds)
    median = sorted(seeds)[len(seeds) // 2] if seeds else 0
    tell(f"\n{len(seeds)} of {len(MUTANTS)} found, {missed} not; median {median} seeds")
    return 1 if missed else 0
