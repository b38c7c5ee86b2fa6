"""What can happen to a request on its way to a store and back."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leasekit.store import Compare, Op

READS = frozenset({"get", "scan", "server_time", "probe"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as a plan of faults sees it. `kind` is the method's name."""

    kind: str
    key: str | None = None
    """The key or prefix of `get` and `scan`."""
    lease_id: str | None = None
    """The lease of `renew` and `revoke`."""
    compares: Sequence[Compare] = ()
    ops: Sequence[Op] = ()

    @property
    def only_reads(self) -> bool:
        """Whether a lost reply leaves nothing to settle."""
        return self.kind in READS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one request. The class methods below are the usual kinds."""

    refused: bool = False
    """It is never sent: `StoreUnavailable`."""
    request_lost: bool = False
    """It never arrives, which the sender cannot know: `OutcomeUnknown`."""
    request_delay_s: float = 0.0
    """It arrives, and is applied, this much later."""
    reply_lost: bool = False
    """It is applied, and the answer is lost: `OutcomeUnknown`."""
    reply_delay_s: float = 0.0
    """The answer comes this much later; later than the time-out, it is as good as lost."""
    silent: bool = False
    """What is lost shows only by the time-out, not by a broken connection at once."""

    @classmethod
    def refuse(cls) -> Fault:
        """The store cannot be reached; surely not applied."""
        return cls(refused=True)

    @classmethod
    def lose_request(cls, *, silent: bool = False) -> Fault:
        """Not applied, and the sender cannot tell."""
        return cls(request_lost=True, silent=silent)

    @classmethod
    def lose_reply(cls, *, silent: bool = False) -> Fault:
        """Applied, and the sender cannot tell."""
        return cls(reply_lost=True, silent=silent)

    @classmethod
    def apply_late(cls, delay_s: float, *, silent: bool = False) -> Fault:
        """Applied only after the sender was told `OutcomeUnknown`: the case in which a read settles nothing."""
        return cls(request_delay_s=delay_s, reply_lost=True, silent=silent)

    @classmethod
    def delay_reply(cls, delay_s: float) -> Fault:
        """Applied at once, answered late."""
        return cls(reply_delay_s=delay_s)


Plan = Callable[[Request], Fault | None]
"""Decides what happens to a request; None for nothing out of the ordinary."""


def random_faults(rng: random.Random, *, rate: float, delay_max_s: float = 1.0) -> Plan:
    """A plan in which each request meets a fault with probability `rate`; the same for the same seed."""

    def plan(request: Request) -> Fault | None:
        if rng.random() >= rate:
            return None
        delay_s = rng.uniform(0, delay_max_s)
        return rng.choice(
            [
                Fault.refuse(),
                Fault.lose_request(),
                Fault.lose_reply(),
                Fault.apply_late(delay_s),
                Fault.delay_reply(delay_s),
            ]
        )

    return plan
