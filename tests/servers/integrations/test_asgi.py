"""A background leadership in real applications: FastAPI, Starlette and plain ASGI, in this process."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette

import leasekit
from leasekit import aio, engine
from leasekit.errors import ConfigError
from leasekit.integrations.asgi import BackgroundLeadership

PATIENCE_S = 30.0


@pytest.fixture
def url() -> str:
    return f"memory://asgi-{uuid.uuid4().hex}"


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; the test fails if it does not come to that."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def leader_of(url: str) -> str | None:
    leader = await aio.Election("reports", url).leader()
    return leader.id if leader else None


def fastapi_app(background: BackgroundLeadership) -> FastAPI:
    app = FastAPI(lifespan=background.lifespan)

    @app.get("/role")
    async def role(leads: bool = Depends(background.leads)) -> str:
        return "leader" if leads else "candidate"

    @app.get("/threaded")
    def threaded() -> bool:
        return background.leading

    return app


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app") as client:
        yield client


async def test_one_of_two_applications_leads_and_the_other_follows_it(url: str) -> None:
    one, two = (BackgroundLeadership("reports", url, id=id) for id in ("one", "two"))
    app_one, app_two = fastapi_app(one), fastapi_app(two)
    async with client_of(app_one) as client_one, client_of(app_two) as client_two:
        assert (await client_one.get("/role")).json() == "candidate"
        async with app_two.router.lifespan_context(app_two):
            async with app_one.router.lifespan_context(app_one):
                await until(lambda: one.leading or two.leading)
                async with asyncio.timeout(PATIENCE_S):
                    while len(await aio.Election("reports", url).candidates()) < 2:
                        await asyncio.sleep(0.005)
                first = {"one", "two"} & {await leader_of(url)}
                assert first == {"one" if one.leading else "two"}
                assert one.leading != two.leading
                assert (await client_one.get("/threaded")).json() is one.leading
                roles = {(await client.get("/role")).json() for client in (client_one, client_two)}
                assert roles == {"leader", "candidate"}
            assert not one.leading
            await until(lambda: two.leading)
            assert (await client_two.get("/role")).json() == "leader"
        assert not two.leading
        assert await leader_of(url) is None


async def test_whether_it_leads_is_computed_from_the_clock_not_told_by_the_engine(url: str) -> None:
    background = BackgroundLeadership("reports", url, ttl_s=1)
    release = threading.Event()
    async with background.lifespan():
        await until(lambda: background.leading)
        leadership = background.leadership
        assert leadership is not None
        engine.get().call(release.wait, PATIENCE_S)  # nobody can renew, and nobody can tell
        try:
            await until(lambda: not background.leading)
        finally:
            release.set()
        await until(lambda: (now := background.leadership) is not None and now.token > leadership.token)
        await until(lambda: background.leading)


async def test_work_is_awaited_with_the_leadership_cancelled_before_the_release_and_begun_again(url: str) -> None:
    seen: list[str] = []
    tokens: list[int] = []

    async def work(leadership: aio.Leadership) -> None:
        assert aio.current() is leadership
        tokens.append(leadership.token)
        seen.append("began")
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            seen.append(f"ended, leader {await leader_of(url)}")

    background = BackgroundLeadership("reports", url, id="me", on_elected=work)
    async with background.lifespan():
        await until(lambda: seen == ["began"])
        assert await aio.Election("reports", url).ask_to_resign()
        await until(lambda: len(tokens) == 2)
        assert seen == ["began", "ended, leader me", "began"]
        assert tokens[1] > tokens[0]
    assert seen[3:] == ["ended, leader me"]
    assert await leader_of(url) is None


async def test_work_that_returns_leaves_the_leadership_as_it_is(url: str) -> None:
    done = asyncio.Event()

    async def work(_: aio.Leadership) -> None:
        done.set()

    background = BackgroundLeadership("reports", url, id="me", on_elected=work)
    async with background.lifespan():
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        token = background.leadership and background.leadership.token
        await asyncio.sleep(0.05)
        assert background.leadership is not None and background.leadership.token == token
        done.clear()
        assert await aio.Election("reports", url).ask_to_resign()
        await asyncio.wait_for(done.wait(), PATIENCE_S)


async def test_work_that_fails_leaves_the_place_to_others_and_tries_again(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokens: list[int] = []

    async def work(leadership: aio.Leadership) -> None:
        tokens.append(leadership.token)
        if len(tokens) < 3:
            raise RuntimeError("no such table")

    background = BackgroundLeadership("reports", url, on_elected=work)
    async with background.lifespan():
        await until(lambda: len(tokens) == 3)
        await until(lambda: background.leading)
    assert sorted(set(tokens)) == tokens
    failures = [record for record in caplog.records if "no such table" in record.getMessage()]
    assert len(failures) == 2 and all(record.exc_info for record in failures)


async def test_shutdown_is_bounded_also_when_the_work_will_not_end(url: str, caplog: pytest.LogCaptureFixture) -> None:
    began, release = asyncio.Event(), asyncio.Event()

    async def stubborn(_: aio.Leadership) -> None:
        began.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    background = BackgroundLeadership("reports", url, id="me", on_elected=stubborn, shutdown_s=0.1)
    async with asyncio.timeout(PATIENCE_S):
        async with background.lifespan():
            await began.wait()
    assert "goes on" in caplog.text
    assert await leader_of(url) == "me", "it is still at work, so nobody else may lead"
    release.set()
    async with asyncio.timeout(PATIENCE_S):
        while await leader_of(url) is not None:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("face", [leasekit, aio])
async def test_a_store_that_is_given_is_shared_and_stays_open(url: str, face: Any) -> None:
    store = face.connect(url)
    background = BackgroundLeadership("reports", store)
    async with background.lifespan():
        await until(lambda: background.leading)
    assert await aio.Election("reports", aio.ConnectedStore(store.connection)).leader() is None
    if face is aio:
        await store.close()
    else:
        await asyncio.to_thread(store.close)


async def test_one_object_serves_one_application_at_a_time_and_the_next_after_it(url: str) -> None:
    background = BackgroundLeadership("reports", url)
    async with background.lifespan():
        with pytest.raises(ConfigError, match="another application"):
            async with background.lifespan():
                pass
    async with background.lifespan():
        await until(lambda: background.leading)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"ttl_s": 1, "grace_s": 1}, "grace"), ({"shutdown_s": 0}, "shutdown_s"), ({"name": ""}, "name")],
)
def test_what_cannot_be_is_refused_when_it_is_written(url: str, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        BackgroundLeadership(**{"name": "reports", "store": url, **changes})
    assert field in refused.value.field


# The lifespan protocol, as a server speaks it.


class Server:
    """A server's side of one lifespan."""

    def __init__(self, app: Any) -> None:
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.out: asyncio.Queue[Any] = asyncio.Queue()
        self.task = asyncio.ensure_future(
            app({"type": "lifespan", "asgi": {"version": "3.0"}}, self._in.get, self.out.put)
        )

    async def say(self, what: str) -> str:
        await self._in.put({"type": f"lifespan.{what}"})
        answer: str = (await asyncio.wait_for(self.out.get(), PATIENCE_S))["type"]
        return answer.removeprefix("lifespan.")


