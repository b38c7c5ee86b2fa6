"""Requests to etcd: one attempt at one server, and the same over several servers until time runs out."""

from __future__ import annotations

import asyncio
import enum
from random import Random

import grpc.aio

from leasekit.backends.etcd import rpc_pb2 as rpc
from leasekit.backends.etcd.auth import Credentials, Tokens, TokenTries
from leasekit.backends.etcd.backoff import Backoff
from leasekit.backends.etcd.endpoints import Endpoints, Server
from leasekit.backends.etcd.faults import Failure, Fault, auth_not_enabled, classify
from leasekit.backends.etcd.methods import AUTHENTICATE, A, Method, Q
from leasekit.errors import StoreUnavailable

Metadata = tuple[tuple[str, str], ...]

# A server that knows no leader refuses at once instead of letting us wait.
_HAS_LEADER: Metadata = (("hasleader", "true"),)


class Repeat(enum.Enum):
    """What may be done about an answer that got lost."""

    READ = "read"
    """Ask again: nothing changes by asking."""
    HARMLESS = "harmless"
    """Ask again: having asked twice does no harm. But nobody knows in the end whether it was applied."""
    NEVER = "never"


class Client:
    """Speaks to whichever server answers. Only `Failure` (`attempt`) and leasekit's errors (`call`) come out of it."""

    def __init__(self, endpoints: Endpoints, tokens: Tokens, random: Random) -> None:
        self.endpoints = endpoints
        self.tokens = tokens
        self.random = random

    async def call(
        self,
        method: Method[Q, A],
        request: Q,
        *,
        timeout_s: float,
        repeat: Repeat,
        leases: list[str] | None = None,
    ) -> A:
        """Ask until there is an answer or `timeout_s` is over. What is surely not applied is tried elsewhere."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + timeout_s
        backoff = Backoff(self.random)
        changes = repeat is not Repeat.READ
        last: Failure | None = None
        doubt: Failure | None = None
        tokens = TokenTries(self.tokens, backoff)
        failed: set[Server] = set()
        while True:
            try:
                server = await self.endpoints.pick(give_up_s)
            except StoreUnavailable:
                if reason := doubt or last:
                    raise reason.error(changes=changes) from None
                raise
            try:
                share_s = self._share_s(give_up_s - loop.time(), failed, repeat)
                return await self.attempt(server, method, request, timeout_s=share_s)
            except Failure as failure:
                last = failure
            if last.fault is Fault.TOKEN and await tokens.another():
                continue
            if last.fault not in (Fault.REFUSED, Fault.LOST):
                raise last.error(changes=changes, leases=leases) from None
            self.endpoints.shun(server)
            failed.add(server)
            if last.fault is Fault.LOST:
                doubt = last
                if repeat is Repeat.NEVER:
                    raise last.error(changes=True) from None
            # The first failure of each server costs no time; after a round of them, wait.
            wait_s = backoff.next_s() if len(failed) == len(self.endpoints.servers) else 0.0
            if loop.time() + wait_s >= give_up_s:
                raise (doubt or last).error(changes=changes) from None
            await asyncio.sleep(wait_s)

    async def attempt(
        self, server: Server, method: Method[Q, A], request: Q, *, timeout_s: float, without_leader: bool = False
    ) -> A:
        """Ask `server` once; `without_leader`: even if it knows no leader. Raises Failure."""
        give_up_s = asyncio.get_running_loop().time() + timeout_s
        token, metadata = await self.identify(server, timeout_s=timeout_s)
        left_s = give_up_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            raise Failure(Fault.REFUSED, server.address, "no time was left to ask")
        if without_leader:
            metadata = metadata[len(_HAS_LEADER) :]
        try:
            return await self._unary(server, method, request, metadata, left_s)
        except Failure as failure:
            if failure.fault is Fault.TOKEN:
                self.tokens.refuse(token)
            raise

    async def identify(self, server: Server, *, timeout_s: float) -> tuple[str | None, Metadata]:
        """The token to send to `server`, and all metadata of a request. Raises Failure, never LOST: nothing was sent."""
        token = self.tokens.current
        if not self.tokens.known:
            try:
                async with asyncio.timeout(timeout_s):
                    token = await self.tokens.fetch(lambda who: self._authenticate(server, who, timeout_s))
            except TimeoutError:
                raise Failure(Fault.REFUSED, server.address, "no answer to the authentication") from None
            except Failure as failure:
                fault = Fault.REFUSED if failure.fault is Fault.LOST else failure.fault
                raise Failure(fault, failure.server, failure.words) from None
        if self.endpoints.closed:
            raise Failure(Fault.REFUSED, server.address, "the connection is closed")
        return token, _HAS_LEADER if token is None else (*_HAS_LEADER, ("token", token))

    def failure(self, server: Server, error: grpc.aio.AioRpcError) -> Failure:
        """What a gRPC error means. Without its traceback: that may hold what was sent."""
        code, details = error.code().name, error.details() or ""
        return Failure(classify(code, details), server.address, self.tokens.scrub(details) or code)

    def interrupted(self, server: Server) -> Failure:
        """What a cancelled call means: closing. Raises CancelledError if this task was what was cancelled."""
        task = asyncio.current_task()
        if not self.endpoints.closed or (task is not None and task.cancelling()):
            raise asyncio.CancelledError
        return Failure(Fault.LOST, server.address, "the connection was closed under the request")

    async def _authenticate(self, server: Server, who: Credentials, timeout_s: float) -> str | None:
        request = rpc.AuthenticateRequest(name=who.username, password=who.password)
        try:
            answer = await self._unary(server, AUTHENTICATE, request, _HAS_LEADER, timeout_s)
        except Failure as failure:
            if auth_not_enabled(failure.words):
                return None
            raise
        return answer.token

    async def _unary(self, server: Server, method: Method[Q, A], request: Q, metadata: Metadata, timeout_s: float) -> A:
        try:
            return await server.unary(method)(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self.failure(server, error) from None
        except asyncio.CancelledError:
            raise self.interrupted(server) from None

    def _share_s(self, left_s: float, failed: set[Server], repeat: Repeat) -> float:
        """How long one attempt may take: what can be repeated leaves time for the servers not yet tried."""
        if repeat is Repeat.NEVER:
            return left_s
        return left_s / max(1, len(self.endpoints.servers) - len(failed))
