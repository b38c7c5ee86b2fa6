"""The conformance suite of fencing guards: a pytest class that a guard's author subclasses.

    class TestMyFence(GuardConformance):
        async def write(self, resource, token, value, *, election=None, also=()) -> None:
            MyFence(resource, election=election, also=also).put("key of " + resource, value, token)
        async def read(self, resource) -> str | None: ...
        async def highest(self, resource) -> int | None: ...

Tests are plain coroutines: run them with pytest-asyncio in auto mode, or with anyio's plugin.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from leasekit.errors import ConfigError, FencingRejected
from leasekit.observability.events import Event, Refused
from leasekit.observability.hub import HUB, subscribe

NO_TOKENS = [-1, 2**63, True, 1.5, "7", None]


class GuardConformance:
    """*Accept iff token >= the highest seen, remember it, atomically with the write*: the whole contract.

    Every call of a hook stands for another client: connect anew, or take care that nothing is kept between calls.
    Blocking code belongs into `asyncio.to_thread`, else the races have nobody to race with.
    """

    rounds = 5
    """How often a race is run."""
    writers = 6
    """How many take part."""
    tells_here = True
    """Whether refusals are made in this process. False for a guard that judges in another one."""

    async def write(
        self, resource: str, token: int, value: str, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        """Set the value of `resource` by a guarded write."""
        raise NotImplementedError("define write(self, resource, token, value, *, election, also)")

    async def read(self, resource: str) -> str | None:
        """The value of `resource`; None if none was written."""
        raise NotImplementedError("define read(self, resource)")

    async def highest(self, resource: str) -> int | None:
        """The highest token that the guard of `resource` has seen; None if none was."""
        raise NotImplementedError("define highest(self, resource)")

    def unfinished(self, resource: str, token: int, value: str) -> AbstractAsyncContextManager[None]:
        """A guarded write that has begun when the block is entered, and is finished at its end, or raises there."""
        pytest.skip("unfinished() is not defined")

    async def restart(self) -> None:
        """Stop what keeps the marks, and start it again."""
        pytest.skip("restart() is not defined")

    def admission(self, resource: str, token: int) -> AbstractAsyncContextManager[Any]:
        """The guard's `admit(token)`, as an asynchronous context manager whichever kind it is."""
        pytest.skip("admission() is not defined")

    @pytest.fixture
    def resource(self) -> str:
        """A resource that no other test uses."""
        return f"conformance-{uuid.uuid4().hex}"

    async def test_nothing_was_seen_at_first(self, resource: str) -> None:
        assert await self.highest(resource) is None

    @pytest.mark.parametrize("token", [0, 1, 2**53 + 1, 2**63 - 1])
    async def test_any_first_token_passes_and_is_remembered(self, resource: str, token: int) -> None:
        await self.write(resource, token, "first")
        assert (await self.read(resource), await self.highest(resource)) == ("first", token)

    async def test_equal_and_higher_tokens_pass(self, resource: str) -> None:
        for token in (7, 7, 8, 8, 1000):
            await self.write(resource, token, f"by {token}")
            assert (await self.read(resource), await self.highest(resource)) == (f"by {token}", token)

    @pytest.mark.parametrize(
        ("token", "highest"),
        # As text and as doubles, these would compare otherwise.
        [(8, 9), (9, 10), (99, 100), (2**53, 2**53 + 1), (2**63 - 2, 2**63 - 1), (0, 1)],
    )
    async def test_a_lower_token_is_refused_and_nothing_is_written(
        self, resource: str, token: int, highest: int
    ) -> None:
        await self.write(resource, highest, "new")
        with pytest.raises(FencingRejected) as refused:
            await self.write(resource, token, "old")
        assert (refused.value.token, refused.value.highest, refused.value.resource) == (token, highest, resource)
        assert (await self.read(resource), await self.highest(resource)) == ("new", highest)

    async def test_a_refusal_says_what_to_do_when_the_store_was_restored(self, resource: str) -> None:
        await self.write(resource, 41, "before")
        with pytest.raises(FencingRejected, match="leasekit fence rebase --above 41"):
            await self.write(resource, 3, "after")

    async def test_a_refusal_is_told_to_whoever_listens(self, resource: str) -> None:
        if not self.tells_here:
            pytest.skip("refusals are made in another process")
        told: list[Event] = []
        stop = subscribe(told.append)
        try:
            await self.write(resource, 9, "new", election="reports")
            with pytest.raises(FencingRejected):
                await self.write(resource, 4, "old", election="reports")
            assert await asyncio.to_thread(HUB.flush, 10.0)
        finally:
            stop()
        refusals = [event for event in told if isinstance(event, Refused) and event.resource == resource]
        assert refusals == [Refused(resource, "reports", 4, 9)], "raise what Rule.refusal (or `refused`) returns"

    async def test_a_refused_writer_is_refused_again(self, resource: str) -> None:
        await self.write(resource, 5, "new")
        for _ in range(3):
            with pytest.raises(FencingRejected):
                await self.write(resource, 4, "old")
        await self.write(resource, 5, "newer")
        assert await self.read(resource) == "newer"

    async def test_resources_are_guarded_apart(self, resource: str) -> None:
        await self.write(resource, 9, "high")
        for other in (f"{resource}2", resource.upper(), f"{resource} 2"):
            await self.write(other, 1, "low")
            assert (await self.read(other), await self.highest(other)) == ("low", 1)
        assert (await self.read(resource), await self.highest(resource)) == ("high", 9)

    @pytest.mark.parametrize("token", NO_TOKENS)
    async def test_what_is_no_token_is_refused(self, resource: str, token: Any) -> None:
        with pytest.raises(ConfigError, match="token"):
            await self.write(resource, token, "x")
        assert (await self.read(resource), await self.highest(resource)) == (None, None)

    @pytest.mark.parametrize("name", ["", " reports", "reports ", "a\nb", "é", "x" * 201])
    async def test_a_name_that_not_every_resource_can_keep_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match="resource"):
            await self.write(name, 1, "x")

    @pytest.mark.parametrize("token", [4, 5, 6])
    async def test_a_token_of_another_election_is_a_mistake(self, resource: str, token: int) -> None:
        await self.write(resource, 5, "mine", election="reports")
        for other in ("invoices", "Reports", None):
            with pytest.raises(ConfigError, match="'reports'"):
                await self.write(resource, token, "theirs", election=other)
        assert (await self.read(resource), await self.highest(resource)) == ("mine", 5)

    async def test_elections_that_name_each_other_share_one_mark(self, resource: str) -> None:
        await self.write(resource, 5, "old name", election="reports")
        await self.write(resource, 6, "new name", election="reports-2", also=["reports"])
        with pytest.raises(FencingRejected):
            await self.write(resource, 5, "late", election="reports", also=["reports-2"])
        with pytest.raises(ConfigError):
            await self.write(resource, 7, "not told", election="reports")
        await self.write(resource, 7, "in turn", election="reports", also=["reports-2"])
        assert (await self.read(resource), await self.highest(resource)) == ("in turn", 7)

    async def test_of_writers_at_the_same_time_the_highest_is_the_last(self, resource: str) -> None:
        for number in range(self.rounds):
            tokens = [100 * number + token for token in range(self.writers)]
            random.Random(number).shuffle(tokens)
            results = await asyncio.gather(*(self._passed(resource, token) for token in tokens))
            highest = max(tokens)
            assert dict(zip(tokens, results, strict=True))[highest], "nothing is above the highest"
            assert (await self.read(resource), await self.highest(resource)) == (f"by {highest}", highest)

    async def _passed(self, resource: str, token: int) -> bool:
        try:
            await self.write(resource, token, f"by {token}")
        except FencingRejected as refusal:
            refused = refusal
        else:
            return True
        assert refused.highest > token
        return False

    async def test_a_higher_token_in_the_middle_of_a_write_wins(self, resource: str) -> None:
        overtaking: asyncio.Task[bool] | None = None
        refused: FencingRejected | None = None
        try:
            async with self.unfinished(resource, 5, "slow"):
                overtaking = asyncio.create_task(self._passed(resource, 6))
                # It passes now, or waits for the slow one; whichever it is, its write is the last.
                await asyncio.wait([overtaking], timeout=0.2)
        except FencingRejected as refusal:
            refused = refusal
        assert refused is None or (refused.token, refused.highest) == (5, 6)
        assert overtaking is not None
        assert await overtaking
        assert (await self.read(resource), await self.highest(resource)) == ("by 6", 6)

    async def test_a_write_that_is_given_up_lets_later_ones_pass(self, resource: str) -> None:
        with pytest.raises(ZeroDivisionError):
            async with self.unfinished(resource, 5, "given up"):
                raise ZeroDivisionError
        assert await self.read(resource) is None
        await self.write(resource, 5, "again")
        assert await self.read(resource) == "again"

    async def test_marks_outlive_what_keeps_them(self, resource: str) -> None:
        await self.write(resource, 9, "new")
        await self.restart()
        with pytest.raises(FencingRejected):
            await self.write(resource, 8, "old")
        assert (await self.read(resource), await self.highest(resource)) == ("new", 9)

    async def test_who_is_admitted_is_remembered_and_who_is_lower_is_not_admitted(self, resource: str) -> None:
        for token in (5, 5, 6):
            async with self.admission(resource, token):
                pass
            assert await self.highest(resource) == token
        with pytest.raises(FencingRejected):
            async with self.admission(resource, 5):
                pytest.fail("admitted")
        with pytest.raises(FencingRejected):
            await self.write(resource, 5, "old")
        await self.write(resource, 6, "new")
