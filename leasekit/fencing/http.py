"""Fencing over HTTP, the server's side: ASGI and WSGI middleware that refuses a stale `Leasekit-Token` with 412.

The highest token is kept in any other guard, so all processes of a service share it.

Promised: a request whose token is lower than one that was admitted before is answered 412, and the application never sees
it. Not promised: anything about a request that was admitted earlier and is still at work. To close that gap too, let the
application join the check to its own transaction: the token stands in `scope["leasekit.token"]` (WSGI: in the environ).
Or say `hold=True`: then the guard is held until the application has answered, and a later leader's request waits for it
(guards with locks only: SQL and files; requests of one resource come one after the other; on SQLite, keep the marks in a
file of their own, since the guard holds that file's write lock).
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass, field
from typing import Any

from leasekit.errors import ConfigError, FencingRejected, LeadershipLost
from leasekit.fencing.contract import AsyncGuard, Guard, parse_token

HEADER = "Leasekit-Token"
TOKEN_KEY = "leasekit.token"
"""Where the application finds the token: in the ASGI scope, in the WSGI environ."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_THREADS = 32
_log = logging.getLogger("leasekit")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer instead of the application's."""

    status: int
    reason: str
    body: dict[str, object]
    headers: tuple[tuple[str, str], ...] = field(default=())

    @property
    def payload(self) -> bytes:
        return json.dumps({"schema": 1, **self.body}).encode()

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """Content, and never from a cache."""
        own = [("Content-Type", "application/json"), ("Content-Length", str(len(self.payload)))]
        return [*own, ("Cache-Control", "no-store"), *self.headers]


def refusal_of(error: Exception, resource: str) -> Refusal:
    """What a client is told when a guard did not let its request pass."""
    told: dict[str, object] = {"resource": resource, "detail": str(error)}
    if isinstance(error, FencingRejected):
        told |= {"error": "fencing_rejected", "token": error.token, "highest": error.highest}
        return Refusal(412, "Precondition Failed", told)
    if isinstance(error, LeadershipLost):
        return Refusal(412, "Precondition Failed", told | {"error": "leadership_lost", "token": error.token})
    # What else a guard says is for those who run it, not for those who call it.
    _log.error("a request was refused, since the guard of %r could not be asked: %s", resource, error)
    told["detail"] = "the fencing guard could not be asked; nothing was done"
    return Refusal(503, "Service Unavailable", told | {"error": "guard_unavailable"}, (("Retry-After", "1"),))


@dataclass(frozen=True, slots=True)
class _Door:
    """Which requests need a token, and what theirs is."""

    resource: str
    required: bool
    guarded: Callable[[str, str], bool] | None

    def token(self, method: str, path: str, given: list[str]) -> int | Refusal | None:
        """The request's token; None if it needs none and has none."""
        wanted = method not in SAFE_METHODS if self.guarded is None else self.guarded(method, path)
        told: dict[str, object] = {"resource": self.resource}
        if not given:
            if not (wanted and self.required):
                return None
            told |= {"error": "token_required", "detail": f"this request needs a {HEADER} header"}
            return Refusal(428, "Precondition Required", told)
        try:
            if len(given) > 1:
                raise ConfigError("token", f"there are {len(given)} {HEADER} headers")
            return parse_token(given[0].strip())
        except ConfigError as error:
            return Refusal(400, "Bad Request", told | {"error": "bad_token", "detail": str(error)})


