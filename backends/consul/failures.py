"""What Consul's refusals mean, as pure functions. The texts are those of Consul 1.8; see `tests/servers/consul`.

Consul has few status codes (500 covers a refused TTL, a lost leader and a broken disk alike), so its texts are read.
What is not recognised counts as the worst that it may be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from leasekit.backends.consul.wire import Operation
from leasekit.errors import (
    AuthError,
    ConfigError,
    LeasekitError,
    LeaseLost,
    OutcomeUnknown,
    ProtocolError,
    StoreUnavailable,
)

# Said before a write enters Consul's log, or of one that never did. "leadership lost while committing log" is not among
# them: that write may be in the log of the next leader.
_NOT_APPLIED = (
    "No cluster leader",
    "node is not the leader",
    "timed out enqueuing operation",
    "leadership transfer in progress",
    "Raft leader not found in server lookup mapping",
    # A session needs its agent's node in the catalogue, where it comes a little after a new cluster's first leader.
    "Missing node registration",
    "rate limit",
)
_MENDED_BY_CONFIGURATION = {
    "No path to datacenter": ("dc", "Consul knows no such datacenter"),
    "Missing check": ("checks", "a session can only depend on health checks that the agent's node has"),
}
_SHOWN_CHARACTERS = 300


def failure(status: int, text: str, *, agent: str, writes: bool) -> LeasekitError:
    """The error that an answer other than the expected one means."""
    said = f"Consul agent {agent} answered {status}: {text.strip()[:_SHOWN_CHARACTERS] or 'nothing'}"
    if status in (401, 403):
        return AuthError(f"{said}. Is CONSUL_HTTP_TOKEN set, and allowed key:write and session:write here?")
    if status == 400 and "HTTPS server" in text:
        return ConfigError("store URL", f"agent {agent} speaks TLS: write consul+tls://")
    if status == 413:
        return ConfigError("value", f"{said} (or write less at once)")
    if status == 429:
        return StoreUnavailable(f"{said} (see the agent's limits.http_max_conns_per_client)")
    if status >= 500:
        if any(sign in text for sign in _NOT_APPLIED):
            return StoreUnavailable(said)
        for sign, (field, message) in _MENDED_BY_CONFIGURATION.items():
            if text.startswith(sign):
                return ConfigError(field, f"{message}. {said}")
        return OutcomeUnknown(said) if writes else StoreUnavailable(said)
    return ProtocolError(said)


def session_refused(ttl_s: float, status: int, text: str, *, agent: str) -> LeasekitError:
    """The error that a refused request for a session means."""
    if status == 500 and text.startswith("Invalid Session TTL"):
        allowed = text[text.find("[") :] if "[" in text else "unknown"
        return ConfigError(
            "ttl_s",
            f"{ttl_s:g} is out of the range of this Consul, {allowed}: give another TTL, or lower the servers' "
            "agent option session_ttl_min (its default is 10s)",
        )
    return failure(status, text, agent=agent, writes=True)


def refused(operations: Sequence[Operation], body: str, *, agent: str) -> LeasekitError | None:
    """Why a transaction was refused (409): None if a compare failed, else the error that it means.

    Each error names its operation, so that a key's name in a text is never taken for a reason. A key that another
    session holds also counts as a failed compare; that cannot happen to a put of ours, which deletes the key first.
    """
    try:
        errors = [(operations[error["OpIndex"]], str(error["What"])) for error in json.loads(body)["Errors"]]
    except (ValueError, KeyError, IndexError, TypeError):
        return ProtocolError(f"Consul agent {agent} refused a transaction without saying why")
    for _, what in errors:
        if what.startswith(("Permission denied", "ACL not found")):
            return failure(403, what, agent=agent, writes=True)
    if any(
        operation["Verb"].startswith("check-") or what.endswith("lock is already held") for operation, what in errors
    ):
        return None
    for operation, what in errors:
        if what.startswith(("invalid session", "failed session lookup", "missing session")):
            return LeaseLost(operation["Session"])
        if what.endswith("due to lock delay"):
            # Not a failed compare: told so, an election would ask again at once, until the delay is over.
            return StoreUnavailable(f"Consul: {what}, which the session that held it asked for (lock_delay_s)")
    return ProtocolError(f"Consul agent {agent} refused a transaction: {'; '.join(what for _, what in errors)}"[:1000])
