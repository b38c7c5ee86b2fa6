"""APScheduler 3 on several machines: each firing of a job runs on one of them.

    scheduler = BackgroundScheduler(executors={"default": ClaimingExecutor(store="etcd://h1,h2,h3/prod")})
    scheduler.add_job(report, CronTrigger.from_crontab("0 3 * * *"), id="nightly-report")

APScheduler gives an executor the instants that a job is run for, and the job's function does not get to see them; so it
is the executor that claims them. The job's id is the name of its slots, the scheduled instant is the slot.

What it asks of a job, or refuses to submit it:

* an `id` of its own, the same on all machines (APScheduler makes up another on each);
* instants that are the same on all machines, in whole seconds: a cron trigger, or an interval trigger with a
  `start_date` (without one, intervals begin when the process did), and no `jitter`.

APScheduler's rules come first, on each machine for itself: a run that is later than `misfire_grace_time` (1 s unless you
say otherwise; a nightly job wants more) is not claimed here, another machine may still; with `coalesce` the latest of
several due instants is claimed, without it each in turn; `max_instances` counts the runs of this process, while `overlap`
decides for all machines together. A firing that is another's ends as an executed job that returned None.

Job stores are APScheduler's own matter. Give each machine its own (in memory, for one): two schedulers on one job store
disturb each other.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Literal

from leasekit import aio, retry, sync
from leasekit.clock import SYSTEM_CLOCK
from leasekit.connection import Connection
from leasekit.core.lease import check_timing
from leasekit.errors import ConfigError, SlotTooEarly
from leasekit.schedule import aio as async_slots
from leasekit.schedule import slots as sync_slots
from leasekit.schedule.job import DEFAULTS
from leasekit.schedule.plan import Guarantee, Overlap
from leasekit.stopping import default_grace_s, run_async, run_sync

if TYPE_CHECKING:

    class BaseExecutor:
        """What this uses of APScheduler's, which has no types."""

        def __init__(self) -> None: ...

else:
    try:
        from apscheduler.executors.base import BaseExecutor
    except ImportError as error:
        raise ImportError("this needs APScheduler 3: pip install 'leasekit[apscheduler]'") from error

_MADE_UP = re.compile(r"[0-9a-f]{32}")


class ClaimingExecutor(BaseExecutor):
    """Runs a job where its slot is claimed, by means of another executor. One scheduler's alone.

    Args:
        inner: the executor that does the work, in this process: a ThreadPoolExecutor or an AsyncIOExecutor of
            APScheduler's; None: the one that the scheduler would have made itself.
        store: what `connect` gave, a URL, or None for the default.
        stop: what happens when a run's leadership is lost: "auto" (an async job is cancelled, a sync one asks
            `leasekit.current().check()`), "cancel", "check", "interrupt" or "exit", as for `@leasekit.singleton`.
        grace_s: how long before the deadline stopping begins, in seconds; None: min(5, ttl/3).
        overlap: "skip", "queue_one", "cancel_other" or "allow", when an earlier run goes on, on whichever machine.
        ttl_s, guarantee, max_late_s, max_skew_s: as for `leasekit.Slots`.

    While the store does not answer, a claim is tried again until the slot is `max_late_s` late.
    """

    def __init__(
        self,
        inner: Any = None,
        *,
        store: sync.ConnectedStore | aio.ConnectedStore | str | None = None,
        stop: Literal["auto", "cancel", "check", "interrupt", "exit"] = "auto",
        grace_s: float | None = None,
        ttl_s: float = DEFAULTS.ttl_s,
        overlap: Overlap = DEFAULTS.overlap,
        guarantee: Guarantee = DEFAULTS.guarantee,
        max_late_s: float = DEFAULTS.max_late_s,
        max_skew_s: float = DEFAULTS.max_skew_s,
    ) -> None:
        super().__init__()
        if type(inner).__name__ == "ProcessPoolExecutor":
            raise ConfigError("inner", "works in other processes, where no claim can be held for it; use threads")
        self._inner = inner
        self._place = store.connection if isinstance(store, sync.ConnectedStore | aio.ConnectedStore) else store
        self._stop = stop
        self._grace_s = default_grace_s(ttl_s) if grace_s is None else grace_s
        check_timing(ttl_s=ttl_s, grace_s=self._grace_s)
        self._policy: dict[str, Any] = {
            "ttl_s": ttl_s,
            "overlap": overlap,
            "guarantee": guarantee,
            "max_late_s": max_late_s,
            "max_skew_s": max_skew_s,
        }
        self._claims: dict[tuple[str, bool], _Claims] = {}
        self._ending = threading.Event()

    # What a scheduler asks of an executor.

    def start(self, scheduler: Any, alias: str) -> None:
        """The scheduler starts."""
        self._ending.clear()
        self._inner = self._inner or scheduler._create_default_executor()
        self._inner.start(scheduler, alias)

    def shutdown(self, wait: bool = True) -> None:
        """The scheduler ends: no claim is tried again."""
        self._ending.set()
        self._inner.shutdown(wait)

    def submit_job(self, job: Any, run_times: Iterable[datetime]) -> None:
        """Have `job` run for those of `run_times` that are claimed here. Raises ConfigError if it cannot be."""
        noted = _Noted(run_times)
        _check(job, noted)
        asynchronous = inspect.iscoroutinefunction(_plain(job.func))
        self._inner.submit_job(_Claimed(job, self._claimed(job, noted, asynchronous=asynchronous)), noted)

    def _do_submit_job(self, _job: Any, _run_times: list[datetime]) -> None:
        raise AssertionError("the inner executor does that")

    # What it makes of a job.

    def _claimed(self, job: Any, noted: _Noted, *, asynchronous: bool) -> Callable[..., Any]:
        """The job's function, for the instant at which the inner executor has arrived."""
        function, claims = job.func, self._claims_of(job.id, asynchronous=asynchronous)
        policy = ("cancel" if asynchronous else "check") if self._stop == "auto" else self._stop
        if policy not in (("cancel", "check", "exit") if asynchronous else ("check", "interrupt", "exit")):
            raise ConfigError("stop", f"{policy!r} does not fit the job {job.id!r}: it is {_kind(asynchronous)}")

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            if (run := await claims.ask_async(noted.current)) is None:
                return None
            async with run:
                return await run_async(run.leadership, policy, self._grace_s, lambda: function(*args, **kwargs))

        def call(*args: Any, **kwargs: Any) -> Any:
            if (run := claims.ask(noted.current)) is None:
                return None
            with run:
                return run_sync(run.leadership, policy, self._grace_s, function, args, kwargs)

        return call_async if asynchronous else call

    def _claims_of(self, name: str, *, asynchronous: bool) -> _Claims:
        key = (name, asynchronous)
        if key not in self._claims:
            self._claims[key] = _Claims(name, self._place, self._policy, self._ending, asynchronous=asynchronous)
        return self._claims[key]


