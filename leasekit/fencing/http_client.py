"""Fencing over HTTP, the client's side: every request bears the leadership's token, and a refusal is raised.

    client = httpx.Client(event_hooks=httpx_hooks(leadership))          # also AsyncClient(event_hooks=httpx_async_hooks(...))
    session = requests.Session(); session.auth = RequestsToken(leadership)

The token is read when a request is sent; without a leadership it is that of `leasekit.current()`, or of
`leasekit.aio.current()` in a coroutine. In a command that `leasekit run` started, pass `token_from_environment()`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from leasekit.errors import FencingRejected
from leasekit.fencing.contract import check_token
from leasekit.fencing.http import HEADER
from leasekit.leadership import LeadershipBase, current_leadership

if TYPE_CHECKING:
    import httpx
    import requests

Source = LeadershipBase | int | None
"""Where the token comes from: a leadership, a token, or (None) the leadership that the code runs under."""

_PRECONDITION_FAILED = 412


def httpx_hooks(source: Source = None) -> dict[str, list[Callable[..., Any]]]:
    """Event hooks for `httpx.Client`: send the token, and raise FencingRejected where it was refused.

    Raises LookupError when a request is sent and there is no leadership to take the token from.
    """

    def send(request: httpx.Request) -> None:
        request.headers[HEADER] = str(_token(source))

    def receive(response: httpx.Response) -> None:
        if response.status_code == _PRECONDITION_FAILED:
            _raise_refusal(response.read())

    return {"request": [send], "response": [receive]}


def httpx_async_hooks(source: Source = None) -> dict[str, list[Callable[..., Awaitable[Any]]]]:
    """The same for `httpx.AsyncClient`."""

    async def send(request: httpx.Request) -> None:
        request.headers[HEADER] = str(_token(source))

    async def receive(response: httpx.Response) -> None:
        if response.status_code == _PRECONDITION_FAILED:
            _raise_refusal(await response.aread())

    return {"request": [send], "response": [receive]}


class RequestsToken:
    """For requests: `session.auth = RequestsToken(leadership)`, or `auth=` of one request.

    `auth` is a user and password, or another such object, for what the service asks besides.
    """

    def __init__(self, source: Source = None, *, auth: Any = None) -> None:
        self._source = source
        self._auth = auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if isinstance(self._auth, tuple):
            from requests.auth import HTTPBasicAuth

            request = HTTPBasicAuth(*self._auth)(request)
        elif self._auth is not None:
            request = self._auth(request)
        request.headers[HEADER] = str(_token(self._source))
        request.hooks["response"].append(_raise_on_412)
        return request


def _raise_on_412(response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
    if response.status_code == _PRECONDITION_FAILED:
        _raise_refusal(response.content)


def _token(source: Source) -> int:
    if isinstance(source, int):
        return check_token(source)
    return (current_leadership() if source is None else source).token


def _raise_refusal(body: bytes) -> None:
    """Raise what a 412 of the middleware tells; another's 412 is not ours to judge."""
    try:
        told = json.loads(body)
        if told["error"] != "fencing_rejected":
            return
        refusal = FencingRejected(int(told["token"]), int(told["highest"]), resource=str(told["resource"]))
    except (ValueError, KeyError, TypeError):
        return
    raise refusal
