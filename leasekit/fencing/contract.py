"""The one rule of all guards: *accept iff token >= the highest seen, remember it, atomically with the write*.

Each guard keeps a *mark* per resource: the highest token seen, and the election that it came from. What a guard does not
do: tell who leads. It knows what it has seen, and a leader that nobody has overtaken here yet may write, lost or not.

Tokens of one store rise over all its elections, and tokens of different stores have nothing to do with each other. So a
resource belongs to one election, and a token of another is a mistake (ConfigError), unless the guard names both (`also`):
then the one elected last writes. That is for an election that was renamed, or for several that take turns in one store.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from leasekit import journal
from leasekit.errors import ConfigError, FencingRejected
from leasekit.observability.events import Refused
from leasekit.observability.hub import HUB

HIGHEST_TOKEN = 2**63 - 1
"""What every database can keep."""
TOKEN_VARIABLE = "LEASEKIT_TOKEN"
ELECTION_VARIABLE = "LEASEKIT_ELECTION"

_NAME = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")


@dataclass(frozen=True, slots=True)
class Mark:
    """The highest token that a resource has seen, and the election that it came from."""

    token: int
    election: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Which tokens a guard lets pass, given what its resource has seen. Every guard asks this, or says the same.

    Args:
        resource: what is guarded, by any name: 1 to 200 printable ASCII characters, no space at either end.
        election: whose tokens these are; None: the election is named like the resource.
        also: other elections whose tokens the resource takes as well.
    """

    resource: str
    election: str
    elections: tuple[str, ...]

    @staticmethod
    def of(resource: str, election: str | None = None, also: Collection[str] = ()) -> Rule:
        """Check the names. Raises ConfigError where one will not do."""
        named = resource if election is None else election
        others = (also,) if isinstance(also, str) else tuple(also)
        _check_name("resource", resource)
        for name in (named, *others):
            _check_name("election", name)
        return Rule(resource, named, tuple(dict.fromkeys((named, *others))))

    def judge(self, token: int, seen: Mark | None) -> Mark:
        """The mark as it must stand when the write is done.

        Raises:
            FencingRejected: a higher token was seen.
            ConfigError: the mark is another election's, or this is no token.
        """
        check_token(token)
        if seen is not None:
            self.require_own(seen)
            if token < seen.token:
                raise self.refusal(token, seen.token)
        return Mark(token, self.election)

    def require_own(self, seen: Mark) -> None:
        """Raise ConfigError if the mark was left by an election that this guard does not name."""
        if seen.election not in self.elections:
            raise ConfigError(
                "election",
                f"{self.resource!r} is guarded by tokens of election {seen.election!r}, not of {self.election!r}, and "
                "they do not compare; if both are in one store and may write in turn, name both in every guard "
                f"(election={self.election!r}, also=[{seen.election!r}])",
            )

    def refusal(self, token: int, highest: int) -> FencingRejected:
        """The error for a token that came too late. This process's journal and whoever listens are told of it."""
        return refused(self.resource, self.election, token, highest)


def refused(resource: str, election: str, token: int, highest: int) -> FencingRejected:
    """The error for a token that came too late, for guards that judge without a `Rule`; told as by `Rule.refusal`."""
    journal.of_process().fenced(resource, election, token, highest)
    HUB.tell(Refused(resource, election, token, highest))
    return FencingRejected(token, highest, resource=resource)


class Guard(Protocol):
    """What every guard has in common, for code that serves any of them (`leasekit.fencing.http`, `fence check`).

    A guard's own methods join check and write, each in the way of its resource; this one is for what can only ask.
    """

    @property
    def resource(self) -> str:
        """What is guarded."""
        ...

    def admit(self, token: int) -> AbstractContextManager[Any]:
        """Let `token` pass and remember it, when the block is entered.

        Where the resource has locks (SQL, files), no other process is admitted before the block ends.

        Raises:
            FencingRejected: a higher token was seen: another leads. Stop.
            ConfigError: the resource is another election's, or this is no token.
        """
        ...


class AsyncGuard(Protocol):
    """The same, for asyncio."""

    @property
    def resource(self) -> str:
        """What is guarded."""
        ...

    def admit(self, token: int) -> AbstractAsyncContextManager[Any]:
        """As `Guard.admit`."""
        ...


def check_token(token: object) -> int:
    """Refuse what no election gives: raises ConfigError."""
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token <= HIGHEST_TOKEN:
        raise ConfigError("token", f"{token!r} is no fencing token: pass `leadership.token`")
    return token


def parse_token(text: str) -> int:
    """A token as it stands in an environment variable or a header. Raises ConfigError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ConfigError("token", f"{text[:40]!r} is no fencing token: it is an integer, as `leadership.token` is")
    return check_token(int(text))


def token_from_environment(environment: Mapping[str, str] | None = None) -> int:
    """The token that `leasekit run` gives its command (LEASEKIT_TOKEN). Raises ConfigError where there is none."""
    text = (os.environ if environment is None else environment).get(TOKEN_VARIABLE)
    if not text:
        raise ConfigError(TOKEN_VARIABLE, "is not set: `leasekit run` sets it for its command")
    return parse_token(text)


def _check_name(field: str, name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            field,
            f"{name!r} will not do: name what is guarded, for example after the election, in 1 to 200 printable ASCII "
            "characters without a space at either end",
        )
