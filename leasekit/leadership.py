"""What both faces' `Leadership` have in common: the questions that are answered on the spot, in the asking thread."""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from contextvars import ContextVar, Token
from typing import Any

from leasekit import engine
from leasekit.election import RELEASE_TIMEOUT_S, ElectionCore
from leasekit.errors import LossReason
from leasekit.tenure import Tenure


class LeadershipBase:
    """One leadership held by this process. Valid while the store cannot have granted it to another.

    A paused process can still act late: no client can prevent that. Hand `token` to what you write to, and let it
    refuse lower ones than the highest it has seen (`leasekit.fencing`).
    """

    def __init__(self, tenure: Tenure, core: ElectionCore) -> None:
        self._tenure = tenure
        self._core = core
        self._entered: list[Token[Any]] = []
        self._letting_go = False
        """Whether the engine was told to: it will, even if whoever told it does not wait for that."""
        self._let_go = False
        self._pid = os.getpid()

    @property
    def tenure(self) -> Tenure:
        """What this is a view of; for leasekit's own parts."""
        return self._tenure

    @property
    def token(self) -> int:
        """The fencing token: strictly higher than that of every earlier leadership of this election."""
        return self._tenure.token

    @property
    def election(self) -> str:
        """The election's name."""
        return self._tenure.election

    @property
    def id(self) -> str:
        """The id under which this process leads."""
        return self._tenure.id

    @property
    def valid(self) -> bool:
        """Whether it may be acted on now. Computed from the clock when asked; once False it stays False."""
        return self._tenure.loss is None

    @property
    def reason(self) -> LossReason | None:
        """Why it is over; None while it is valid."""
        return self._tenure.loss

    @property
    def remaining_s(self) -> float:
        """Seconds for which it stays valid if no renewal comes through any more; 0 when it is over."""
        return self._tenure.remaining_s

    @property
    def ttl_s(self) -> float:
        """The lease's time to live as the store granted it, in seconds."""
        return self._tenure.ttl_s

    def check(self) -> None:
        """Do nothing while valid.

        Raises:
            LeadershipLost: it is over, `reason` says why. Stop; campaign again if you still want to lead.
        """
        self._tenure.check()

    @property
    def let_go(self) -> bool:
        """Whether it was resigned or transferred by means of this object."""
        return self._let_go

    def __repr__(self) -> str:
        state = "valid" if self.valid else f"lost: {self.reason}"
        return f"<Leadership of {self.election!r} by {self.id!r}, token {self.token}, {state}>"

    # What both faces do alike.

    def _enter(self) -> None:
        """Work under it begins: `current()` says so, and it is not let go of before that ends."""
        self._entered.append(_current.set(weakref.ref(self)))
        self._tenure.work_begins()

    def _leave(self) -> None:
        """Work under it has ended."""
        self._tenure.work_ended()
        # Where `with` is left in another context than it was entered in, there is nothing to put back.
        with contextlib.suppress(ValueError):
            _current.reset(self._entered.pop())

    @property
    def _held(self) -> bool:
        """Whether the store still has it because of this object: it is valid, or an operator's wish is still to be done."""
        if self._pid != os.getpid():
            return False
        return self._tenure.loss is None or (self._tenure.wish is not None and not self._let_go)

    def __del__(self) -> None:
        # A leadership that nobody holds would be renewed for ever and lead to nothing.
        if not hasattr(self, "_pid") or self._letting_go or not self._held:
            return
        engine.get().submit(self._core.resign(self._tenure, RELEASE_TIMEOUT_S))
        # Last, since a warning may be an error.
        warnings.warn(f"unreferenced {self!r} is resigned; use `with`, or resign()", ResourceWarning, stacklevel=2)


# Weak, since an interrupt may keep `with` from being left properly, and a context must not hold a leadership for ever.
_current: ContextVar[weakref.ref[LeadershipBase]] = ContextVar("leasekit.current")


def current_leadership() -> LeadershipBase:
    """The leadership that this code runs under. Raises LookupError where there is none."""
    held = _current.get(None)
    leadership = held() if held is not None else None
    if leadership is None:
        raise LookupError("this code does not run under a leadership")
    return leadership
