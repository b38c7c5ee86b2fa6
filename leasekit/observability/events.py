"""What electors, keepers and guards tell whoever listens. Plain facts, immutable, of this process alone."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from leasekit.errors import LossReason

GIVEN_UP = (LossReason.RESIGNED, LossReason.TRANSFERRED, LossReason.CLOSED)
"""The reasons of an end that the holder wanted; by any other the leadership was lost."""
RENEWAL_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""For histograms of renewals: from a file on this host to a store that hardly answers."""


class Outcome(enum.StrEnum):
    """What became of one attempt at a renewal."""

    RENEWED = "renewed"
    """It counts: the deadline has moved."""
    LATE = "late"
    """Confirmed, but only when the deadline had passed: what relied on the lease is over."""
    LEASE_LOST = "lease_lost"
    """The store does not know the lease any more."""
    UNANSWERED = "unanswered"
    """No answer, or none in time."""
    REFUSED = "refused"
    """The store refused the credentials, or said what it should not."""


@dataclass(frozen=True, slots=True)
class Elected:
    """A leadership began here. `wall_s` is UTC, for people; `store` its URL without any secret."""

    election: str
    id: str
    token: int
    store: str
    wall_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over here; the reason says whether it was given up or lost."""

    election: str
    id: str
    token: int
    reason: LossReason
    lasted_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Renewal:
    """One attempt to renew a lease, which all leaderships of this process on one store and ttl may rest on."""

    scheme: str
    outcome: Outcome
    took_s: float


@dataclass(frozen=True, slots=True)
class StoreFailing:
    """A lease could not be granted or (`renewing`) renewed; told once, until the store answers again."""

    store: str
    renewing: bool
    error: str
    why: str


@dataclass(frozen=True, slots=True)
class StoreBack:
    """The store answers again, `after_s` seconds after `StoreFailing` was told."""

    store: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A guard in this process refused `token`, having seen `highest`."""

    resource: str
    election: str
    token: int
    highest: int


Event: TypeAlias = Elected | Ended | Renewal | StoreFailing | StoreBack | Refused
