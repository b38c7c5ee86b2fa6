"""Tokens over HTTP: real clients, both kinds of middleware, and each kind of guard behind them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
import redis
import redis.asyncio
import requests
import sqlalchemy

import leasekit
from leasekit.errors import FencingRejected, LeadershipLost
from leasekit.fencing import (
    AsgiFence,
    AsyncGuard,
    AsyncRedisFence,
    FileFence,
    Guard,
    RedisFence,
    RequestsToken,
    SqlFence,
    StoreFence,
    WsgiFence,
    httpx_async_hooks,
    httpx_hooks,
)
from leasekit.fencing.http import TOKEN_KEY, Message, Receive, Scope, Send
from support.databases import Postgres, Redis

PATIENCE_S = 30.0


@pytest.fixture(params=["sqlite", "postgresql", "file", "redis"])
def guard(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Iterator[Guard]:
    """Each kind of guard that remembers."""
    if request.param == "file":
        yield FileFence(prefix, tmp_path / "marks")
    elif request.param == "redis":
        with redis.Redis.from_url(request.getfixturevalue("redis_server").url) as client:
            yield RedisFence(prefix, client)
    elif request.param == "sqlite":
        file = tmp_path / "marks.db"
        with closing(sqlite3.connect(file)) as connection:
            SqlFence(prefix).create_table(connection)
        yield SqlFence(prefix).over(lambda: sqlite3.connect(file, timeout=30))
    else:
        server: Postgres = request.getfixturevalue("postgres")
        engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.NullPool)
        with engine.begin() as connection:
            SqlFence(prefix).create_table(connection)
        yield SqlFence(prefix).over(engine)


@pytest.fixture
def file_guard(tmp_path: Path, prefix: str) -> FileFence:
    return FileFence(prefix, tmp_path / "marks", lock_timeout_s=0.2)


class AsgiApp:
    """Says which token it saw, and waits at `gate` for whom it is told to."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int | None]] = []
        self.gates: dict[int, asyncio.Event] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = scope.get(TOKEN_KEY)
        self.seen.append((scope.get("method", scope["type"]), token))
        if token in self.gates:
            await self.gates[token].wait()
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(token).encode()})


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(environ.get(TOKEN_KEY)).encode()]


