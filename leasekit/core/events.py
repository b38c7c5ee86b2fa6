"""What goes into a contest and what comes out of it: the vocabulary of `leasekit.core.election`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leasekit.clock import Instant
from leasekit.core.lease import Belief
from leasekit.core.queue import Base
from leasekit.core.records import RequestRecord
from leasekit.core.remains import Remains
from leasekit.errors import LossReason
from leasekit.store import Committed, Compare, Entry, Op


@dataclass(frozen=True, slots=True)
class Context:
    """What an event finds: the moment on both clocks, the wall clock and the vector clock (for records only), the lease."""

    now: Instant
    wall_s: float
    belief: Belief
    clock: Mapping[str, int] = field(default_factory=dict, hash=False)


# Events: what the shell tells.


@dataclass(frozen=True, slots=True)
class Campaign:
    """Begin: become the leader, or with `once` only if that is possible now."""

    once: bool = False


@dataclass(frozen=True, slots=True)
class LeaseReady:
    """The lease that `NeedLease` or `RenewLease` asked for is there, fresh."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Request `number` was applied."""

    number: int
    committed: Committed


@dataclass(frozen=True, slots=True)
class Refused:
    """Request `number` was not applied, because a compare failed."""

    number: int


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Request `number` surely was not applied: the store could not be asked."""

    number: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Request `number` may have been applied, or may yet be."""

    number: int


@dataclass(frozen=True, slots=True)
class LeaseGone:
    """Request `number` was not applied, because the store does not know `lease_id`."""

    number: int
    lease_id: str


Answer = Applied | Refused | Unavailable | Unknown | LeaseGone


@dataclass(frozen=True, slots=True)
class Seen:
    """A watched key is now as `entry` says (None: gone), as of `revision`."""

    key: str
    entry: Entry | None
    revision: int


@dataclass(frozen=True, slots=True)
class Missed:
    """Changes of watched keys may have been missed."""


@dataclass(frozen=True, slots=True)
class Wake:
    """The moment `wake_at` has come, or the pause after `Pause` is over."""


@dataclass(frozen=True, slots=True)
class TrustEnded:
    """The lease may no longer be trusted; with `lease_gone` the store does not know it any more either."""

    reason: LossReason
    lease_gone: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody wants to become the leader any more."""


@dataclass(frozen=True, slots=True)
class Resign:
    """Let go. The work has stopped and nobody here believes any more."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hand over to the candidate `to`, as it was read; otherwise like `Resign`."""

    to: Entry
    base: Base
    wall_s: float
    clock: Mapping[str, int] = field(default_factory=dict, hash=False)


Event = Campaign | LeaseReady | Answer | Seen | Missed | Wake | TrustEnded | GiveUp | Resign | Transfer


# Actions: what the shell is to do.


@dataclass(frozen=True, slots=True)
class Transact:
    """Send this transaction, and tell its outcome with this number. The one before it no longer matters."""

    number: int
    compares: tuple[Compare, ...]
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Revoke:
    """Revoke this lease, which is another's, and tell the outcome with this number (`Applied` if acknowledged)."""

    number: int
    lease_id: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Send `Wake` after a while: the store did not answer, or not clearly."""


@dataclass(frozen=True, slots=True)
class NeedLease:
    """Send `LeaseReady` once there is a lease that may be trusted. `unknown` is one that the store disowned."""

    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class RenewLease:
    """Renew the lease now, and send `LeaseReady`: too little of it is left for a claim."""


@dataclass(frozen=True, slots=True)
class Elected:
    """Leading, since `revision`; with `over_hold`, in the place of one who was forced to resign."""

    revision: int
    token: int
    over_hold: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """Leading no more, although nobody here let go."""

    reason: LossReason


@dataclass(frozen=True, slots=True)
class NotElected:
    """The campaign is over and was not won."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The campaign cannot go on: `error` says why."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Asked:
    """An operator asks the present leadership to resign or to transfer."""

    request: RequestRecord


@dataclass(frozen=True, slots=True)
class Released:
    """A resignation or transfer is done. Not `confirmed`: the store did not say so; what remains is looked after."""

    reason: LossReason
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Disown:
    """Keys may stand on the lease that nobody owns any more: remove them (`leasekit.core.remains`)."""

    remains: Remains


Action = (
    Transact
    | Revoke
    | Pause
    | NeedLease
    | RenewLease
    | Elected
    | Lost
    | NotElected
    | Failed
    | Asked
    | Released
    | Disown
)
