"""The Redis fence against the contract of guards, by both clients of redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

from leasekit.errors import ConfigError, FencingRejected
from leasekit.fencing import AsyncRedisFence, RedisFence
from leasekit.testing.conformance import GuardConformance
from support.databases import Redis


class _OnRedis(GuardConformance):
    @pytest.fixture(autouse=True, params=[False, True], ids=["bytes", "text"])
    def _on(self, redis_server: Redis, request: pytest.FixtureRequest) -> None:
        self.server = redis_server
        self.decode = request.param

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[redis.asyncio.Redis]:
        client = redis.asyncio.Redis.from_url(self.server.url, decode_responses=self.decode)
        try:
            yield client
        finally:
            await client.aclose()

    async def read(self, resource: str) -> str | None:
        async with self.client() as client:
            value = await client.get(f"value of {resource}")
            return value.decode() if isinstance(value, bytes) else value


class TestRedis(_OnRedis):
    async def write(
        self, resource: str, token: int, value: str, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        def write() -> None:
            with redis.Redis.from_url(self.server.url, decode_responses=self.decode) as client:
                fence = RedisFence(resource, client, election=election, also=also)
                assert fence.execute(token, ("SET", f"value of {resource}", value)) in (["OK"], [b"OK"])

        await asyncio.to_thread(write)

    async def highest(self, resource: str) -> int | None:
        with redis.Redis.from_url(self.server.url, decode_responses=self.decode) as client:
            return RedisFence(resource, client).highest()

    def admission(self, resource: str, token: int) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def admitted() -> AsyncIterator[None]:
            with (
                redis.Redis.from_url(self.server.url, decode_responses=self.decode) as client,
                RedisFence(resource, client).admit(token),
            ):
                yield

        return admitted()


class TestAsyncRedis(_OnRedis):
    async def write(
        self, resource: str, token: int, value: str, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        async with self.client() as client:
            fence = AsyncRedisFence(resource, client, election=election, also=also)
            await fence.execute(token, ("SET", f"value of {resource}", value))

    async def highest(self, resource: str) -> int | None:
        async with self.client() as client:
            return await AsyncRedisFence(resource, client).highest()

    def admission(self, resource: str, token: int) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def admitted() -> AsyncIterator[None]:
            async with self.client() as client, AsyncRedisFence(resource, client).admit(token):
                yield

        return admitted()


@pytest.fixture
def client(redis_server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


def test_several_commands_are_run_in_order_and_their_replies_come_back(client: redis.Redis, prefix: str) -> None:
    replies = RedisFence(prefix, client).execute(
        3,
        ("SET", prefix, "7", "EX", 60),
        ("INCRBY", prefix, 5),
        ("GET", "no such key"),
        ("RPUSH", f"{prefix}-list", b"a b", "", 1.5),
        ("LRANGE", f"{prefix}-list", 0, -1),
    )
    assert replies == ["OK", 12, None, 3, ["a b", "", "1.5"]]


def test_of_a_refused_script_no_command_is_run(client: redis.Redis, prefix: str) -> None:
    fence = RedisFence(prefix, client)
    fence.execute(9, ("SET", prefix, "new"))
    with pytest.raises(FencingRejected):
        fence.execute(8, ("SET", prefix, "old"), ("DEL", prefix))
    assert client.get(prefix) == "new"


def test_a_command_that_fails_leaves_those_before_it_done_and_the_mark(client: redis.Redis, prefix: str) -> None:
    fence = RedisFence(prefix, client)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        fence.execute(3, ("SET", prefix, "text"), ("LPUSH", prefix, "x"))
    assert (client.get(prefix), fence.highest()) == ("text", 3)


def test_a_command_too_long_for_a_script_is_refused_before_anything_is_run(client: redis.Redis, prefix: str) -> None:
    fence = RedisFence(prefix, client)
    fence.execute(1, ("RPUSH", f"{prefix}:list", *range(7898)))
    assert client.llen(f"{prefix}:list") == 7898
    with pytest.raises(ConfigError, match="split it up"):
        fence.execute(2, ("SET", f"{prefix}:key", "value"), ("RPUSH", f"{prefix}:list", *range(7899)))
    assert (client.get(f"{prefix}:key"), fence.highest()) == (None, 1)


def test_a_server_that_forgot_its_scripts_is_told_again(client: redis.Redis, prefix: str) -> None:
    fence = RedisFence(prefix, client)
    fence.execute(1)
    client.script_flush()
    fence.execute(2)
    assert fence.highest() == 2


@pytest.mark.parametrize("command", ["SET key value", (), b"GET x"])
def test_what_is_no_command_is_refused(client: redis.Redis, prefix: str, command: Any) -> None:
    fence = RedisFence(prefix, client)
    with pytest.raises(ConfigError, match="command"):
        fence.execute(1, command)
    assert fence.highest() is None
