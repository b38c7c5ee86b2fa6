"""What a keeper has to tell of its store: how renewals fare, and when it stops and begins to answer."""

from __future__ import annotations

from leasekit.clock import Clock, Instant
from leasekit.errors import LeasekitError, LeaseLost, OutcomeUnknown, StoreUnavailable
from leasekit.observability.events import Outcome, Renewal, StoreBack, StoreFailing
from leasekit.observability.hub import HUB


class StoreNews:
    """Remembers whether the store failed last, so that trouble is told once and not at every attempt."""

    def __init__(self, store: str, clock: Clock) -> None:
        self._store = store
        self._scheme = store.partition("://")[0]
        self._clock = clock
        self._failing_since: Instant | None = None

    def answered(self) -> None:
        """A lease was granted or renewed."""
        since, self._failing_since = self._failing_since, None
        if since is not None:
            HUB.tell(StoreBack(self._store, self._s_since(since)))

    def failed(self, error: LeasekitError, *, renewing: bool) -> None:
        """A lease could not be granted or renewed."""
        if self._failing_since is None:
            self._failing_since = self._clock.now()
            HUB.tell(StoreFailing(self._store, renewing, type(error).__name__, str(error)))

    def renewed(self, sent_at: Instant, outcome: Outcome) -> None:
        """A renewal, asked for at `sent_at`, was confirmed."""
        HUB.tell(Renewal(self._scheme, outcome, self._s_since(sent_at)))
        self.answered()

    def not_renewed(self, error: LeasekitError, sent_at: Instant) -> None:
        """One attempt at a renewal, begun at `sent_at`, came to nothing."""
        outcome = _outcome(error)
        HUB.tell(Renewal(self._scheme, outcome, self._s_since(sent_at)))
        if outcome is Outcome.LEASE_LOST:
            self.answered()  # it does answer
        else:
            self.failed(error, renewing=True)

    def _s_since(self, began: Instant) -> float:
        return max(0.0, self._clock.now().boot_s - began.boot_s)


def _outcome(error: LeasekitError) -> Outcome:
    match error:
        case LeaseLost():
            return Outcome.LEASE_LOST
        case StoreUnavailable() | OutcomeUnknown():
            return Outcome.UNANSWERED
        case _:
            return Outcome.REFUSED
