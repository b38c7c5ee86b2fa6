"""Jobs on a schedule: functions whose slots are run once each, by whichever worker claims them first."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from leasekit import aio as aio_face
from leasekit import sync
from leasekit.connection import Connection
from leasekit.core.lease import check_timing
from leasekit.core.records import check_name
from leasekit.errors import ConfigError
from leasekit.jobs import Stop, policy_for
from leasekit.schedule import aio, slots
from leasekit.schedule.plan import Guarantee, Missed, Overlap, Policy
from leasekit.schedule.serving import Crew, LoopCrew, check_drain, serve_in_threads, serve_on_loop
from leasekit.schedule.tasks import TaskWorker
from leasekit.schedule.threads import ThreadWorker, Work
from leasekit.schedule.times import Schedule, parse
from leasekit.stopping import default_grace_s

P = ParamSpec("P")
R = TypeVar("R")

Store = sync.ConnectedStore | aio_face.ConnectedStore | str | None


class _Job(Generic[P]):
    """What both kinds of job are: a function, and how its slots are to be run."""

    def __init__(
        self, name: str, schedule: Schedule, function: Callable[P, Any], store: Store, policy: Policy, work: Work
    ) -> None:
        self.name = name
        self.schedule = schedule
        self._place = store.connection if isinstance(store, sync.ConnectedStore | aio_face.ConnectedStore) else store
        self._policy = policy
        self._work = work
        functools.update_wrapper(cast(Any, self), function)

    def __reduce__(self) -> str:
        # By its name, as functions are: so that a process may be started to serve it.
        return cast(str, self.__qualname__)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<job {self.name!r}, {self.schedule}>"


class CronJob(_Job[P], Generic[P, R]):
    """A function with a schedule. Calling it runs it here and now, without a claim."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, self._work.function(*args, **kwargs))

    def slots(self) -> slots.Slots:
        """This job's slots: what became of the last ones, which come next, who serves it."""
        store = sync.ConnectedStore(self._place) if isinstance(self._place, Connection) else self._place
        return slots.Slots(self.name, self.schedule, store=store, **_options(self._policy))

    def serve(self, stop: threading.Event | None = None, *, drain_s: float | None = None) -> None:
        """Run this job's slots, as `leasekit.serve` does."""
        serve(self, stop=stop, drain_s=drain_s)

    def worker(self) -> ThreadWorker:
        """For leasekit's own parts."""
        return ThreadWorker(self.slots(), self._work)


class AsyncCronJob(_Job[P], Generic[P, R]):
    """An async function with a schedule. Awaiting its call runs it here and now, without a claim."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if hasattr(inspect, "markcoroutinefunction"):  # Python 3.12
            inspect.markcoroutinefunction(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return cast(Coroutine[Any, Any, R], self._work.function(*args, **kwargs))

    def slots(self) -> aio.Slots:
        """This job's slots: what became of the last ones, which come next, who serves it."""
        store = aio_face.ConnectedStore(self._place) if isinstance(self._place, Connection) else self._place
        return aio.Slots(self.name, self.schedule, store=store, **_options(self._policy))

    async def serve(self, stop: asyncio.Event | None = None, *, drain_s: float | None = None) -> None:
        """Run this job's slots on the running loop, as `leasekit.aio.serve` does."""
        await serve_async(self, stop=stop, drain_s=drain_s)

    def worker(self) -> TaskWorker:
        """For leasekit's own parts. To be made on the loop that it is to work on."""
        return TaskWorker(self.slots(), self._work)


