"""Which agent is asked, how often, and what is concluded when it does not answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from leasekit.backends.consul import open_store
from leasekit.errors import AuthError, LeasekitError, OutcomeUnknown, ProtocolError, StoreUnavailable
from leasekit.store import Absent, Put, Store
from leasekit.urls import parse

from .conftest import Reply, Request, ScriptedAgent

LONG_S = 30.0
HELD_UP_S = 2.0
"""For an agent that is not to answer: long enough for a busy machine to have asked it."""
TOKEN = "s3cr3t-token"
INDEX = {"X-Consul-Index": "7"}
APPLIED = Reply(
    body='{"Results": [{"KV": {"Key": "p/k", "Value": null, "CreateIndex": 9, "ModifyIndex": 9}}], "Errors": null}'
)

Open = Callable[..., Store]
Agents = Callable[[], ScriptedAgent]


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Opens stores on the given ports; closes them in the end."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", TOKEN)
    stores: list[Store] = []

    def open_on(*ports: int) -> Store:
        stores.append(open_store(parse(f"consul://{','.join(f'127.0.0.1:{port}' for port in ports)}/p")))
        return stores[-1]

    yield open_on
    for store in stores:
        await store.aclose()


@pytest.fixture
def closed_ports() -> Iterator[list[int]]:
    """Two ports that are nobody else's meanwhile, and where nobody listens."""
    with socket.socket() as one, socket.socket() as other:
        for reserved in (one, other):
            reserved.bind(("127.0.0.1", 0))
        yield [reserved.getsockname()[1] for reserved in (one, other)]


async def put(store: Store, timeout_s: float = LONG_S) -> object:
    return await store.transact([Absent("k")], [Put("k", b"")], timeout_s=timeout_s)


def targets(agent: ScriptedAgent) -> list[str]:
    return [f"{request.method} {request.target}" for request in agent.requests]


async def test_a_write_whose_connection_breaks_is_never_sent_again(agents: Agents, opened: Open) -> None:
    agent = agents()
    agent.answer = lambda _: APPLIED
    store = opened(agent.port)
    assert await put(store) is not None
    # The connection is kept and used again, which is when aiohttp would repeat a PUT by itself.
    agent.answer = lambda _: Reply(drop=True)
    with pytest.raises(OutcomeUnknown):
        await put(store)
    assert targets(agent) == ["PUT /v1/txn?consistent="] * 2


async def test_a_read_whose_connection_breaks_is_repeated(agents: Agents, opened: Open) -> None:
    agent = agents()
    replies = iter([Reply(404, headers=INDEX), Reply(drop=True), Reply(404, headers=INDEX)])
    agent.answer = lambda _: next(replies)
    store = opened(agent.port)
    assert await store.get("k", timeout_s=LONG_S) is None
    assert await store.get("k", timeout_s=LONG_S) is None
    assert len(agent.requests) == 3


async def test_an_agent_that_refuses_connections_is_passed_over_even_by_a_write(
    agents: Agents, opened: Open, closed_ports: list[int]
) -> None:
    agent = agents()
    agent.answer = lambda _: APPLIED
    store = opened(closed_ports[0], agent.port)
    assert await put(store) is not None
    assert await put(store) is not None
    assert len(agent.requests) == 2


async def test_nobody_to_connect_to_means_surely_not_applied(opened: Open, closed_ports: list[int]) -> None:
    store = opened(*closed_ports)
    with pytest.raises(StoreUnavailable, match="connect"):
        await put(store)
    with pytest.raises(StoreUnavailable):
        await store.renew("11111111-2222-3333-4444-555555555555", timeout_s=LONG_S)


async def test_a_name_that_does_not_resolve_means_surely_not_applied(opened: Open) -> None:
    store = open_store(parse("consul://no-such-host.invalid/p"))
    with pytest.raises(StoreUnavailable):
        await put(store)
    await store.aclose()


async def test_a_write_to_a_hung_agent_is_not_sent_to_another(agents: Agents, opened: Open) -> None:
    hung, other = agents(), agents()
    hung.answer = lambda _: Reply(hang=True)
    other.answer = lambda _: APPLIED
    store = opened(hung.port, other.port)
    with pytest.raises(OutcomeUnknown, match="no answer in time"):
        await put(store, timeout_s=HELD_UP_S)
    assert other.requests == []
    assert await put(store) is not None
    assert len(hung.requests) == len(other.requests) == 1


async def test_a_read_tries_every_agent_within_its_time(agents: Agents, opened: Open) -> None:
    hung, other = agents(), agents()
    hung.answer = lambda _: Reply(hang=True)
    other.answer = lambda _: Reply(404, headers=INDEX)
    store = opened(hung.port, other.port)
    assert await store.get("k", timeout_s=2 * HELD_UP_S) is None
    other.answer = hung.answer
    with pytest.raises(StoreUnavailable):
        await store.get("k", timeout_s=0.3)


