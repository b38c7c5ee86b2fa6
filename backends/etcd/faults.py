"""What may be concluded when a request to etcd failed: from gRPC's status code and etcd's words to one kind. Pure."""

from __future__ import annotations

import enum

from leasekit.errors import (
    AuthError,
    ConfigError,
    LeasekitError,
    LeaseLost,
    OutcomeUnknown,
    ProtocolError,
    StoreUnavailable,
)


class Fault(enum.Enum):
    """What a failure says of the request."""

    REFUSED = "refused"
    """Surely not applied, and worth another try: it never left, or this server cannot serve now."""
    LOST = "lost"
    """Sent, and no answer that tells: it may have been applied, or may yet be."""
    TOKEN = "token"
    """Surely not applied: the authentication token has expired, or there is none."""
    DENIED = "denied"
    """Surely not applied: wrong password, or a user without the right."""
    NO_LEASE = "no lease"
    """Surely not applied: the lease is not there."""
    INVALID = "invalid"
    """Surely not applied: the request breaks one of etcd's limits."""
    FOREIGN = "foreign"
    """Surely not applied: an answer that etcd 3.4 or later does not give to this."""


# etcd's own words (`api/v3rpc/rpctypes/error.go`), without "etcdserver: ". What is not here may have been applied:
# "request timed out" and "server stopped" come after the proposal was sent.
_BY_WORDS = {
    "no leader": Fault.REFUSED,
    "not capable": Fault.REFUSED,
    "rpc not supported for learner": Fault.REFUSED,
    "too many requests": Fault.REFUSED,
    "raft proposal dropped": Fault.REFUSED,
    # Full disk quota: etcd answers so when it has *not* applied the request, and also once, to the very request that
    # crossed the quota, when it has (`quotaApplierV3`).
    "mvcc: database space exceeded": Fault.LOST,
    "invalid auth token": Fault.TOKEN,
    "revision of auth store is old": Fault.TOKEN,
    "user name is empty": Fault.TOKEN,
    "authentication failed, invalid user ID or password": Fault.DENIED,
    "permission denied": Fault.DENIED,
    "user name not found": Fault.DENIED,
    "requested lease not found": Fault.NO_LEASE,
    "too large lease TTL": Fault.INVALID,
    "too many operations in txn request": Fault.INVALID,
    "duplicate key given in txn request": Fault.INVALID,
    "request is too large": Fault.INVALID,
}

# gRPC's own words: here the request surely did not leave, there the server refused to read it.
_NEVER_LEFT = ("failed to connect to all addresses", "DNS resolution failed")
_NEVER_READ = "grpc: received message larger than max"

_BY_CODE = {
    "UNAUTHENTICATED": Fault.TOKEN,
    "PERMISSION_DENIED": Fault.DENIED,
    "UNIMPLEMENTED": Fault.FOREIGN,
    "INVALID_ARGUMENT": Fault.FOREIGN,
    "FAILED_PRECONDITION": Fault.FOREIGN,
    "NOT_FOUND": Fault.FOREIGN,
    "ALREADY_EXISTS": Fault.FOREIGN,
    "OUT_OF_RANGE": Fault.FOREIGN,
    "DATA_LOSS": Fault.FOREIGN,
}


def classify(code: str, details: str) -> Fault:
    """The kind of a failed request, from gRPC's status (`code` by name, such as "UNAVAILABLE")."""
    words = details.rpartition("desc = ")[2].removeprefix("etcdserver: ")
    if known := _BY_WORDS.get(words):
        return known
    if details.startswith(_NEVER_LEFT):
        return Fault.REFUSED
    if details.startswith(_NEVER_READ):
        return Fault.INVALID
    return _BY_CODE.get(code, Fault.LOST)


def auth_not_enabled(details: str) -> bool:
    """Whether etcd says that it needs no password at all."""
    return details.endswith("authentication is not enabled")


class Failure(Exception):
    """One attempt at one server failed. Never leaves the backend: callers get `error()`."""

    def __init__(self, fault: Fault, server: str, words: str) -> None:
        super().__init__(fault, server, words)
        self.fault = fault
        self.server = server
        self.words = words

    def __str__(self) -> str:
        return f"etcd {self.server}: {self.words}"

    def error(self, *, changes: bool, leases: list[str] | None = None) -> LeasekitError:
        """What to raise for a request that `changes` something, or only reads."""
        match self.fault:
            case Fault.LOST:
                return OutcomeUnknown(str(self)) if changes else StoreUnavailable(str(self))
            case Fault.REFUSED:
                return StoreUnavailable(str(self))
            case Fault.NO_LEASE:
                return LeaseLost(", ".join(leases or ["(unknown)"]))
            case Fault.INVALID:
                return ConfigError("request", str(self))
            case Fault.FOREIGN:
                return ProtocolError(str(self))
            case Fault.TOKEN | Fault.DENIED:
                return AuthError(f"{self} (user and password: LEASEKIT_USERNAME and LEASEKIT_PASSWORD)")
