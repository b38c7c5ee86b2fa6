"""A cluster as an operator's command sees it: every member's own word, and what is asked of the leader."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import ssl
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from leasekit import urls
from leasekit.backends.raft.client import settings
from leasekit.backends.raft.core.types import MemberId, Membership, Role
from leasekit.backends.raft.member.asking import ask, ask_status
from leasekit.backends.raft.requests import Done, MemberStatus, NotLeader, Problem, Refused, Request
from leasekit.cli.options import Settings
from leasekit.connection import STORE_VARIABLE
from leasekit.errors import ConfigError, OutcomeUnknown, ProtocolError, StoreUnavailable

T = TypeVar("T")

_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """A member, or an address where one should be. Without a `status` there is a `problem`.

    `address` is where the others reach it; `reached`, where this command does, by another name or port perhaps.
    """

    address: str
    reached: str
    member: MemberId | None
    status: MemberStatus | None
    problem: str | None = None
    cluster: str = ""
    """The id of the cluster that it is of, if it answers."""


@dataclass(frozen=True, slots=True)
class View:
    """What everybody said at about one time."""

    seen: tuple[Seen, ...]

    @property
    def leader(self) -> Seen | None:
        """Who leads; of several that believe so, the one of the latest term."""
        leaders = [seen for seen in self.seen if seen.status is not None and seen.status.raft.role is Role.LEADER]
        return max(leaders, key=_newness, default=None)

    @property
    def membership(self) -> Membership:
        """As whoever knows most has it."""
        known = [seen for seen in self.seen if seen.status is not None]
        status = max(known, key=_newness).status if known else None
        return Membership() if status is None else status.raft.membership

    @property
    def problems(self) -> str:
        """What is wrong with whom, for people."""
        return "; ".join(f"{seen.address}: {seen.problem}" for seen in self.seen if seen.problem is not None)


class Cluster:
    """The cluster that the command line names. `timeout_s` is for each command as a whole."""

    def __init__(self, options: Settings) -> None:
        url = options.store_url or os.environ.get(STORE_VARIABLE)
        parsed = urls.parse(url) if url else None
        if parsed is None or parsed.scheme not in ("raft", "raft+tls"):
            raise ConfigError("--store", "must name the cluster's members: raft://h1:7001,h2:7001,h3:7001")
        found = settings.read(parsed)
        self.timeout_s = options.timeout_s
        self._addresses = found.addresses
        self._tls: ssl.SSLContext | None = found.tls

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` on a loop of its own."""
        return asyncio.run(work)

    async def look(self) -> View:
        """Ask the members that the URL names, and those that these know of.

        Raises:
            StoreUnavailable: none answers.
            ConfigError: the URL names members of different clusters.
        """
        seen = await self._look_at(self._addresses)
        cluster = _the_cluster(seen)
        while True:
            membership = View(tuple(seen)).membership
            members = {**membership.voters, **membership.learners}
            asked = {one.address for one in seen} | {members.get(one.status.raft.id) for one in seen if one.status}
            unasked = dict.fromkeys(address for address in members.values() if address not in asked)
            if not unasked:
                break
            seen += [_stranger(one) if one.cluster != cluster else one for one in await self._look_at(unasked)]
        view = View(_each_once(seen, members))
        if all(one.status is None for one in view.seen):
            raise StoreUnavailable(f"no member answers: {view.problems}")
        return view

    async def ask(self, address: str, make: Callable[[int], Request]) -> object:
        """Ask one member, once; the result. Raises as `ask_leader` does, and StoreUnavailable if it does not lead."""
        response = (await ask(address, make, self._tls, timeout_s=self.timeout_s)).response
        match response:
            case Done(result=result):
                return result
            case NotLeader():
                raise StoreUnavailable(f"{address} does not lead")
            case Refused(problem=Problem.UNAVAILABLE, text=text):
                raise StoreUnavailable(f"{address}: {text}")
            case Refused(problem=Problem.UNKNOWN, text=text):
                raise OutcomeUnknown(f"{address}: {text}; `leasekit raft status` shows what came of it")
            case Refused(text=text):
                raise ConfigError("request", text)
        raise ProtocolError(f"{address} answers with {type(response).__name__}")

    async def ask_leader(self, make: Callable[[int], Request]) -> object:
        """Ask the leader, again and again while it may not be done yet; the result.

        Raises:
            StoreUnavailable: surely not done within the time.
            OutcomeUnknown: perhaps done; the leadership changed meanwhile.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self.timeout_s
        while True:
            try:
                leader = (view := await self.look()).leader
                if leader is None:
                    raise StoreUnavailable(f"no member leads. {view.problems}")
                return await self.ask(leader.reached, make)
            except StoreUnavailable:
                if loop.time() + _AGAIN_S >= give_up_at:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def _look_at(self, addresses: Iterable[str]) -> list[Seen]:
        async def one(address: str) -> Seen:
            try:
                # Two rounds of these must fit into the time.
                status, cluster = await ask_status(address, self._tls, timeout_s=min(1.0, self.timeout_s / 2))
            except (StoreUnavailable, ProtocolError) as error:
                return Seen(
                    address, address, None, None, str(error).removeprefix(f"{address}: ").removeprefix(f"{address} ")
                )
            return Seen(address, address, status.raft.id, status, status.failure, cluster)

        return await asyncio.gather(*map(one, addresses))


def _newness(seen: Seen) -> tuple[int, int]:
    assert seen.status is not None
    return seen.status.raft.term, seen.status.raft.commit


def _the_cluster(seen: Iterable[Seen]) -> str:
    """Which cluster those that answer are of. Raises ConfigError if they are of several."""
    by_cluster = {one.cluster: one for one in seen if one.status is not None}
    if len(by_cluster) > 1:
        # Members of both may well have the same ids. Whatever is asked for must not be done to the other one.
        told = ", ".join(f"{one.reached} is {one.member!r} of {cluster!r}" for cluster, one in by_cluster.items())
        raise ConfigError("--store", f"names members of different clusters: {told}")
    return next(iter(by_cluster), "")


def _stranger(one: Seen) -> Seen:
    """Who answers at a member's address, and is no member of its cluster."""
    if one.status is None:
        return one
    return Seen(one.address, one.reached, None, None, f"{one.member!r} of another cluster, {one.cluster!r}, is there")


def _each_once(seen: list[Seen], members: dict[MemberId, str]) -> tuple[Seen, ...]:
    """Members in the order of their ids: under one address each, though the URL may have others for them."""
    names = {address: member for member, address in members.items()}
    found: dict[MemberId, Seen] = {}
    others: list[Seen] = []
    for one in seen:
        member = one.member or names.get(one.address)
        if member is None:
            others.append(one)
        elif member not in found or found[member].status is None:
            found[member] = dataclasses.replace(one, address=members.get(member, one.address), member=member)
    there = {one.address: one.member for one in seen}
    for member, address in members.items():
        if member not in found:
            found[member] = Seen(address, address, member, None, f"another member, {there.get(address)!r}, is there")
    return (*(found[member] for member in sorted(found)), *others)
