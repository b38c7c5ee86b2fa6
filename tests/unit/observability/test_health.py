"""Health endpoints as an ASGI app: what each answers, when, and that it neither waits for a store nor gives anything away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import leasekit
from leasekit import engine
from leasekit.connection import Connection
from leasekit.election import ElectionCore
from leasekit.observability import health
from leasekit.testing import ManualClock
from support.faulty import Faulty

PATIENCE_S = 30.0
StuckEngine = Callable[[], AbstractContextManager[None]]


def ask(app: Any, path: str, method: str = "GET") -> httpx.Response:
    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://health") as client:
            return await client.request(method, path)

    return asyncio.run(request())


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "not so in time"
        time.sleep(0.01)


def test_who_leads_says_so_and_who_does_not_says_that(prefix: str) -> None:
    app = health.app(prefix)
    with leasekit.connect(f"memory://{prefix}") as store:
        assert (ask(app, "/leader").status_code, ask(app, "/leader").text) == (503, "not the leader\n")
        election = leasekit.Election(prefix, store=store)
        with election.campaign(timeout_s=PATIENCE_S):
            assert (ask(app, "/leader").status_code, ask(app, "/leader").text) == (200, "leader\n")
            assert ask(health.app(f"{prefix}-other"), "/leader").status_code == 503
            assert ask(health.app(), "/leader").status_code == 200
        assert ask(app, "/leader").status_code == 503


def test_a_leader_that_was_paused_beyond_its_lease_is_none_at_the_first_question(
    prefix: str, stuck_engine: StuckEngine
) -> None:
    clock = ManualClock()
    connection = Connection(f"memory://{prefix}", clock=clock)
    campaigning(connection, prefix).result(PATIENCE_S)
    app = health.app(prefix)
    with stuck_engine():
        assert (ask(app, "/leader").status_code, ask(app, "/readyz").status_code) == (200, 200)
        clock.advance(20)
        assert (ask(app, "/leader").status_code, ask(app, "/readyz").status_code) == (503, 503)
    engine.get().run(connection.aclose(timeout_s=2))


def campaigning(connection: Connection, name: str) -> Any:
    core = ElectionCore(name, connection=connection, id=f"id-{id(connection)}", ttl_s=15.0, priority=0, meta=None)

    async def campaign() -> object:
        return await core.campaign(None)

    return engine.get().submit(campaign())


def test_a_follower_is_as_ready_as_the_leader(prefix: str) -> None:
    connections = [Connection(f"memory://{prefix}") for _ in range(2)]
    leading = campaigning(connections[0], prefix)
    leading.result(PATIENCE_S)
    waiting = campaigning(connections[1], prefix)
    served = health.Health(prefix, campaigns=True)
    until(lambda: asyncio.run(served.answer("GET", "/readyz")).status == 200)
    assert not waiting.done()
    engine.get().abandon(waiting)
    for connection in connections:
        engine.get().run(connection.aclose(timeout_s=2))


def test_who_cannot_get_a_lease_is_not_ready_and_lives_all_the_same(prefix: str) -> None:
    faulty = Faulty(f"memory://{prefix}")
    faulty.order("go_down")
    waiting = campaigning(faulty._connection, prefix)
    app = health.app(prefix)
    until(lambda: ask(app, "/readyz").status_code == 503)  # the campaign has begun
    answers = {path: ask(app, path).status_code for path in ("/readyz", "/livez", "/leader")}
    assert answers == {"/readyz": 503, "/livez": 200, "/leader": 503}
    faulty.order("come_up")
    waiting.result(PATIENCE_S)
    assert ask(app, "/readyz").status_code == 200
    engine.get().run(faulty._connection.aclose(timeout_s=2))


def test_who_has_no_candidate_is_ready_unless_campaigning_is_what_it_is_there_for() -> None:
    assert ask(health.app(), "/readyz").status_code == 200
    assert asyncio.run(health.Health(campaigns=True).answer("GET", "/readyz")).status == 503


def test_only_a_stuck_engine_is_not_alive(stuck_engine: StuckEngine) -> None:
    engine.get()
    answer = ask(health.app(bound_s=PATIENCE_S), "/livez")
    assert (answer.status_code, answer.text) == (200, "live\n")
    with stuck_engine():
        answer = ask(health.app(bound_s=0.5), "/livez")
        assert (answer.status_code, answer.text) == (503, "the engine is stuck\n")
    assert ask(health.app(bound_s=PATIENCE_S), "/livez").status_code == 200


def test_an_engine_that_was_never_needed_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_engine", None)
    assert ask(health.app(bound_s=0.01), "/livez").status_code == 200
    assert not engine.running()


def test_a_pause_of_the_whole_process_does_not_make_the_engine_look_stuck() -> None:
    """The asking loop does not get on for longer than the bound, and the engine has no fault in that."""
    engine.get()

    async def paused() -> bool:
        asking = asyncio.create_task(health.engine_answers(PATIENCE_S / 10))
        await asyncio.sleep(0)
        # As after SIGCONT: time has passed, and both loops have yet to run.
        loop: Any = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + PATIENCE_S
        return await asking

    assert asyncio.run(paused())


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/leader"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_done_here_but_to_read(path: str, method: str) -> None:
    answer = ask(health.app(), path, method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/livez/", "/metrics", "/LEADER", "//leader", "/leader%2f"])
def test_there_is_nothing_else(path: str) -> None:
    assert ask(health.app(), path).status_code == 404


def test_head_is_get_without_the_body() -> None:
    answer, head = ask(health.app(), "/livez"), ask(health.app(), "/livez", "HEAD")
    assert (head.status_code, head.content) == (answer.status_code, b"")
    assert head.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "no-store"


def test_it_can_be_mounted_into_another_app() -> None:
    whole = Starlette(routes=[Mount("/health", app=health.app())])
    assert ask(whole, "/health/livez").status_code == 200
    assert ask(whole, "/health/else").status_code == 404


async def speak(scope: dict[str, Any], *received: str) -> list[str]:
    """What the app says to these messages."""
    messages, said = iter(received), list[str]()

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        said.append(message["type"])

    await health.app()(scope, receive, send)
    return said


async def test_it_can_stand_alone_in_a_server() -> None:
    assert await speak({"type": "lifespan"}, "lifespan.startup", "lifespan.shutdown") == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert await speak({"type": "websocket", "path": "/livez"}, "websocket.connect") == ["websocket.close"]