class _Claims:
    """Claims of one job's slots, tried again where that helps."""

    def __init__(
        self,
        name: str,
        place: Connection | str | None,
        policy: dict[str, Any],
        ending: threading.Event,
        *,
        asynchronous: bool,
    ) -> None:
        self._ending = ending
        self._max_late_s: float = policy["max_late_s"]
        self._random = Random(SystemRandom().getrandbits(64))
        if asynchronous:
            there = aio.ConnectedStore(place) if isinstance(place, Connection) else place
            self._async_slots = async_slots.Slots(name, store=there, **policy)
        else:
            here = sync.ConnectedStore(place) if isinstance(place, Connection) else place
            self._slots = sync_slots.Slots(name, store=here, **policy)

    def ask(self, slot: datetime) -> sync_slots.Run | None:
        """The run of this slot, if it is ours. Raises what a claim raises, once trying again is of no use."""
        tried = 0
        while True:
            tried += 1
            try:
                return self._slots.claim(slot)
            except (SlotTooEarly, *retry.UNANSWERED) as error:
                if self._ending.wait(self._pause_s(tried, slot, error)):
                    raise

    async def ask_async(self, slot: datetime) -> async_slots.Run | None:
        """The same, awaited."""
        tried = 0
        while True:
            tried += 1
            try:
                return await self._async_slots.claim(slot)
            except (SlotTooEarly, *retry.UNANSWERED) as error:
                await asyncio.sleep(self._pause_s(tried, slot, error))
                if self._ending.is_set():
                    raise

    def _pause_s(self, tried: int, slot: datetime, error: Exception) -> float:
        """How long to wait before the next attempt. Raises `error` if none will do any good."""
        if isinstance(error, SlotTooEarly):
            # This machine's clock is fast. Others claim the slot in the meantime, or this one does in the end.
            return error.early_s + retry.FIRST_PAUSE_S
        if SYSTEM_CLOCK.wall_s() - slot.timestamp() > self._max_late_s:
            raise error
        return retry.pause_s(tried, self._random)


class _Noted(list[datetime]):
    """The instants that a job is run for. Whoever goes through them leaves behind at which one he is."""

    current: datetime

    def __iter__(self) -> Iterator[datetime]:
        for instant in super().__iter__():
            self.current = instant.astimezone(UTC)
            yield instant


class _Claimed:
    """An APScheduler job with another function."""

    def __init__(self, job: Any, function: Callable[..., Any]) -> None:
        self._job = job
        self.func = function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)

    def __str__(self) -> str:
        return str(self._job)


def _check(job: Any, run_times: _Noted) -> None:
    """Refuse what other machines could not mean the same by. APScheduler logs it, at each firing."""
    if _MADE_UP.fullmatch(job.id):
        raise ConfigError(
            "id", f"the job {job.name!r} needs an id that is the same on all machines: add_job(..., id=...)"
        )
    if getattr(job.trigger, "jitter", None):
        raise ConfigError("jitter", f"the trigger of {job.id!r} makes up another instant on each machine; leave it out")
    if any(instant.microsecond for instant in run_times):
        raise ConfigError(
            "trigger",
            f"{job.id!r} is run at fractions of a second, as intervals are that begin when the process does; give it a "
            "start_date in whole seconds, the same on all machines, or a cron trigger",
        )


def _plain(function: Any) -> Any:
    """What `functools.partial`s are of."""
    while hasattr(function, "func"):
        function = function.func
    return function


def _kind(asynchronous: bool) -> str:
    return "async" if asynchronous else "sync"
