"""Trying again while a store does not answer: tenacity, with our own stop, wait and sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from leasekit.errors import OutcomeUnknown, StoreUnavailable

UNANSWERED = (StoreUnavailable, OutcomeUnknown)

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


def pause_s(attempt: int, random: Random, *, longest_s: float = LONGEST_PAUSE_S) -> float:
    """How long to wait after failed attempt number `attempt` (from 1): doubling, with full jitter on the upper half.

    Jitter keeps many processes that lost the same store from coming back in step.
    """
    ceiling_s = min(longest_s, FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 10))
    return ceiling_s * random.uniform(0.5, 1.0)


def while_unanswered(
    random: Random,
    *,
    stop: Callable[[], bool] = lambda: False,
    longest_s: float = LONGEST_PAUSE_S,
    errors: tuple[type[Exception], ...] = UNANSWERED,
) -> AsyncRetrying:
    """Repeat a request until it is answered, or until `stop()` says that it is too late: then its error is raised."""

    def wait(state: RetryCallState) -> float:
        return pause_s(state.attempt_number, random, longest_s=longest_s)

    return AsyncRetrying(
        retry=retry_if_exception_type(errors),
        stop=lambda _state: stop(),
        wait=wait,
        sleep=asyncio.sleep,
        reraise=True,
    )
