"""One question to one member, on a connection of its own: for a member's start, and for operators' commands."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from leasekit.backends.raft.client.channel import Channel, Lost
from leasekit.backends.raft.requests import AskStatus, Done, MemberStatus, Request, Response
from leasekit.backends.raft.transport.outgoing import NoConnection, dial
from leasekit.errors import OutcomeUnknown, ProtocolError, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member said, and of which cluster it is."""

    cluster: str
    response: Response


async def ask(address: str, make: Callable[[int], Request], tls: ssl.SSLContext | None, *, timeout_s: float) -> Answer:
    """Connect, send the request that `make` gives this number, hang up.

    Raises:
        StoreUnavailable: there was no connection, so nothing was asked.
        OutcomeUnknown: it was asked, and no answer came.
    """
    give_up_at = asyncio.get_running_loop().time() + timeout_s
    try:
        channel = await dial(address, lambda: Channel(address, ""), tls, timeout_s=timeout_s)
    except NoConnection as error:
        raise StoreUnavailable(f"{address}: {error}") from error
    try:
        async with asyncio.timeout_at(give_up_at):
            response = await channel.ask(make)
    except TimeoutError:
        raise OutcomeUnknown(f"{address} did not answer within {timeout_s:g} s") from None
    except Lost as error:
        raise OutcomeUnknown(str(error)) from error
    finally:
        channel.abort()
        await asyncio.sleep(0)  # what is aborted closes in the loop's next turn
    return Answer(channel.welcomed.result().cluster, response)


async def ask_status(address: str, tls: ssl.SSLContext | None, *, timeout_s: float) -> tuple[MemberStatus, str]:
    """The member's status, and its cluster's id. Raises StoreUnavailable if there is no answer."""
    try:
        answer = await ask(address, lambda number: AskStatus(id=number), tls, timeout_s=timeout_s)
    except OutcomeUnknown as error:
        raise StoreUnavailable(str(error)) from error
    if not isinstance(answer.response, Done) or not isinstance(answer.response.result, MemberStatus):
        raise ProtocolError(f"{address} was asked for its status and said {type(answer.response).__name__}")
    return answer.response.result, answer.cluster
