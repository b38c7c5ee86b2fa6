"""One question to one member, on a connection of its own: for a member's start, and for operators' commands."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from leasekit.backends.raft.requests import AskStatus, Done, MemberStatus, Request, Response
from leasekit.backends.raft.transport.outgoing import NoConnection, Outgoing, dial
from leasekit.backends.raft.wire import CODEC, Hello, Purpose
from leasekit.errors import OutcomeUnknown, ProtocolError, StoreUnavailable

ASK_ID = 1
"""The `id` that a request to `ask` bears."""
_OUTBOX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member said, and who it is."""

    member: str
    cluster: str
    response: Response


async def ask(address: str, request: Request, tls: ssl.SSLContext | None, *, timeout_s: float) -> Answer:
    """Connect, ask, hang up.

    Raises:
        StoreUnavailable: there was no connection, so nothing was asked.
        OutcomeUnknown: it was asked, and no answer came.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout_s
    try:
        line = await dial(address, _Line, tls, timeout_s=timeout_s)
    except NoConnection as error:
        raise StoreUnavailable(f"{address} {error}") from error
    try:
        line.send_body(CODEC.encode_request(request, line.version))
        async with asyncio.timeout_at(give_up_at):
            response = await line.answer
    except TimeoutError:
        raise OutcomeUnknown(f"{address} did not answer within {timeout_s:g} s") from None
    finally:
        line.abort()
    welcome = line.welcomed.result()
    return Answer(welcome.member, welcome.cluster, response)


async def ask_status(address: str, tls: ssl.SSLContext | None, *, timeout_s: float) -> tuple[MemberStatus, str]:
    """The member's status, and its cluster's id. Raises StoreUnavailable if there is no answer."""
    try:
        answer = await ask(address, AskStatus(id=ASK_ID), tls, timeout_s=timeout_s)
    except OutcomeUnknown as error:
        raise StoreUnavailable(str(error)) from error
    if not isinstance(answer.response, Done) or not isinstance(answer.response.result, MemberStatus):
        raise ProtocolError(f"{address} was asked for its status and said {type(answer.response).__name__}")
    return answer.response.result, answer.cluster


class _Line(Outgoing):
    """A client's connection that takes one answer."""

    def __init__(self) -> None:
        hello = Hello(oldest=CODEC.oldest, newest=CODEC.newest, cluster="", purpose=Purpose.CLIENT)
        super().__init__(hello, CODEC, _OUTBOX_BYTES)
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting for it when it fails.
        self.answer.add_done_callback(lambda future: future.cancelled() or future.exception())

    def on_frame(self, body: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(CODEC.decode_response(body))

    def on_broken(self, error: ProtocolError) -> None:
        super().on_broken(error)
        self._give_up(error)

    def on_lost(self, error: Exception | None) -> None:
        super().on_lost(error)
        self._give_up(OutcomeUnknown(f"{self.remote} hung up before it answered"))

    def _give_up(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
