"""Many seeds, in several processes. A campaign that never reaches one of the rare things has proved little, and fails."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from leasekit.backends.raft.simulator.run import Result, simulate

RARE = (
    "elections",
    "split votes",
    "truncations",
    "snapshot installs",
    "membership changes",
    "lost unsynced writes",
    "crashes while writing",
    "disk failures",
    "repeated commands",
    "leases expired",
    "changes watched",
    "watch resyncs",
    "transfers",
)
"""What each campaign of `RARE_SEEDS` or more has to meet."""
RARE_SEEDS = 200
PROGRESS_EVERY = 50


@dataclass(slots=True)
class Summary:
    """What came of a campaign so far."""

    seeds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Result] = field(default_factory=list)

    @property
    def never_met(self) -> list[str]:
        """The rare things that have not happened; none is demanded of a few seeds."""
        return [what for what in RARE if not self.counts[what]] if self.seeds >= RARE_SEEDS else []

    @property
    def passed(self) -> bool:
        """Whether nothing was found, though everything rare was met."""
        return not self.failures and not self.never_met

    def add(self, result: Result) -> None:
        """Count one more."""
        self.seeds += 1
        self.counts.update(result.counts)
        if result.violation is not None:
            self.failures.append(result)


def results(first_seed: int, count: int, *, jobs: int = 1) -> Iterator[Result]:
    """What comes of `count` seeds from `first_seed` on, in their order; with `jobs` > 1 in so many processes."""
    seeds = range(first_seed, first_seed + count)
    if jobs == 1:
        yield from map(simulate, seeds)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(simulate, seeds, chunksize=min(10, -(-count // jobs)))


def run(
    first_seed: int,
    count: int,
    *,
    jobs: int = 1,
    tell: Callable[[str], None] = print,
    progress: Callable[[str], None] | None = None,
) -> Summary:
    """Run `count` seeds. `tell` is given each failure and the sums, `progress` a line now and then."""
    summary = Summary()
    for result in results(first_seed, count, jobs=jobs):
        summary.add(result)
        if result.violation is not None:
            tell(f"seed {result.seed}: {result.violation}")
            tell(f"  again: leasekit raft simulate --seed {result.seed}")
        if progress is not None and (summary.seeds % PROGRESS_EVERY == 0 or summary.seeds == count):
            progress(f"{summary.seeds} of {count} seeds, {len(summary.failures)} failed")
    for line in _sums(summary):
        tell(line)
    return summary


def replay(seed: int, *, tell: Callable[[str], None] = print, verbose: bool = False) -> Result:
    """Run one seed and tell what happened: all of it if `verbose`, else what came last before a violation."""
    result = simulate(seed, tell=tell if verbose else None)
    if result.violation is not None:
        if not verbose:
            for line in result.trace:
                tell(line)
        tell(f"seed {seed}: {result.violation}")
    for what, count in sorted(result.counts.items()):
        tell(f"{count:8} {what}")
    tell(f"trace {result.digest}")
    return result


def _sums(summary: Summary) -> Iterator[str]:
    for what, count in sorted(summary.counts.items()):
        yield f"{count:10} {what}"
    for what in summary.never_met:
        yield f"never met: {what}"
    yield f"{summary.seeds} seeds, {len(summary.failures)} failed"
