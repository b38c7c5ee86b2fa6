"""What can go wrong, by kind. Losing a race is a result, not an error.

Every error here is a `LeasekitError`; details are attributes, never text to be parsed. The type says what a
caller may conclude: `StoreUnavailable` means surely not applied, `OutcomeUnknown` means perhaps applied.
"""

from __future__ import annotations

import enum
from typing import Any


class LossReason(enum.StrEnum):
    """Why a leadership ended."""

    EXPIRED = "expired"
    """The store says that the lease ran out."""
    REVOKED = "revoked"
    """Somebody revoked the lease (an operator's `resign --force`, or a session destroyed from outside)."""
    SUPERSEDED = "superseded"
    """The `leader` record is gone or another's, although nobody here let go of it."""
    DEADLINE = "deadline"
    """No renewal was confirmed in time, so the lease may no longer be trusted."""
    RESIGNED = "resigned"
    """The holder let go, of its own will or at an operator's request."""
    TRANSFERRED = "transferred"
    """The holder handed the leadership to a named candidate."""
    FORKED = "forked"
    """This process is a fork of the one that leads; the parent keeps the leadership."""
    CLOSED = "closed"
    """The store connection was closed under the leadership."""


class LeasekitError(Exception):
    """Base of all errors that leasekit raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (`stop="process"`), so every kind must survive pickling whatever its signature.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[LeasekitError], args: tuple[Any, ...], attributes: dict[str, Any]) -> LeasekitError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class StoreUnavailable(LeasekitError):
    """The store could not be asked: the request was surely not applied. Try again later."""


class OutcomeUnknown(LeasekitError):
    """The reply was lost or late: the request may have been applied, or may yet be. Settle it by a write."""


class LeaseLost(LeasekitError):
    """The store does not know this lease (any more). Nothing was applied. Grant a new one."""

    def __init__(self, lease_id: str) -> None:
        super().__init__(f"the store does not know lease {lease_id}")
        self.lease_id = lease_id


class LeadershipLost(LeasekitError):
    """This leadership is over, see `reason`. Stop acting as the leader; campaign again if you still want to lead."""

    def __init__(self, reason: LossReason, *, election: str | None = None, token: int | None = None) -> None:
        of = f" of {election!r}" if election else ""
        super().__init__(f"leadership{of} lost: {reason.value}")
        self.reason = reason
        self.election = election
        self.token = token


class NotElected(LeasekitError, TimeoutError):
    """The campaign's time ran out before it was won. Nothing is held; campaign again when you like."""


class SlotTooEarly(LeasekitError):
    """The slot lies further ahead of the store's time than is allowed: this machine's clock is fast, most likely.

    Nothing was written. Claim it again `early_s` seconds later.
    """

    def __init__(self, slot: str, early_s: float) -> None:
        super().__init__(f"slot {slot} may not be claimed for another {early_s:.1f} s, by the store's time")
        self.slot = slot
        self.early_s = early_s


class FencingRejected(LeasekitError):
    """A fenced resource refused this token: it has seen a higher one. Whoever holds `token` is a stale leader: stop."""

    def __init__(self, token: int, highest: int, *, resource: str | None = None) -> None:
        at = f" by {resource!r}" if resource else ""
        super().__init__(
            f"token {token} refused{at}: the highest seen is {highest}. If the store was restored or replaced, "
            f"raise the token base first: leasekit fence rebase --above {highest}"
        )
        self.token = token
        self.highest = highest
        self.resource = resource


class ConfigError(LeasekitError, ValueError):
    """Something given is wrong: `field` names it, the message says how to mend it. Nothing was written."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class AuthError(LeasekitError):
    """The store refused these credentials, or they are missing. Nothing was applied."""


class ProtocolError(LeasekitError):
    """The store, or a record in it, says what it should not: another program, a version too new, or a fault."""
