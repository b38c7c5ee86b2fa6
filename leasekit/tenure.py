"""One leadership as this process knows it, readable from any thread. Both faces show it to users.

Whether it is valid is computed from the clock when asked, in the asking thread: a flag set by a renewing thread would
lie after a pause, until that thread runs. What was once seen to be over stays over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable

from leasekit.clock import Clock, Instant
from leasekit.core.lease import Belief
from leasekit.core.records import RequestRecord
from leasekit.errors import LeadershipLost, LossReason

LONGEST_WAIT_S = 1.0
"""How long a wait may go without a look at the clock, since no wait counts suspend."""

_log = logging.getLogger("leasekit")


class Tenure:
    """From acquisition to loss or resignation.

    `belief` says what may be believed of the lease now, from any thread; `notice_deadline` is called when its deadline
    is found to have passed, since whoever asks first after a pause finds out before the keeper does.
    """

    def __init__(
        self,
        *,
        election: str,
        id: str,
        token: int,
        belief: Callable[[], Belief],
        notice_deadline: Callable[[], object],
        clock: Clock,
    ) -> None:
        self.election = election
        self.id = id
        self.token = token
        self.clock = clock
        self.on_request: Callable[[RequestRecord], None] | None = None
        """Set by whoever stops the work when an operator asks; without it, belief ends at once."""
        self.wish: RequestRecord | None = None
        """What an operator asked for. Once the work has stopped, whoever is at work sees to it; nobody else does."""
        self.asked: RequestRecord | None = None
        """The same, also where nobody was at work yet, and it is seen to at once."""
        self._belief = belief
        self._notice_deadline = notice_deadline
        self._epoch = belief().epoch
        self._pid = os.getpid()
        self._reason: LossReason | None = None
        self._over = threading.Event()
        # Reentrant, since collecting garbage may end a leadership at any point.
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[LossReason], object]] = []
        self._working = 0

    @property
    def loss(self) -> LossReason | None:
        """Why it is over; None while it is valid. Looks at the clock."""
        if self._reason is not None:
            return self._reason
        if os.getpid() != self._pid:
            return LossReason.FORKED
        belief = self._belief()
        if belief.epoch != self._epoch:
            self.end(belief.ended or LossReason.DEADLINE)
        elif not belief.trusted(self.clock.now()):
            self.end(LossReason.DEADLINE)
            self._notice_deadline()
        return self._reason

    @property
    def deadline(self) -> Instant | None:
        """Until when it may be relied on without another renewal; None once it is over."""
        belief = self._belief()  # read first: a later one may be of another lease
        return belief.deadline if self.loss is None and belief.epoch == self._epoch else None

    @property
    def remaining_s(self) -> float:
        """Seconds for which it may still be relied on without another renewal; 0 when it is over."""
        deadline = self.deadline
        return 0.0 if deadline is None else max(0.0, self.clock.now().until(deadline))

    @property
    def ttl_s(self) -> float:
        """The granted time to live of its lease, in seconds."""
        return self._belief().ttl_s

    def check(self) -> None:
        """Raise LeadershipLost if it is over."""
        if (reason := self.loss) is not None:
            raise LeadershipLost(reason, election=self.election, token=self.token)

    def end(self, reason: LossReason) -> None:
        """It is over, for this reason unless there is an earlier one. From any thread."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks, self._callbacks = self._callbacks, []
        self._over.set()
        for callback in callbacks:
            try:
                callback(reason)
            except Exception:  # noqa: BLE001 (whatever it is)
                # Whoever ends a leadership has more to do for it, and the others are to be told as well.
                _log.exception("a callback of the end of %r failed", self.election)

    def on_end(self, callback: Callable[[LossReason], object]) -> None:
        """Have `callback` called once it is over, at once if it is. It must not block: it runs wherever `end` does."""
        if os.getpid() != self._pid:
            callback(LossReason.FORKED)
            return
        with self._lock:
            if self._reason is None:
                self._callbacks.append(callback)
                return
        callback(self._reason)

    def forget(self, callback: Callable[[LossReason], object]) -> None:
        """Take back what `on_end` was given."""
        if os.getpid() != self._pid:  # nobody may ever leave the lock in a fork
            return
        with self._lock, contextlib.suppress(ValueError):
            self._callbacks.remove(callback)

    def work_begins(self) -> None:
        """Some part of the program is at work under it: an operator's wish waits until that ends."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._working += 1

    def work_ended(self) -> None:
        """As many times as it began. Whoever says so then sees to the wish."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._working -= 1

    def ask(self, request: RequestRecord) -> bool:
        """An operator asks. False: nobody is at work, so that nothing has to stop before it is let go of.

        Where nothing stops the work, it is told by the loss: belief ends, and the rest is done when it has ended.
        """
        self.asked = request
        if self.on_request is None and not self._working:
            return False
        self.wish = request
        if self.on_request is not None:
            self.on_request(request)
        else:
            self.end(LossReason.TRANSFERRED if request.to is not None else LossReason.RESIGNED)
        return True

    def wait(self, timeout_s: float | None) -> LossReason | None:
        """Block until it is over; None if `timeout_s` seconds pass first."""
        end = None if timeout_s is None else self.clock.now().plus(timeout_s)
        while (reason := self.loss) is None:
            now = self.clock.now()
            left_s = LONGEST_WAIT_S if end is None else now.until(end)
            if left_s <= 0:
                return None
            until_deadline_s = max(0.001, self._belief().remaining_s(now))
            self._over.wait(min(left_s, until_deadline_s, LONGEST_WAIT_S))
        return reason
