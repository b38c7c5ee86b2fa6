"""One agent, over py-consul's HTTP client.

py-consul's own session cannot be used as it comes: it knows no `ca` folder, server name or single authority, warns that
its TLS arguments are deprecated by aiohttp, follows redirects with the token, and lets aiohttp send a PUT a second time
when the connection breaks under it. A transaction that was applied and then sent again would be reported as refused.
So the session is made here, and `get` and `put` remain py-consul's.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import consul.aio  # type: ignore[import-untyped]
import consul.base  # type: ignore[import-untyped]
import yarl

from leasekit.backends.consul.settings import TLS
from leasekit.errors import ConfigError
from leasekit.urls import Endpoint


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent answered."""

    agent: str
    status: int
    headers: Mapping[str, str]
    body: str


class NoAnswer(Exception):
    """The agent did not answer; `sent` says whether the request may have reached it."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class _WriteBroke(aiohttp.ClientError):
    """The connection broke under a write. Not of the kinds on which aiohttp repeats a request."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason


class _Reply(aiohttp.ClientResponse):
    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if self.method == "GET":
                raise
            raise _WriteBroke(error) from error


class AgentClient(consul.aio.HTTPClient):  # type: ignore[misc]
    """Requests to one agent, through connections of its own, at most `connections` at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        tls: ssl.SSLContext | None,
        *,
        server_name: str | None,
        headers: Mapping[str, str],
        connections: int,
    ) -> None:
        scheme = "https" if tls else "http"
        # Not the constructor of consul.aio.HTTPClient, which makes the session that the module's text is about.
        consul.base.HTTPClient.__init__(self, str(endpoint).rpartition(":")[0], endpoint.port, scheme)
        self.agent = str(endpoint)
        self._server_name = server_name
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sending)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls or False),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
            response_class=_Reply,
        )

    async def ask(
        self,
        method: str,
        path: str,
        params: list[tuple[str, str]],
        body: bytes,
        *,
        timeout_s: float,
        connect_s: float,
    ) -> Answer:
        """One request, sent at most once if it is a PUT. Raises NoAnswer within `timeout_s`."""
        # aiohttp rounds long time-outs up to whole seconds unless told not to.
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_s, ceil_threshold=math.inf)
        if method == "GET":
            reply = await self.get(_as_it_is, path, params, connections_timeout=timeout)
        else:
            reply = await self.put(_as_it_is, path, params, body, connections_timeout=timeout)
        return Answer(self.agent, reply.code, reply.headers, reply.body)

    async def _request(
        self,
        callback: Callable[[Any], Any],
        method: str,
        uri: str,
        headers: dict[str, str] | None = None,
        data: Any = None,
        connections_timeout: Any = None,
        raw: bool = False,
    ) -> Any:
        if self._session.closed:
            raise NoAnswer(f"Consul agent {self.agent}: the store is closed", sent=False)
        progress = SimpleNamespace(sent=False, repeatable=method == "GET")
        try:
            async with self._session.request(
                method,
                # py-consul has percent-encoded it already; left to itself, yarl would do so differently.
                yarl.URL(uri, encoded=True),
                headers=headers,
                data=data,
                timeout=connections_timeout,
                allow_redirects=False,
                trace_request_ctx=progress,
                server_hostname=self._server_name,
            ) as reply:
                return callback(consul.base.Response(reply.status, reply.headers, await reply.text("utf-8", "replace")))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = error.reason if isinstance(error, _WriteBroke) else error
            sent = progress.sent and not _refused_by_tls(reason)
            # `from None`: aiohttp's errors may carry the request with its headers.
            raise NoAnswer(f"Consul agent {self.agent}: {_plain(reason)}", sent=sent) from None


def _as_it_is(reply: Any) -> Any:
    return reply


async def _note_sending(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    progress = context.trace_request_ctx
    # `_Reply` sees to it; should another aiohttp find another way to repeat a write, it ends here.
    if progress.sent and not progress.repeatable:
        raise _WriteBroke(ConnectionError())
    progress.sent = True


_REFUSED_BY_TLS = re.compile(r"SSL.*ALERT_\w*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)")


def _refused_by_tls(error: Exception) -> bool:
    # Under TLS 1.3 the agent refuses a client without a certificate after the client believes itself connected, and
    # so after the request was sent; it never reads that request.
    return isinstance(error, OSError) and _REFUSED_BY_TLS.search(str(error)) is not None


def _plain(error: Exception) -> str:
    """What went wrong, without what aiohttp quotes of the request."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = error.certificate_error
        reason = getattr(why, "verify_message", "") or str(why)
        return f"TLS: certificate verify failed ({reason}): name the authority that signed it by ca= or CONSUL_CACERT"
    if isinstance(error, aiohttp.ClientConnectorSSLError) or _refused_by_tls(error):
        said = re.search(r"\[SSL: (\w+)\]", str(error))
        alert = said[1].replace("_", " ").lower() if said else "no TLS was spoken"
        return f"TLS failed ({alert}): is this its TLS port, and does it ask for a client certificate (cert= and key=)?"
    if isinstance(error, aiohttp.ClientConnectorError):
        return (error.os_error.strerror or str(error.os_error)).lower()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return f"the connection broke ({error.strerror.lower()})"
    return "the connection broke"


def tls_context(tls: TLS) -> ssl.SSLContext:
    """Open the files that `tls` names. Raises ConfigError naming the one that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca, capath=tls.ca_folder)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("ca", f"{tls.ca or tls.ca_folder} cannot be used: {error.strerror or error}") from None
    if tls.cert:
        try:
            # A password callback keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            key = f" with key {tls.key}" if tls.key else " without a key= beside it"
            raise ConfigError("cert", f"{tls.cert}{key} cannot be used: {error.strerror or error}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
