"""A whole comparison: store after store, scenario after scenario. Whatever ends it, nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import leasekit
from leasekit import urls
from leasekit.cli.compare import calm, machine, rough
from leasekit.cli.compare.candidacies import now_s
from leasekit.cli.compare.children import Children, Worker
from leasekit.cli.compare.metrics import SCENARIOS, Scenario
from leasekit.cli.compare.play import Play
from leasekit.cli.compare.progress import Progress
from leasekit.cli.compare.results import Comparison, Promises, StoreResult
from leasekit.cli.compare.servers import KINDS, PortTaken, Servers
from leasekit.cli.compare.stage import Stage
from leasekit.clock import SYSTEM_CLOCK
from leasekit.errors import LeasekitError, StoreUnavailable

_PORT_TRIES = 4
_SWEEP_TIMEOUT_S = 5.0
_GIVEN = "kills servers of the store, which are not ours"
_ALONE = "takes a store of three servers"

_PLAYS: dict[str, Callable[[Play], Awaitable[None]]] = {
    "acquire": calm.acquire,
    "handover": calm.handover,
    "watch": calm.watch,
    "renewal": calm.renewal,
    "requests": calm.requests,
    "idle": calm.idle,
    "paused": rough.paused,
    "failover": rough.failover,
    "store-failover": rough.store_failover,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done. `programs`: the stores to start, each with its program; or `urls`: those that are given."""

    ttl_s: float
    rounds: int
    scenarios: Sequence[str]
    urls: Sequence[str] = ()
    programs: dict[str, Path | None] = field(default_factory=dict)
    not_found: dict[str, str] = field(default_factory=dict)

    @property
    def stores(self) -> list[StoreResult]:
        """Empty results, in order."""
        given = [
            StoreResult(name=f"store{number}", title=urls.parse(url).redacted, servers=0, url=urls.parse(url).redacted)
            for number, url in enumerate(self.urls, 1)
        ]
        return given or [StoreResult(name=name, title=KINDS[name][2], servers=KINDS[name][1]) for name in self.programs]


async def measure(plan: Plan, progress: Progress, random: Random) -> Comparison:
    """Do it. Cancelled, it ends all processes and removes all files before it goes on its way."""
    began = now_s()
    comparison = Comparison(
        version=leasekit.__version__,
        began=datetime.fromtimestamp(SYSTEM_CLOCK.wall_s(), UTC).isoformat(timespec="seconds"),
        machine=machine.described(),
        ttl_s=plan.ttl_s,
        rounds=plan.rounds,
        scenarios=tuple(plan.scenarios),
        stores=plan.stores,
        not_found=dict(plan.not_found),
    )
    progress.begin(len(comparison.stores) * len(plan.scenarios))
    folder = Path(tempfile.mkdtemp(prefix="leasekit-compare-"))
    try:
        with Children() as children:
            for number, store in enumerate(comparison.stores):
                below = folder / store.name
                below.mkdir()
                url = plan.urls[number] if plan.urls else None
                await _Store(plan, store, url, children, below, progress, random).measure()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    comparison.machine = {**comparison.machine, "load_after": machine.load()}
    comparison.took_s = now_s() - began
    return comparison


class _Store:
    """One store's part."""

    def __init__(
        self,
        plan: Plan,
        result: StoreResult,
        url: str | None,
        children: Children,
        folder: Path,
        progress: Progress,
        random: Random,
    ) -> None:
        self._plan = plan
        self._result = result
        self._url = url
        self._children = children
        self._folder = folder
        self._progress = progress
        self._random = random

    async def measure(self) -> None:
        """Fill in the result. What goes wrong is a part of it."""
        self._progress.store(self._result.title)
        try:
            stage = await self._set_up()
        except (LeasekitError, OSError) as error:
            self._result.error = str(error)
            self._progress.note(f"{self._result.title}: {error}")
            self._progress.advance(len(self._plan.scenarios))
            return
        try:
            await self._scenarios(stage)
        finally:
            await self._clear_up(stage)

    async def _set_up(self) -> Stage:
        """Start the servers, if they are ours, and learn what the store promises."""
        for attempt in range(1, _PORT_TRIES + 1):
            stage = self._stage(self._folder / f"try{attempt}")
            try:
                if stage.servers is not None:
                    stage.servers.start_all()
                worker = stage.worker("describing")
                await stage.serving(worker)
                await self._describe(stage, worker)
                await stage.end(worker)
            except PortTaken:
                stage.close()
                if attempt == _PORT_TRIES:
                    raise
            except BaseException:
                stage.close()
                raise
            else:
                return stage
        raise AssertionError("the last attempt returns or raises")

    def _stage(self, folder: Path) -> Stage:
        folder.mkdir()
        servers = self._servers(folder)
        url = servers.url if servers is not None else self._url
        assert url is not None
        mark = f"leasekit-compare-{os.getpid()}-{self._random.randrange(16**6):06x}"
        ttl_s = self._plan.ttl_s
        return Stage(url, servers, children=self._children, folder=folder, ttl_s=ttl_s, mark=mark)

    def _servers(self, folder: Path) -> Servers | None:
        if self._url is not None:
            return None
        kind, size, _ = KINDS[self._result.name]
        return kind(size, folder, self._children, self._plan.programs[self._result.name], self._random)

    async def _describe(self, stage: Stage, worker: Worker) -> None:
        told = await worker.ask("describe", ttl_s=stage.ttl_s)
        promises = self._result.promises = Promises(**told["promises"])
        self._result.version = told["version"]
        self._result.servers = told["servers"]
        stage.ttl_s = max(stage.ttl_s, promises.ttl_min_s)
        stage.granted_ttl_s = promises.ttl_s
        stage.expires_within_s = promises.expires_within_s

    async def _scenarios(self, stage: Stage) -> None:
        wanted = [scenario for scenario in SCENARIOS if scenario.name in self._plan.scenarios]
        while wanted:
            async with Play(stage, self._plan.rounds) as play:
                while wanted and await self._scenario(play, wanted.pop(0)):
                    pass
                # After a failure nobody knows what its processes are about: the rest plays with fresh ones.
                if wanted:
                    stage.kill_workers()
                else:
                    await stage.end_all()

    async def _scenario(self, play: Play, scenario: Scenario) -> bool:
        """Whether it came to its end, or had none to come to."""
        self._progress.scenario(scenario.title)
        servers = play.stage.servers
        if scenario.kills_servers and (servers is None or servers.size < 3):
            self._result.left_out[scenario.name] = _GIVEN if servers is None else _ALONE
            self._progress.advance(1)
            return True
        play.samples, play.lapsed = {}, 0
        try:
            await _PLAYS[scenario.name](play)
            if play.lapsed and not play.samples:
                raise StoreUnavailable("each time the lease ran out before")
        except (LeasekitError, OSError) as error:
            # What was measured until then may be no fair part of the whole, so it does not count.
            self._result.failed[scenario.name] = str(error)
            self._progress.note(f"{self._result.title}, {scenario.title}: {error}")
        else:
            self._result.samples.update(play.samples)
            if play.lapsed:
                self._result.lapsed[scenario.name] = play.lapsed
        self._progress.advance(1)
        return scenario.name not in self._result.failed

    async def _clear_up(self, stage: Stage) -> None:
        try:
            async with asyncio.timeout(_SWEEP_TIMEOUT_S):
                stage.kill_workers()
                await stage.sweep()
        except (LeasekitError, OSError) as error:  # TimeoutError is one
            self._progress.note(f"{self._result.title}: what was written there could not be deleted again: {error}")
        finally:
            stage.close()
