"""Health endpoints, for probes and load balancers: an ASGI app; `leasekit run --health` serves the same.

| path | 200 | 503 |
|---|---|---|
| `/livez` | the engine answers | its loop has not answered within `bound_s`: restart this process |
| `/readyz` | able to campaign, whoever leads | no lease that somebody here needs can be trusted now |
| `/leader` | this process leads, as of now | it does not |

Answers are a few words, the same for everybody: no ids, no tokens, no URLs. Nothing here makes a request to a store, and
nothing runs on the engine's thread but an empty call, by which it shows that it is not stuck.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from leasekit import engine
from leasekit.observability import live

ANSWER_BOUND_S = 5.0
"""How long the engine's loop may take to answer. It never computes for longer than milliseconds."""
_LOOKS = 10
_TEXT = "text/plain; charset=utf-8"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint says."""

    status: int
    body: bytes
    content_type: str = _TEXT
    allow: str | None = None


class Health:
    """The endpoints.

    Args:
        election: whose leadership `/leader` means; None: any.
        campaigns: this process is there to campaign, so that it is ready only while it does. Otherwise one that has no
            candidate at the moment is ready as well: nothing speaks against it.
        bound_s: how long the engine may take to answer, in seconds.
        more: what else there is to read, by path.
    """

    def __init__(
        self,
        election: str | None = None,
        *,
        campaigns: bool = False,
        bound_s: float = ANSWER_BOUND_S,
        more: Mapping[str, Callable[[], Answer]] | None = None,
    ) -> None:
        self._election = election
        self._campaigns = campaigns
        self._bound_s = bound_s
        self._more = more or {}

    @property
    def paths(self) -> list[str]:
        """What can be asked for."""
        return ["/livez", "/readyz", "/leader", *self._more]

    async def answer(self, method: str, path: str) -> Answer:
        """What to say to this request: 404 elsewhere, 405 to anything but GET and HEAD."""
        if path not in self.paths:
            return Answer(404, b"not found\n")
        if method not in ("GET", "HEAD"):
            return Answer(405, b"method not allowed\n", allow="GET, HEAD")
        match path:
            case "/livez":
                return _said(await engine_answers(self._bound_s), b"live\n", b"the engine is stuck\n")
            case "/readyz":
                able = live.able_to_lead()
                return _said(not self._campaigns if able is None else able, b"ready\n", b"not ready\n")
            case "/leader":
                return _said(live.leads(self._election), b"leader\n", b"not the leader\n")
            case _:
                return self._more[path]()


def _said(good: bool, yes: bytes, no: bytes) -> Answer:
    return Answer(200, yes) if good else Answer(503, no)


async def engine_answers(bound_s: float) -> bool:
    """Whether the engine's loop gets round to an empty call within `bound_s` seconds. One that was never needed does."""
    if not engine.running():
        return True

    loop, answered = asyncio.get_running_loop(), asyncio.Event()

    def answer() -> None:
        with contextlib.suppress(RuntimeError):  # who asked has given up, and its loop is closed
            loop.call_soon_threadsafe(answered.set)

    engine.get().call(answer)
    # In several looks: a pause of the whole process uses up one of them, and does not make the engine look stuck.
    for _ in range(_LOOKS):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bound_s / _LOOKS):
                await answered.wait()
                return True
    return False


def app(election: str | None = None, *, bound_s: float = ANSWER_BOUND_S) -> App:
    """An ASGI app (on asyncio) with `/livez`, `/readyz` and `/leader`, by itself or mounted into another.

    Args:
        election: whose leadership `/leader` means; None: any that this process has a candidate in.
        bound_s: how long the engine may take to answer `/livez`, in seconds. Give the probe a little longer.
    """
    health = Health(election, bound_s=bound_s)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                path = str(scope["path"])
                mounted_at = str(scope.get("root_path", ""))
                await _send(send, scope["method"], await health.answer(scope["method"], path.removeprefix(mounted_at)))
            case "lifespan":
                await _live(receive, send)
            case _:  # a WebSocket
                await receive()
                await send({"type": "websocket.close", "code": 1000})

    return serve


async def _send(send: Send, method: str, answer: Answer) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in headers_of(answer)]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


async def _live(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def headers_of(answer: Answer) -> list[tuple[str, str]]:
    """The headers that go with an answer."""
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
    ]
    return [*headers, ("Allow", answer.allow)] if answer.allow else headers