@asynccontextmanager
async def client_of(app: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", **options) as client:
        yield client


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serve a WSGI application on loopback; its URL."""
    servers: list[tuple[WSGIServer, threading.Thread]] = []

    def begin(app: Any) -> str:
        server = make_server("127.0.0.1", 0, app, handler_class=_Quiet)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield begin
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(response: httpx.Response | requests.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    return body


async def test_asgi_a_stale_token_is_answered_412_and_never_reaches_the_application(guard: Guard) -> None:
    app = AsgiApp()
    async with client_of(AsgiFence(app, guard)) as client:
        for token in (5, 5, 9):
            assert (await client.post("/", headers={"Leasekit-Token": str(token)})).text == str(token)
        refused = await client.post("/", headers={"leasekit-token": "8"})
    body = refusal(refused)
    assert refused.status_code == 412
    assert "leasekit fence rebase --above 9" in body.pop("detail")
    assert body == {"schema": 1, "error": "fencing_rejected", "resource": guard.resource, "token": 8, "highest": 9}
    assert app.seen == [("POST", 5), ("POST", 5), ("POST", 9)]


def test_wsgi_a_stale_token_is_answered_412_and_never_reaches_the_application(
    guard: Guard, serve: Callable[[Any], str]
) -> None:
    url = serve(WsgiFence(wsgi_app, guard))
    for token in (5, 5, 9):
        assert requests.post(url, headers={"Leasekit-Token": str(token)}, timeout=PATIENCE_S).text == str(token)
    refused = requests.post(url, headers={"leasekit-token": "8"}, timeout=PATIENCE_S)
    body = refusal(refused)
    assert refused.status_code == 412
    assert body.pop("detail")
    assert body == {"schema": 1, "error": "fencing_rejected", "resource": guard.resource, "token": 8, "highest": 9}


@pytest.mark.parametrize(
    ("method", "headers", "status", "error"),
    [
        ("POST", {}, 428, "token_required"),
        ("DELETE", {}, 428, "token_required"),
        ("GET", {}, 200, None),
        ("GET", {"Leasekit-Token": "7"}, 200, None),
        ("GET", {"Leasekit-Token": "6"}, 412, "fencing_rejected"),
        ("POST", {"Leasekit-Token": "-1"}, 400, "bad_token"),
        ("POST", {"Leasekit-Token": "7.0"}, 400, "bad_token"),
        ("POST", {"Leasekit-Token": ""}, 400, "bad_token"),
        ("POST", {"Leasekit-Token": "7, 8"}, 400, "bad_token"),
        ("POST", {"Leasekit-Token": "9" * 30}, 400, "bad_token"),
    ],
)
async def test_which_requests_need_a_token_and_what_is_one(
    file_guard: FileFence,
    serve: Callable[[Any], str],
    method: str,
    headers: dict[str, str],
    status: int,
    error: str | None,
) -> None:
    with file_guard.admit(7):
        pass
    url = serve(WsgiFence(wsgi_app, file_guard))
    async with client_of(AsgiFence(AsgiApp(), file_guard)) as client:
        for response in (
            await client.request(method, "/", headers=headers),
            await asyncio.to_thread(requests.request, method, url, headers=headers, timeout=PATIENCE_S),
        ):
            assert response.status_code == status
            assert error is None or refusal(response)["error"] == error
    assert file_guard.highest() == 7


async def test_two_tokens_in_one_request_are_one_too_many(file_guard: FileFence) -> None:
    async with client_of(AsgiFence(AsgiApp(), file_guard)) as client:
        response = await client.post("/", headers=[("Leasekit-Token", "1"), ("Leasekit-Token", "2")])
    assert (response.status_code, refusal(response)["error"]) == (400, "bad_token")


async def test_what_needs_a_token_can_be_said(file_guard: FileFence) -> None:
    app = AsgiFence(AsgiApp(), file_guard, guarded=lambda method, path: path.startswith("/admin"))
    async with client_of(app) as client:
        assert (await client.post("/")).status_code == 200
        assert (await client.get("/admin/x")).status_code == 428
    async with client_of(AsgiFence(AsgiApp(), file_guard, required=False)) as client:
        assert (await client.post("/")).text == "None"


async def test_a_guard_that_cannot_be_asked_lets_nobody_pass_and_tells_no_secret(
    serve: Callable[[Any], str], prefix: str
) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://user:s3cret@127.0.0.1:1/x?connect_timeout=30")
    guard, app = SqlFence(prefix).over(engine), AsgiApp()
    url = serve(WsgiFence(wsgi_app, guard))
    async with client_of(AsgiFence(app, guard)) as client:
        for response in (
            await client.post("/", headers={"Leasekit-Token": "1"}),
            await asyncio.to_thread(requests.post, url, headers={"Leasekit-Token": "1"}, timeout=PATIENCE_S),
        ):
            assert response.status_code == 503
            assert refusal(response)["error"] == "guard_unavailable"
            assert "127.0.0.1" not in response.text
    assert app.seen == []


async def test_what_is_held_is_free_for_others_only_after_the_answer(file_guard: FileFence) -> None:
    app = AsgiApp()
    app.gates[5] = asyncio.Event()
    async with client_of(AsgiFence(app, file_guard, hold=True)) as client:
        older = asyncio.create_task(client.post("/", headers={"Leasekit-Token": "5"}))
        while not app.seen:
            await asyncio.sleep(0.001)
        assert (await client.post("/", headers={"Leasekit-Token": "6"})).status_code == 503, (
            "the lock was not to be had"
        )
        app.gates[5].set()
        assert (await older).text == "5"
        assert (await client.post("/", headers={"Leasekit-Token": "6"})).text == "6"
    assert app.seen == [("POST", 5), ("POST", 6)]


async def test_what_is_held_is_remembered_also_if_the_application_fails(file_guard: FileFence) -> None:
    async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    async with client_of(AsgiFence(failing, file_guard, hold=True)) as client:
        with pytest.raises(ZeroDivisionError):
            await client.post("/", headers={"Leasekit-Token": "5"})
    with pytest.raises(FencingRejected), file_guard.admit(4):
        pytest.fail("admitted")
    with file_guard.admit(5):
        """The lock is free."""


def test_wsgi_holds_until_the_body_is_closed(file_guard: FileFence) -> None:
    environ = {"REQUEST_METHOD": "POST", "HTTP_LEASEKIT_TOKEN": "5"}
    body = WsgiFence(wsgi_app, file_guard, hold=True)(environ, lambda *_: None)
    assert list(body) == [b"5"]
    answers: list[str] = []
    WsgiFence(wsgi_app, file_guard)(environ | {"HTTP_LEASEKIT_TOKEN": "6"}, lambda status, _: answers.append(status))
    body.close()  # type: ignore[attr-defined]
    WsgiFence(wsgi_app, file_guard)(environ | {"HTTP_LEASEKIT_TOKEN": "6"}, lambda status, _: answers.append(status))
    assert answers == ["503 Service Unavailable", "200 OK"]


async def test_many_requests_at_once_are_admitted_in_the_order_of_their_tokens(guard: Guard) -> None:
    app = AsgiApp()
    async with client_of(AsgiFence(app, guard)) as client:
        responses = await asyncio.gather(
            *(client.post("/", headers={"Leasekit-Token": str(token)}) for token in [3, 1, 2] * 8)
        )
    assert {response.status_code for response in responses} <= {200, 412}
    assert (await asyncio.to_thread(_refused, guard, 2)) is True


def _refused(guard: Guard, token: int) -> bool:
    try:
        with guard.admit(token):
            return False
    except FencingRejected:
        return True


async def test_an_asynchronous_guard_will_do(redis_server: Redis, prefix: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_server.url)
    guard: AsyncGuard = AsyncRedisFence(prefix, client)
    async with client_of(AsgiFence(AsgiApp(), guard, hold=True)) as http:
        assert (await http.post("/", headers={"Leasekit-Token": "2"})).status_code == 200
        assert (await http.post("/", headers={"Leasekit-Token": "1"})).status_code == 412
    await client.aclose()


def test_the_store_itself_will_do(tmp_path: Path, serve: Callable[[Any], str]) -> None:
    with leasekit.connect(f"sqlite:///{tmp_path / 'leases.db'}") as store:
        election = leasekit.Election("reports", store=store)
        url = serve(WsgiFence(wsgi_app, StoreFence(election)))
        with election.campaign() as leadership, requests.Session() as session:
            session.auth = RequestsToken(leadership)
            assert session.post(url, timeout=PATIENCE_S).text == str(leadership.token)
        late = requests.post(url, headers={"Leasekit-Token": str(leadership.token)}, timeout=PATIENCE_S)
    assert (late.status_code, late.json()["error"]) == (412, "leadership_lost")


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_websocket_without_a_good_token_is_refused_before_it_opens(
    file_guard: FileFence, extensions: dict[str, Any]
) -> None:
    app, sent = AsgiApp(), []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "extensions": extensions}
    await AsgiFence(app, file_guard)({**scope, "headers": []}, receive, send)
    assert app.seen == []
    if extensions:
        assert (sent[0]["status"], json.loads(sent[1]["body"])["error"]) == (428, "token_required")
    else:
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": "token_required"}]
    await AsgiFence(app, file_guard)({**scope, "headers": [(b"leasekit-token", b"3")]}, receive, send)
    assert app.seen == [("websocket", 3)]


async def test_other_events_of_the_server_pass() -> None:
    app = AsgiApp()
    guard: Any = type("Guard", (), {"resource": "any"})()
    await AsgiFence(app, guard)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert app.seen == [("lifespan", None)]


# The client's side.


def test_requests_sends_the_token_and_raises_the_refusal(file_guard: FileFence, serve: Callable[[Any], str]) -> None:
    url = serve(WsgiFence(wsgi_app, file_guard))
    with requests.Session() as session:
        session.auth = RequestsToken(9)
        assert session.post(url, timeout=PATIENCE_S).text == "9"
        with pytest.raises(FencingRejected) as refused:
            session.post(url, auth=RequestsToken(8, auth=("user", "password")), timeout=PATIENCE_S)
    assert (refused.value.token, refused.value.highest, refused.value.resource) == (8, 9, file_guard.resource)


def test_httpx_sends_the_token_and_raises_the_refusal(file_guard: FileFence, serve: Callable[[Any], str]) -> None:
    url = serve(WsgiFence(wsgi_app, file_guard))
    with httpx.Client(event_hooks=httpx_hooks(9), timeout=PATIENCE_S) as client:
        assert client.post(url).text == "9"
    with (
        httpx.Client(event_hooks=httpx_hooks(8), timeout=PATIENCE_S) as client,
        pytest.raises(FencingRejected) as refused,
    ):
        client.post(url)
    assert (refused.value.token, refused.value.highest, refused.value.resource) == (8, 9, file_guard.resource)


async def test_asynchronous_httpx_does_too(file_guard: FileFence) -> None:
    app = AsgiFence(AsgiApp(), file_guard)
    async with client_of(app, event_hooks=httpx_async_hooks(9)) as client:
        assert (await client.post("/")).text == "9"
    async with client_of(app, event_hooks=httpx_async_hooks(8)) as client:
        with pytest.raises(FencingRejected):
            await client.post("/")


def test_the_leadership_that_code_runs_under_is_the_default(file_guard: FileFence, serve: Callable[[Any], str]) -> None:
    url = serve(WsgiFence(wsgi_app, file_guard))
    with leasekit.connect("memory://") as store, httpx.Client(event_hooks=httpx_hooks(), timeout=PATIENCE_S) as client:
        with leasekit.Election("reports", store=store).campaign() as leadership:
            assert client.post(url).text == str(leadership.token)
        with pytest.raises(LookupError):
            client.post(url)


def test_another_412_is_left_to_the_caller(serve: Callable[[Any], str]) -> None:
    def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("412 Precondition Failed", [])
        return [b"If-Match failed"]

    with httpx.Client(event_hooks=httpx_hooks(1), timeout=PATIENCE_S) as client:
        assert client.post(serve(app)).status_code == 412


def test_a_token_of_a_leadership_that_is_over_is_still_sent_for_the_guard_to_judge() -> None:
    with leasekit.connect("memory://") as store:
        with leasekit.Election("reports", store=store).campaign() as leadership:
            request = requests.Request("POST", "http://127.0.0.1/", auth=RequestsToken(leadership)).prepare()
        with pytest.raises(LeadershipLost):
            leadership.check()
    assert request.headers["Leasekit-Token"] == str(leadership.token)