async def test_an_agent_without_a_leader_is_passed_over(agents: Agents, opened: Open) -> None:
    lost, other = agents(), agents()
    lost.answer = lambda _: Reply(500, "No cluster leader")
    other.answer = lambda _: APPLIED
    store = opened(lost.port, other.port)
    assert await put(store) is not None
    lost_too = opened(lost.port)
    with pytest.raises(StoreUnavailable, match="No cluster leader"):
        await put(lost_too)


async def test_an_unclear_failure_leaves_a_write_open(agents: Agents, opened: Open) -> None:
    agent, other = agents(), agents()
    agent.answer = lambda _: Reply(500, "leadership lost while committing log")
    other.answer = lambda _: Reply(404, headers=INDEX)
    store = opened(agent.port, other.port)
    with pytest.raises(OutcomeUnknown):
        await put(store)
    assert other.requests == []
    # A read is asked for anew at the other.
    assert await store.get("k", timeout_s=LONG_S) is None
    assert len(agent.requests) == 2


async def test_the_token_goes_by_header_and_shows_nowhere(agents: Agents, opened: Open) -> None:
    agent = agents()
    store = opened(agent.port)
    said: list[str] = [repr(store), store.url]
    calls: list[Callable[[], Any]] = [
        lambda: put(store, 0.1),
        lambda: store.get("k", timeout_s=0.1),
        lambda: store.scan("", timeout_s=0.1),
        lambda: store.renew("11111111-2222-3333-4444-555555555555", timeout_s=0.1),
        lambda: anext(store.watch("k", after=0)),
    ]
    for reply in (Reply(403, "Permission denied"), Reply(418, "?"), Reply(drop=True), Reply(hang=True)):
        agent.answer = lambda _, reply=reply: reply  # type: ignore[misc]
        for call in calls:
            try:
                async with asyncio.timeout(0.3):
                    await call()
            except (LeasekitError, TimeoutError) as error:
                said += [repr(error), repr(error.__cause__)]
    assert len(said) == 2 + 2 * 4 * len(calls)
    assert not [text for text in said if TOKEN in text]
    assert all(request.headers["x-consul-token"] == TOKEN for request in agent.requests)
    assert all(TOKEN not in request.target for request in agent.requests)


async def test_a_redirect_is_not_followed_with_the_token(agents: Agents, opened: Open) -> None:
    agent, elsewhere = agents(), agents()
    agent.answer = lambda _: Reply(307, headers={"Location": f"http://127.0.0.1:{elsewhere.port}/v1/txn"})
    store = opened(agent.port)
    with pytest.raises(ProtocolError):
        await put(store)
    assert elsewhere.requests == []


async def test_something_else_than_consul_is_a_protocol_error(agents: Agents, opened: Open) -> None:
    agent = agents()
    store = opened(agent.port)
    for reply in (Reply(200, "<html>"), Reply(404, "not found")):
        agent.answer = lambda _, reply=reply: reply  # type: ignore[misc]
        with pytest.raises(ProtocolError):
            await store.get("k", timeout_s=LONG_S)
        with pytest.raises(ProtocolError):
            await put(store)


async def test_an_empty_scan_makes_sure_that_the_token_may_read(agents: Agents, opened: Open) -> None:
    agent = agents()

    def answer(request: Request) -> Reply:
        return Reply(404, headers=INDEX) if "recurse" in request.target else Reply(403, "Permission denied")

    agent.answer = answer
    store = opened(agent.port)
    with pytest.raises(AuthError):
        await store.scan("q/", timeout_s=LONG_S)


async def test_a_busy_agent_that_turns_connections_away_is_a_definite_no(agents: Agents, opened: Open) -> None:
    agent = agents()
    agent.answer = lambda _: Reply(429, "too many")
    with pytest.raises(StoreUnavailable, match="http_max_conns_per_client"):
        await put(opened(agent.port))


async def test_closing_fails_the_requests_under_way_long_before_their_time(agents: Agents, opened: Open) -> None:
    agent = agents()
    agent.answer = lambda _: Reply(hang=True)
    store = opened(agent.port)
    writing = asyncio.create_task(put(store, 2 * LONG_S))
    watching = asyncio.ensure_future(anext(store.watch("k", after=0)))
    while len(agent.requests) < 2:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(LONG_S / 2):
        await store.aclose()
        with pytest.raises(OutcomeUnknown):
            await writing
        with pytest.raises(StopAsyncIteration):
            await watching
    with pytest.raises(StoreUnavailable, match="closed"):
        await put(store)
