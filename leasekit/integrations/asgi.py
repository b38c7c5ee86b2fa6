"""A leadership in the background of a web application: FastAPI, Starlette, or any ASGI application.

    reports = BackgroundLeadership("reports", on_elected=refresh)
    app = FastAPI(lifespan=reports.lifespan)

    @app.get("/role")
    async def role(leads: Annotated[bool, Depends(reports.leads)]) -> str:
        return "leader" if leads else "candidate"

It campaigns from startup on, resigns at shutdown, and campaigns again after a loss. `leading` is computed from the clock
when asked, in the asking thread: it is true in one process at a time, however many workers serve. Nothing is connected
before startup, so servers may load the application first and fork then.

Promised and not promised is what `leasekit` promises: a process that is paused right after it asked acts late all the
same. Hand `leadership.token` to what you write to (docs/fencing.md).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from random import Random, SystemRandom
from typing import Any

from leasekit import aio, retry, sync
from leasekit.clock import SYSTEM_CLOCK
from leasekit.core.lease import check_timing
from leasekit.core.records import check_name
from leasekit.election import DEFAULT_TTL_S
from leasekit.errors import ConfigError, LeadershipLost, LeasekitError
from leasekit.stopping import default_grace_s, run_async

LONGEST_PAUSE_S = 30.0
"""Between two attempts that failed one after the other."""
CLOSE_TIMEOUT_S = 2.0
_log = logging.getLogger("leasekit")
_still_at_work: set[asyncio.Task[None]] = set()
"""After their shutdown. A loop holds its tasks weakly, and one that is collected would let go of nothing."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class BackgroundLeadership:
    """Campaigns in the background for as long as an application lives. Make one per application and election.

    Args:
        name, id, ttl_s, priority, meta: as for `leasekit.aio.Election`.
        store: what `connect` gave, to share its lease with other elections; it stays open at shutdown. A URL,
            or None for the default: a connection of its own, opened at startup and closed at shutdown.
        on_elected: awaited with the Leadership after each election. When the leadership is lost, or is about to be, it
            is cancelled and awaited before the leadership is released. It may return: the leadership goes on. If it
            raises, the leadership is resigned, so that another process has a try.
        grace_s: how long before the deadline `on_elected` is cancelled, in seconds; None: min(5, ttl/3).
        shutdown_s: how long the shutdown may wait for the work's end and for the release, in seconds (then at most 2
            more to disconnect). Work that has not ended by then keeps its leadership until the process ends.

    Raises:
        ConfigError: naming what is wrong.
    """

    def __init__(
        self,
        name: str,
        store: aio.ConnectedStore | sync.ConnectedStore | str | None = None,
        *,
        id: str | None = None,
        ttl_s: float = DEFAULT_TTL_S,
        priority: int = 0,
        meta: Mapping[str, Any] | None = None,
        on_elected: Callable[[aio.Leadership], Awaitable[object]] | None = None,
        grace_s: float | None = None,
        shutdown_s: float = 10.0,
    ) -> None:
        self.name = check_name("name", name)
        self._grace_s = default_grace_s(ttl_s) if grace_s is None else grace_s
        check_timing(ttl_s=ttl_s, grace_s=self._grace_s)
        if shutdown_s <= 0:
            raise ConfigError("shutdown_s", f"is {shutdown_s:g}; it must be more than 0")
        self._shutdown_s = shutdown_s
        self._store = aio.ConnectedStore(store.connection) if isinstance(store, sync.ConnectedStore) else store
        self._settings: dict[str, Any] = {"id": id, "ttl_s": ttl_s, "priority": priority, "meta": meta}
        self._on_elected = on_elected
        self._leadership: aio.Leadership | None = None
        self._serving: tuple[int, asyncio.Task[None]] | None = None
        """The process and the task that campaigns in it."""

    @property
    def leading(self) -> bool:
        """Whether this process leads now. From any thread."""
        return self.leadership is not None

    @property
    def leadership(self) -> aio.Leadership | None:
        """What it leads under now, for its token; None while another leads."""
        held = self._leadership
        return held if held is not None and held.valid else None

    async def leads(self) -> bool:
        """`leading`, as a dependency of FastAPI: `Depends(reports.leads)`."""
        return self.leading

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """The lifespan of a FastAPI or Starlette application; or enter it inside the one that you have."""
        if self._serving is not None and self._serving[0] == os.getpid():
            raise ConfigError("lifespan", f"the background leadership of {self.name!r} serves another application")
        # A connection of its own, since closing it leaves nothing behind: some servers end without Python's `atexit`.
        own = None if isinstance(self._store, aio.ConnectedStore) else aio.connect(self._store)
        election = aio.Election(self.name, own or self._store, **self._settings)
        task = asyncio.create_task(self._serve(election), name=f"leasekit-{self.name}")
        self._serving = (os.getpid(), task)
        try:
            yield
        finally:
            self._serving = None
            task.cancel()
            await asyncio.wait([task], timeout=self._shutdown_s)
            if not task.done():
                _still_at_work.add(task)
                task.add_done_callback(_still_at_work.discard)
                _log.warning("the work under %r goes on after %g s of shutdown", self.name, self._shutdown_s)
            elif own is not None:
                await own.close(timeout_s=CLOSE_TIMEOUT_S)

    def around(self, app: AsgiApp) -> AsgiApp:
        """Any ASGI application, with this in its background. It need not know of lifespans itself."""

        async def wrapped(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await _Lifespan(self, receive, send).serve(app, scope)
            else:
                await app(scope, receive, send)

        return wrapped

    async def _serve(self, election: aio.Election) -> None:
        """Campaign and lead, over and over, until cancelled."""
        random = Random(SystemRandom().getrandbits(64))
        failures = 0
        while True:
            began = SYSTEM_CLOCK.now()
            try:
                await self._lead(election)
            except Exception as error:  # noqa: BLE001 (whatever it is)
                # A store that refuses today may be mended tomorrow, and the application serves on in any case.
                in_a_row = SYSTEM_CLOCK.now().boot_s - began.boot_s < 2 * LONGEST_PAUSE_S
                failures = failures + 1 if in_a_row else 1
                pause_s = retry.pause_s(failures, random, longest_s=LONGEST_PAUSE_S)
                ours = isinstance(error, LeasekitError)
                _log.error("%r: %s; campaigns again in %.1f s", self.name, error, pause_s, exc_info=not ours)
                await asyncio.sleep(pause_s)
            else:
                failures = 0

    async def _lead(self, election: aio.Election) -> None:
        """One leadership, from the campaign to the loss."""
        async with election.campaign() as leadership:
            _log.info("leads %r with token %d", self.name, leadership.token)
            self._leadership = leadership
            try:
                await self._work(leadership)
            except LeadershipLost as lost:
                if (lost.election, lost.token) != (leadership.election, leadership.token):
                    raise
                _log.info("leads %r no more: %s", self.name, lost.reason.value)
            finally:
                self._leadership = None

    async def _work(self, leadership: aio.Leadership) -> None:
        """Until the leadership is over, or must be let go of."""
        on_elected = self._on_elected
        if on_elected is None:
            await leadership.wait_lost()
            leadership.check()
            return

        async def work() -> None:
            await on_elected(leadership)
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # it may have swallowed that
                await asyncio.Event().wait()

        await run_async(leadership, "cancel", self._grace_s, work)


class _Lifespan:
    """One run of the lifespan protocol, with the leadership's life inside the application's: work ends before what it uses."""

    def __init__(self, leadership: BackgroundLeadership, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._life = leadership.lifespan()
        self._heard: set[str] = set()
        self._said: set[str] = set()
        self._lives = False

    async def serve(self, app: AsgiApp, scope: MutableMapping[str, Any]) -> None:
        try:
            await self._app_s_part(app, scope)
            if "lifespan.startup.failed" not in self._said:
                await self._what_is_left()
        finally:
            await self._end()

    async def _app_s_part(self, app: AsgiApp, scope: MutableMapping[str, Any]) -> None:
        try:
            await app(scope, self._hear, self._say)
        except Exception as error:
            if "lifespan.startup.failed" in self._said or "lifespan.shutdown" in self._heard:
                raise
            if self._said:
                _log.exception("the application's lifespan ended before its time")
            else:
                _log.info("the application has no lifespan of its own (%s)", error)

    async def _what_is_left(self) -> None:
        """Say in the application's place what it has left open."""
        for heard, said in (
            ("lifespan.startup", "lifespan.startup.complete"),
            ("lifespan.shutdown", "lifespan.shutdown.complete"),
        ):
            if heard not in self._heard:
                await self._hear()
            if said not in self._said:
                await self._say({"type": said})

    async def _hear(self) -> Message:
        message = await self._receive()
        self._heard.add(message["type"])
        if message["type"] == "lifespan.shutdown":
            await self._end()
        return message

    async def _say(self, message: Message) -> None:
        if "lifespan.startup.failed" in self._said:
            return  # said by us, and the server takes no more
        self._said.add(message["type"])
        if message["type"] == "lifespan.startup.complete":
            try:
                await self._life.__aenter__()
            except Exception as error:
                self._said.add("lifespan.startup.failed")
                await self._send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            self._lives = True
        await self._send(message)

    async def _end(self) -> None:
        if self._lives:
            self._lives = False
            await self._life.__aexit__(None, None, None)
