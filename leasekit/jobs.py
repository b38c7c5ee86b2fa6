"""Singleton jobs: functions that run in one process at a time."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from leasekit import aio, sync
from leasekit.connection import Connection
from leasekit.core.lease import check_timing
from leasekit.core.records import check_name
from leasekit.election import DEFAULT_TTL_S
from leasekit.errors import ConfigError, NotElected
from leasekit.stopping import default_grace_s, run_async, run_sync

P = ParamSpec("P")
R = TypeVar("R")
Stop = Literal["auto", "cancel", "check", "interrupt", "process", "exit"]

SYNC_POLICIES = ("check", "interrupt", "process", "exit")
ASYNC_POLICIES = ("cancel", "check", "exit")


class OrNone(Protocol):
    """Decorates a function that may be skipped: then the call returns None."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R | None]]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Callable[P, R | None]: ...


class OrRaise(Protocol):
    """Decorates a function whose call raises NotElected when it is skipped."""

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]: ...


@overload
def singleton(
    name: str,
    *,
    store: sync.ConnectedStore | aio.ConnectedStore | str | None = ...,
    ttl_s: float = ...,
    wait_s: float | None = ...,
    on_skip: Literal["none"] = ...,
    stop: Stop = ...,
    grace_s: float | None = ...,
) -> OrNone: ...
@overload
def singleton(
    name: str,
    *,
    store: sync.ConnectedStore | aio.ConnectedStore | str | None = ...,
    ttl_s: float = ...,
    wait_s: float | None = ...,
    on_skip: Literal["raise"],
    stop: Stop = ...,
    grace_s: float | None = ...,
) -> OrRaise: ...
def singleton(
    name: str,
    *,
    store: sync.ConnectedStore | aio.ConnectedStore | str | None = None,
    ttl_s: float = DEFAULT_TTL_S,
    wait_s: float | None = 0,
    on_skip: Literal["none", "raise"] = "none",
    stop: Stop = "auto",
    grace_s: float | None = None,
) -> OrNone | OrRaise:
    """Run the decorated function only while this process leads election `name`; sync or async, function or method.

    The leadership is released when the function returns, so on machines with skewed clocks a short job can run once
    on *each*, in turn: it is a mutual exclusion, not a schedule.

    Args:
        name: the election's name.
        store: what `connect` gave, a URL, or None for the default.
        ttl_s: time to live of the lease, in seconds.
        wait_s: how long a call waits for its turn, in seconds; 0: not at all; None: for ever.
        on_skip: what a call does when the turn did not come: return None, or raise NotElected.
        stop: what happens when the leadership is lost, or about to be, while the function runs.

            * `cancel` (async; the default there): the task is cancelled at deadline - grace and awaited. Bounded if the
              function lets itself be cancelled.
            * `check` (the default for sync): nothing is forced; the function asks `leasekit.current().check()` or
              `.valid` itself. Bounds nothing between two questions.
            * `interrupt` (sync): the function runs in a thread of its own, and LeadershipInterrupt (a BaseException) is
              raised there at deadline - grace, between two bytecodes: it waits out calls into C, such as a blocking
              read, however long. Best effort.
            * `process` (sync): the function runs in a spawned process, which gets TERM at deadline - grace and is
              killed by the deadline, by a watchdog that needs nothing of this process. The only bounded way for sync
              code. It must be a function at module level, its arguments and result picklable.
            * `exit`: this whole process gets TERM at deadline - grace, and ends with code 79 by the deadline.
        grace_s: how long before the deadline stopping begins, in seconds; None: min(5, ttl/3).

    Calls raise:
        LeadershipLost: it was lost before the function returned. What the function did last may have been done while
            another led: let what it writes to check `leasekit.current().token`.
        NotElected: with `on_skip="raise"`, when it was not this process's turn.
        StoreUnavailable: the store did not answer.

    Raises:
        ConfigError: an argument is wrong, or the policy does not fit the function.
    """
    check_name("name", name)
    if wait_s is not None and wait_s < 0:
        raise ConfigError("wait_s", f"is {wait_s}; it cannot be negative")
    if on_skip not in ("none", "raise"):
        raise ConfigError("on_skip", f'is {on_skip!r}; it must be "none" or "raise"')
    grace = default_grace_s(ttl_s) if grace_s is None else grace_s
    check_timing(ttl_s=ttl_s, grace_s=grace)
    place = store.connection if isinstance(store, sync.ConnectedStore | aio.ConnectedStore) else store

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        policy = policy_for(function, stop)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                given = aio.ConnectedStore(place) if isinstance(place, Connection) else place
                election = aio.Election(name, given, ttl_s=ttl_s)
                leadership = await _turn_async(election, wait_s, raising=on_skip == "raise")
                if leadership is None:
                    return None
                async with leadership:
                    return await run_async(leadership, policy, grace, lambda: function(*args, **kwargs))

            return call_async

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = sync.ConnectedStore(place) if isinstance(place, Connection) else place
            leadership = _turn(sync.Election(name, given, ttl_s=ttl_s), wait_s, raising=on_skip == "raise")
            if leadership is None:
                return None
            with leadership:
                return run_sync(leadership, policy, grace, function, args, kwargs)

        return call

    return cast(OrNone, decorate)


def policy_for(function: Callable[..., Any], stop: str) -> str:
    """What `stop` means for this function. Raises ConfigError if it does not fit, or the function cannot be a job."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError("function", f"{function!r} is a generator: it would run after the leadership is released")
    asynchronous = inspect.iscoroutinefunction(function)
    allowed = ASYNC_POLICIES if asynchronous else SYNC_POLICIES
    policy = ("cancel" if asynchronous else "check") if stop == "auto" else stop
    if policy not in allowed:
        kind = "an async" if asynchronous else "a sync"
        raise ConfigError("stop", f"{stop!r} does not fit {kind} function; choose one of auto, {', '.join(allowed)}")
    if policy == "process":
        from leasekit.spawned import check_sendable

        check_sendable(function)
    return policy


def _turn(election: sync.Election, wait_s: float | None, *, raising: bool) -> sync.Leadership | None:
    if wait_s == 0:
        leadership = election.try_campaign()
        if leadership is None and raising:
            raise NotElected(f"{election.name!r} has another leader now")
        return leadership
    try:
        return election.campaign(wait_s)
    except NotElected:
        if raising:
            raise
        return None


async def _turn_async(election: aio.Election, wait_s: float | None, *, raising: bool) -> aio.Leadership | None:
    if wait_s == 0:
        leadership = await election.try_campaign()
        if leadership is None and raising:
            raise NotElected(f"{election.name!r} has another leader now")
        return leadership
    try:
        return await election.campaign(wait_s)
    except NotElected:
        if raising:
            raise
        return None