class Decorator(Protocol):
    """Makes a job of a function, which keeps its own signature for direct calls."""

    # A coroutine function is a function too: the first that fits counts.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]]
    ) -> AsyncCronJob[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> CronJob[P, R]: ...


def cron(
    name: str,
    schedule: str | Schedule,
    *,
    tz: str | None = None,
    store: Store = None,
    overlap: Overlap = "skip",
    missed: Missed = "latest",
    guarantee: Guarantee = "at_most_once",
    max_late_s: float = 3600.0,
    max_skew_s: float = 2.0,
    jitter_s: float = 0.0,
    ttl_s: float = 15.0,
    grace_s: float | None = None,
    stop: Stop = "auto",
    allow_unchecked_clock: bool = False,
) -> Decorator:
    """Give the decorated function, sync or async, a schedule: each of its slots is run once, wherever it is served.

    Decorating claims nothing: `job.serve()`, `leasekit.serve(job, ...)` or `await leasekit.aio.serve(job, ...)` do, on as
    many machines as you like. In the function `leasekit.current_run()` tells the slot and the attempt, and
    `leasekit.current().token` is what to hand to fenced resources.

    Args:
        name: the job's name, which is an election's. The same on all machines.
        schedule: five fields as in crontab, six with leading seconds, `@daily` and its kin, or `every 30s|5m|1h30m`.
        tz: the time zone that the schedule is meant in; None: UTC.
        store: what `connect` gave, a URL, or None for the default.
        overlap: what becomes of slots that come due while a run of an earlier one goes on: `skip` them; `queue_one`,
            have them wait for its end; `cancel_other`, ask it to resign, then run; `allow`, run beside it.
        missed: which of several slots are run that nobody was there for: the `latest`, `all` in their order, or `skip`
            them: a slot is then run in time or not at all.
        guarantee: what is done about a run that was lost: nothing (`at_most_once`), or another attempt at its slot, under
            a higher token (`at_least_once`).
        max_late_s: how late a run may begin, in seconds.
        max_skew_s: how far ahead of the store's time a slot may be claimed, in seconds.
        jitter_s: each slot begins up to this much later, in seconds, at the same moment on all machines.
        ttl_s: time to live of a run's lease, in seconds.
        grace_s: how long before the deadline stopping a run begins, in seconds; None: min(5, ttl/3).
        stop: how a run is stopped that loses its leadership, as for `singleton`: `cancel` (async; the default there),
            `check` (the default for sync), `interrupt`, `process` or `exit`.
        allow_unchecked_clock: go by this machine's clock alone where the store has none.

    Raises:
        ConfigError: an argument is wrong, or the function cannot be served: it takes arguments, or is a generator.
    """
    check_name("name", name)
    when = _schedule(schedule, tz)
    policy = Policy(
        overlap=overlap,
        missed=missed,
        guarantee=guarantee,
        max_late_s=max_late_s,
        max_skew_s=max_skew_s,
        jitter_s=jitter_s,
        ttl_s=ttl_s,
        allow_unchecked_clock=allow_unchecked_clock,
    )
    grace = default_grace_s(ttl_s) if grace_s is None else grace_s
    check_timing(ttl_s=ttl_s, grace_s=grace)

    def decorate(function: Callable[..., Any]) -> CronJob[..., Any] | AsyncCronJob[..., Any]:
        _check_callable_alone(function)
        work = Work(function, policy_for(function, stop), grace)
        if inspect.iscoroutinefunction(function):
            return AsyncCronJob(name, when, function, store, policy, work)
        return CronJob(name, when, function, store, policy, work)

    return cast(Decorator, decorate)


def serve(
    *jobs: CronJob[..., Any] | AsyncCronJob[..., Any],
    stop: threading.Event | None = None,
    drain_s: float | None = None,
) -> None:
    """Run the slots of these jobs, sync and async ones, until `stop` is set. Any number of machines may do so.

    Each run of a sync job has a thread of its own, so a long one holds up no other job; async jobs share one loop, in a
    thread of its own. An exception in a job is logged and its slot `failed`; a store that does not answer is asked again.
    No signal handler is installed; to end on SIGTERM: `signal.signal(signal.SIGTERM, lambda *_: stop.set())`.

    Args:
        stop: asked every 0.1 s. Once set, no slot is claimed any more; this returns when the runs at work have ended.
        drain_s: how long those are waited for, in seconds; then they are stopped in the way of their stop policy, and
            their slots are `lost` (run elsewhere, if the guarantee is `at_least_once`). None: until they have ended.

    Raises:
        KeyboardInterrupt, SystemExit: raised here or by a job. The runs were stopped first; a second one does not wait.
        ConfigError: two jobs of one name, or something is wrong with a job and this store.
        AuthError, ProtocolError: the store refuses the credentials, or says what it should not.
    """
    _check_jobs(jobs, drain_s)
    crews: list[Crew] = [job.worker() for job in jobs if isinstance(job, CronJob)]
    on_loop = [job for job in jobs if isinstance(job, AsyncCronJob)]
    if on_loop:
        crews.append(LoopCrew(lambda: [job.worker() for job in on_loop]))
    serve_in_threads(crews, stop, drain_s)


async def serve_async(
    *jobs: AsyncCronJob[..., Any], stop: asyncio.Event | None = None, drain_s: float | None = None
) -> None:
    """Run the slots of these async jobs as tasks on the running loop, until `stop` is set. See `leasekit.serve`.

    Cancelled, it stops the runs and waits for them; cancelled once more, it cancels their tasks.
    """
    _check_jobs(jobs, drain_s)
    for job in jobs:
        if not isinstance(job, AsyncCronJob):
            raise ConfigError(
                "jobs", f"{job!r} is not async; serve it by leasekit.serve, which takes async jobs as well"
            )
    await serve_on_loop([job.worker() for job in jobs], stop, drain_s)


def _options(policy: Policy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in policy.__dataclass_fields__}


def _schedule(schedule: str | Schedule, tz: str | None) -> Schedule:
    if isinstance(schedule, Schedule):
        if tz is not None and tz != schedule.tz:
            raise ConfigError("tz", f"is {tz!r}, and the schedule's own is {schedule.tz!r}; give one of them")
        return schedule
    return parse(schedule, tz)


def _check_callable_alone(function: Callable[..., Any]) -> None:
    """Refuse what cannot be called without arguments."""
    name = getattr(function, "__qualname__", repr(function))
    if isinstance(function, staticmethod | classmethod):
        raise ConfigError("function", f"{name!r}: put the decorator beneath @{type(function).__name__}")
    if not callable(function):
        raise ConfigError("function", f"{function!r} is not a function")
    needed = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if not needed:
        return
    if needed[0] in ("self", "cls"):
        raise ConfigError("function", f"{name!r} is a method, and nobody says of which object; decorate a function")
    raise ConfigError("function", f"{name!r} needs arguments ({', '.join(needed)}); a slot gives none")


def _check_jobs(jobs: tuple[Any, ...], drain_s: float | None) -> None:
    check_drain(drain_s)
    if not jobs:
        raise ConfigError("jobs", "there is none to serve")
    for job in jobs:
        if not isinstance(job, _Job):
            raise ConfigError("jobs", f"{job!r} is not a job; decorate it with @leasekit.cron")
    names = [job.name for job in jobs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError("jobs", f"{', '.join(sorted(twice))} stands there twice; each job has a name of its own")