class AsgiFence:
    """ASGI middleware. Wrap the application: `app = AsgiFence(app, guard)`.

    Args:
        app: the application.
        guard: what keeps the highest token: `SqlFence(...).over(engine)`, a `FileFence`, a `RedisFence`, a `StoreFence`,
            or one of the asynchronous ones. Blocking guards are asked in threads of the middleware's own.
        required: answer 428 to a guarded request without a token. False: let it pass unchecked.
        guarded: which requests need a token, by method and path; None: all but GET, HEAD, OPTIONS and TRACE, and
            WebSockets. A token that is sent along is checked in any case.
        hold: hold the guard until the application has answered, see above.
    """

    def __init__(
        self,
        app: AsgiApp,
        guard: Guard | AsyncGuard,
        *,
        required: bool = True,
        guarded: Callable[[str, str], bool] | None = None,
        hold: bool = False,
    ) -> None:
        self._app = app
        self._guard = guard
        self._door = _Door(guard.resource, required, guarded)
        self._hold = hold
        # Not the loop's own threads: an application that waits for one of those would wait for those that wait here.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="leasekit-fence")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        given = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == _HEADER_BYTES]
        token = self._door.token(scope.get("method", "WEBSOCKET"), scope["path"], given)
        if token is None:
            return await self._app(scope, receive, send)
        if isinstance(token, Refusal):
            return await _answer(scope, receive, send, token)
        async with AsyncExitStack() as held:
            try:
                async with self._admission(token):
                    pass
                if self._hold:
                    # Once more: what was remembered above stays remembered if this process dies at work.
                    await held.enter_async_context(self._admission(token))
            except Exception as error:  # noqa: BLE001 - whatever a guard's client raises, nobody may pass
                return await _answer(scope, receive, send, refusal_of(error, self._door.resource))
            return await self._app({**scope, TOKEN_KEY: token}, receive, send)

    def _admission(self, token: int) -> AbstractAsyncContextManager[Any]:
        admission = self._guard.admit(token)
        return admission if isinstance(admission, AbstractAsyncContextManager) else self._in_a_thread(admission)

    @asynccontextmanager
    async def _in_a_thread(self, admission: AbstractContextManager[Any]) -> AsyncIterator[None]:
        """Entered and left in one thread, since a connection of SQLite belongs to the thread that made it."""
        loop = asyncio.get_running_loop()
        entered: asyncio.Future[None] = loop.create_future()
        leave = threading.Event()

        def enter_and_leave() -> None:
            with admission:
                loop.call_soon_threadsafe(_finish, entered)
                leave.wait()

        work = loop.run_in_executor(self._threads, enter_and_leave)
        try:
            await asyncio.wait([entered, work], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                yield
        finally:
            leave.set()
            await asyncio.wait([work])
        work.result()


class WsgiFence:
    """WSGI middleware. Wrap the application: `app = WsgiFence(app, guard)`. Arguments as for `AsgiFence`.

    With `hold`, the guard is held until the server has sent the answer and closed it.
    """

    def __init__(
        self,
        app: WsgiApp,
        guard: Guard,
        *,
        required: bool = True,
        guarded: Callable[[str, str], bool] | None = None,
        hold: bool = False,
    ) -> None:
        self._app = app
        self._guard = guard
        self._door = _Door(guard.resource, required, guarded)
        self._hold = hold

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        given = [environ[_ENVIRON_KEY]] if _ENVIRON_KEY in environ else []
        token = self._door.token(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), given)
        if token is None:
            return self._app(environ, start_response)
        if isinstance(token, Refusal):
            return _answer_wsgi(start_response, token)
        with ExitStack() as held:
            try:
                with self._guard.admit(token):
                    pass
                if self._hold:
                    # Once more: what was remembered above stays remembered if this process dies at work.
                    held.enter_context(self._guard.admit(token))
            except Exception as error:  # noqa: BLE001 - whatever a guard's client raises, nobody may pass
                return _answer_wsgi(start_response, refusal_of(error, self._door.resource))
            body = self._app({**environ, TOKEN_KEY: token}, start_response)
            return _Held(body, held.pop_all()) if self._hold else body


class _Held:
    """A body, and what is let go of when the server closes it."""

    def __init__(self, body: Iterable[bytes], held: ExitStack) -> None:
        self._body = body
        self._held = held

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        with self._held:
            if hasattr(self._body, "close"):
                self._body.close()


_HEADER_BYTES = HEADER.lower().encode()
_ENVIRON_KEY = f"HTTP_{HEADER.upper().replace('-', '_')}"


async def _answer(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            # Before it was accepted: the server answers 403.
            return await send({"type": "websocket.close", "code": 1008, "reason": str(refusal.body["error"])})
        kind = "websocket.http.response"
    headers = [(name.lower().encode(), value.encode()) for name, value in refusal.all_headers]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": refusal.payload})
    return None


def _answer_wsgi(start_response: Callable[..., Any], refusal: Refusal) -> Iterable[bytes]:
    start_response(f"{refusal.status} {refusal.reason}", refusal.all_headers)
    return [refusal.payload]


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


__all__ = ["HEADER", "SAFE_METHODS", "TOKEN_KEY", "AsgiFence", "WsgiFence", "refusal_of"]
