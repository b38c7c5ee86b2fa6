"""A fence inside Redis: one Lua script checks the token, remembers it, and does the writes.

Redis runs a script alone, so nothing comes between check and writes. Tokens are compared as text of one length, since
numbers in Lua are doubles.

Promised: on one Redis server, no command of a lower token is run after one of a higher. Not promised:

* Redis replicates asynchronously. A failover (Sentinel, or a managed service's) may lose the last writes *and the marks
  with them*: then a stale leader can pass once more. `WAIT` makes that rarer, not impossible. The same goes for a restart
  without `appendonly yes`, or with `appendfsync` other than `always`.
* A script that fails half-way is not undone: what its commands did before stays, and so does the mark.
* Marks are ordinary keys. Never let them be evicted (`maxmemory-policy noeviction`, or a `volatile-` one) or flushed.
* On Redis Cluster all keys of one script must be in one slot: put the same `{tag}` into the resource's name and the keys.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from leasekit.errors import ConfigError
from leasekit.fencing.contract import Mark, Rule

if TYPE_CHECKING:
    import redis
    import redis.asyncio

Argument = str | bytes | int | float
Command = Sequence[Argument]

PREFIX = "leasekit:fence:"

_DIGITS = 20
_PARTS_MAX = 7900
"""Of one command. Lua can hand over no more than about 8,000, and fails only when it comes to that."""
_SCRIPT = """
local seen = redis.call('HMGET', KEYS[1], 'token', 'election')
if seen[1] then
  local known = false
  for number = 1, tonumber(ARGV[2]) do
    known = known or ARGV[2 + number] == seen[2]
  end
  if not known or ARGV[1] < seen[1] then
    return {'seen', seen[1], seen[2]}
  end
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'election', ARGV[3])
local replies = {}
local at = 3 + tonumber(ARGV[2])
while at <= #ARGV do
  local length = tonumber(ARGV[at])
  replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, at + length))
  at = at + 1 + length
end
return {'done', replies}
"""


class _Fence:
    """What both clients' fences have in common: what is sent, and what an answer means."""

    def __init__(self, resource: str, *, election: str | None, also: Collection[str]) -> None:
        self._rule = Rule.of(resource, election, also)
        self.key = PREFIX + resource
        """Where the mark is: a hash with `token` and `election`."""

    @property
    def resource(self) -> str:
        """What is guarded."""
        return self._rule.resource

    def _arguments(self, token: int, commands: Sequence[Command]) -> list[Argument]:
        self._rule.judge(token, None)
        arguments: list[Argument] = [f"{token:0{_DIGITS}d}", len(self._rule.elections), *self._rule.elections]
        for command in commands:
            if isinstance(command, str | bytes) or not command:
                raise ConfigError("command", f'{command!r} will not do: write ("SET", "key", "value")')
            if len(command) > _PARTS_MAX:
                raise ConfigError("command", f"has {len(command)} parts, and {_PARTS_MAX} are the most: split it up")
            arguments += [len(command), *command]
        return arguments

    def _replies(self, token: int, answer: Any) -> list[Any]:
        if _text(answer[0]) == "done":
            replies: list[Any] = answer[1]
            return replies
        self._rule.judge(token, Mark(int(answer[1]), _text(answer[2])))
        raise AssertionError("the script refused what the rule accepts")


class RedisFence(_Fence):
    """Guards one resource in Redis, by a blocking `redis.Redis`.

        fence = RedisFence("reports", client)
        fence.execute(leadership.token, ("SET", "report", text), ("EXPIRE", "report", 3600))

    A reply that is lost makes redis-py send a command again, if its `retry` says so: then let the commands be such that
    twice is as good as once.

    Args:
        resource: what is guarded; all keys that must not be written by a stale leader.
        client: a `redis.Redis`, of any `decode_responses`.
        election, also: whose tokens these are (`leasekit.fencing.contract`).
    """

    def __init__(
        self, resource: str, client: redis.Redis, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        super().__init__(resource, election=election, also=also)
        self._client: Any = client
        self._script: Any = client.register_script(_SCRIPT)

    def execute(self, token: int, *commands: Command) -> list[Any]:
        """Run the commands if no higher token has been seen, and remember this one; returns their replies.

        Raises:
            FencingRejected: a higher token was here. Nothing was run. Stop: another leads.
            ConfigError: the resource is guarded by the tokens of another election, this is no token, or a command has
                more than 7,900 parts. Nothing was run.
            redis.exceptions.RedisError: as redis-py says; a `ResponseError` of one command leaves those before it done.
        """
        return self._replies(token, self._script(keys=[self.key], args=self._arguments(token, commands)))

    def highest(self) -> int | None:
        """The highest token seen so far, None if there was none."""
        return _number(self._client.hget(self.key, "token"))

    @contextmanager
    def admit(self, token: int) -> Iterator[None]:
        """Let this token pass and remember it. Raises as `execute` does. Holds nobody off while the block runs."""
        self.execute(token)
        yield


class AsyncRedisFence(_Fence):
    """The same, by a `redis.asyncio.Redis`. See `RedisFence`."""

    def __init__(
        self, resource: str, client: redis.asyncio.Redis, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        super().__init__(resource, election=election, also=also)
        self._client: Any = client
        self._script: Any = client.register_script(_SCRIPT)

    async def execute(self, token: int, *commands: Command) -> list[Any]:
        """Run the commands if no higher token has been seen. See `RedisFence.execute`."""
        return self._replies(token, await self._script(keys=[self.key], args=self._arguments(token, commands)))

    async def highest(self) -> int | None:
        """The highest token seen so far, None if there was none."""
        return _number(await self._client.hget(self.key, "token"))

    @asynccontextmanager
    async def admit(self, token: int) -> AsyncIterator[None]:
        """Let this token pass and remember it. Raises as `execute` does. Holds nobody off while the block runs."""
        await self.execute(token)
        yield


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _number(value: str | bytes | None) -> int | None:
    return None if value is None else int(value)