async def knows_nothing(scope: Any, _receive: Any, send: Any) -> None:
    """An application that was written before there were lifespans."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that passes over what it does not know."""
    if scope["type"] == "http":
        await knows_nothing(scope, receive, send)


async def dies(scope: Any, receive: Any, send: Any) -> None:
    """An application whose own lifespan fails between startup and shutdown."""
    if scope["type"] == "http":
        await knows_nothing(scope, receive, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    raise RuntimeError("died early")


@pytest.mark.parametrize("app", [knows_nothing, says_nothing, dies])
async def test_an_application_need_not_know_of_lifespans(url: str, app: Any) -> None:
    background = BackgroundLeadership("reports", url)
    wrapped = background.around(app)
    server = Server(wrapped)
    assert await server.say("startup") == "startup.complete"
    await until(lambda: background.leading)
    async with client_of(wrapped) as client:
        assert (await client.get("/")).text == "served"
    assert await server.say("shutdown") == "shutdown.complete"
    await asyncio.wait_for(server.task, PATIENCE_S)
    assert await leader_of(url) is None


async def test_the_work_lives_inside_the_application_s_own_lifespan(url: str) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def pool(_app: Starlette) -> AsyncIterator[None]:
        seen.append("pool opened")
        yield
        seen.append("pool closed")

    async def work(_: aio.Leadership) -> None:
        seen.append("work began")
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append("work ended")

    server = Server(BackgroundLeadership("reports", url, on_elected=work).around(Starlette(lifespan=pool)))
    assert await server.say("startup") == "startup.complete"
    await until(lambda: "work began" in seen)
    assert await server.say("shutdown") == "shutdown.complete"
    await asyncio.wait_for(server.task, PATIENCE_S)
    assert seen == ["pool opened", "work began", "work ended", "pool closed"]


async def test_a_startup_that_fails_is_passed_on_and_nobody_campaigns(url: str) -> None:
    @asynccontextmanager
    async def broken(_app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    background = BackgroundLeadership("reports", url)
    server = Server(background.around(Starlette(lifespan=broken)))
    assert await server.say("startup") == "startup.failed"
    with pytest.raises(RuntimeError, match="no database"):
        await asyncio.wait_for(server.task, PATIENCE_S)
    assert await leader_of(url) is None


async def test_a_store_that_cannot_be_is_a_startup_that_fails() -> None:
    server = Server(BackgroundLeadership("reports", "nonesuch://here").around(Starlette()))
    assert await server.say("startup") == "startup.failed"
    with pytest.raises(ConfigError):
        await asyncio.wait_for(server.task, PATIENCE_S)
    assert server.out.empty()


async def test_a_server_that_ends_the_lifespan_by_force_still_ends_the_leadership(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="leasekit")
    background = BackgroundLeadership("reports", url)
    server = Server(background.around(Starlette()))
    assert await server.say("startup") == "startup.complete"
    await until(lambda: background.leading)
    server.task.cancel()
    await asyncio.wait([server.task], timeout=PATIENCE_S)
    assert not background.leading
    assert await leader_of(url) is None
