"""Waits between attempts to connect."""

from __future__ import annotations

from random import Random

_FIRST_S = 0.05
_LONGEST_S = 1.0


class Backoff:
    """Waits that grow from 50 ms to 1 s; each is drawn from its upper half, so that nobody marches in step."""

    def __init__(self, random: Random, *, growth: float = 2.0) -> None:
        """With a small `growth` the waits stay a small part of the time that has passed since the first."""
        self._random = random
        self._growth = growth
        self._ceiling_s = _FIRST_S

    def next_s(self) -> float:
        """How long to wait now."""
        wait_s = self._random.uniform(self._ceiling_s / 2, self._ceiling_s)
        self._ceiling_s = min(self._ceiling_s * self._growth, _LONGEST_S)
        return wait_s

    def reset(self) -> None:
        """The last attempt went well: start again from the shortest wait."""
        self._ceiling_s = _FIRST_S
