"""The conformance suite of guards accepts a right guard and finds each kind of wrong one."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Any

import pytest

from leasekit.errors import ConfigError, FencingRejected
from leasekit.fencing.contract import Mark, Rule
from leasekit.testing.conformance import GuardConformance


class TestAGuardInMemory(GuardConformance):
    """The rule itself, in a dictionary."""

    @cached_property
    def marks(self) -> dict[str, Mark]:
        return {}

    @cached_property
    def values(self) -> dict[str, str]:
        return {}

    @cached_property
    def locks(self) -> dict[str, asyncio.Lock]:
        return {}

    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        return rule.judge(token, seen)

    async def write(
        self, resource: str, token: int, value: str, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        async with self.writing(Rule.of(resource, election, also), token, value):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def writing(self, rule: Rule, token: int, value: str) -> AsyncIterator[None]:
        async with self.locks.setdefault(rule.resource, asyncio.Lock()):
            mark = self.judge(rule, token, self.marks.get(rule.resource))
            yield
            self.marks[rule.resource], self.values[rule.resource] = mark, value

    async def read(self, resource: str) -> str | None:
        return self.values.get(resource)

    async def highest(self, resource: str) -> int | None:
        mark = self.marks.get(resource)
        return None if mark is None else mark.token

    def unfinished(self, resource: str, token: int, value: str) -> AbstractAsyncContextManager[None]:
        return self.writing(Rule.of(resource), token, value)


class _Wrong(TestAGuardInMemory):
    __test__ = False


class _RefusesNothing(_Wrong):
    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        return rule.judge(token, None)


class _RefusesEqualTokens(_Wrong):
    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        if seen is not None and token == seen.token:
            raise FencingRejected(token, seen.token, resource=rule.resource)
        return rule.judge(token, seen)


class _ComparesText(_Wrong):
    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        mark = rule.judge(token, None)
        if seen is not None and str(token) < str(seen.token):
            raise FencingRejected(token, seen.token, resource=rule.resource)
        return mark


class _ComparesDoubles(_Wrong):
    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        mark = rule.judge(token, None)
        if seen is not None and float(token) < float(seen.token):
            raise FencingRejected(token, seen.token, resource=rule.resource)
        return mark


class _TakesAnyToken(_Wrong):
    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        return rule.judge(token, seen) if type(token) is int else Mark(7, rule.election)


class _ForgetsTheElection(_Wrong):
    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        return rule.judge(token, None if seen is None else Mark(seen.token, rule.election))


class _KnowsOneElectionOnly(_Wrong):
    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        return Rule.of(rule.resource, rule.election).judge(token, seen)


class _TellsNobody(_Wrong):
    def judge(self, rule: Rule, token: int, seen: Mark | None) -> Mark:
        if seen is not None and token < seen.token:
            raise FencingRejected(token, seen.token, resource=rule.resource)
        return rule.judge(token, seen)


class _TakesAnyName(_Wrong):
    async def write(
        self, resource: str, token: int, value: str, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        await super().write("".join(resource.split()) or "x", token, value, election=election, also=also)


class _ChecksFirstAndWritesLater(_Wrong):
    @asynccontextmanager
    async def writing(self, rule: Rule, token: int, value: str) -> AsyncIterator[None]:
        self.marks[rule.resource] = self.judge(rule, token, self.marks.get(rule.resource))
        yield
        self.values[rule.resource] = value


class _WritesWhatItRefuses(_Wrong):
    @asynccontextmanager
    async def writing(self, rule: Rule, token: int, value: str) -> AsyncIterator[None]:
        self.values[rule.resource] = value
        async with super().writing(rule, token, value):
            yield


class _HasOneMarkForAll(_Wrong):
    @asynccontextmanager
    async def writing(self, rule: Rule, token: int, value: str) -> AsyncIterator[None]:
        mark = self.judge(rule, token, max(self.marks.values(), key=lambda mark: mark.token, default=None))
        yield
        self.marks[rule.resource], self.values[rule.resource] = mark, value


WRONG = list(_Wrong.__subclasses__())


def _tests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every test of the suite that a guard in memory can take, with each of its parameters."""
    for name, function in inspect.getmembers(GuardConformance, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
        for rows in itertools.product(*(mark.args[1] for mark in marks)):
            arguments: dict[str, Any] = {}
            for mark, row in zip(marks, rows, strict=True):
                names = [mark.args[0]] if isinstance(mark.args[0], str) else mark.args[0]
                arguments |= dict(zip(names, row if len(names) > 1 else [row], strict=True))
            if "resource" in inspect.signature(function).parameters:
                arguments["resource"] = "reports-of-the-test"
            yield name, arguments


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
async def test_a_wrong_guard_is_found(wrong: type[_Wrong]) -> None:
    found = []
    for name, arguments in _tests():
        try:
            await getattr(wrong(), name)(**arguments)
        except pytest.skip.Exception:
            continue
        except (AssertionError, pytest.fail.Exception, FencingRejected, ConfigError):
            found.append(name)
    assert found
