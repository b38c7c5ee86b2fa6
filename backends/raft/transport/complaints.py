"""What is wrong with others, said once."""

from __future__ import annotations

import logging

_LOG = logging.getLogger("leasekit.raft")
_REMEMBERED = 1000
"""Others of whom this is kept: strangers come and go."""


class Complaints:
    """Logs each kind of complaint about each other once, until `forgive`. Never more than a line for a thousand bad frames."""

    def __init__(self) -> None:
        self._made: dict[str, set[str]] = {}

    def complain(self, who: str, kind: str, text: str) -> None:
        """`kind` is one of a few; `text` is for people, and may differ each time."""
        if len(self._made) >= _REMEMBERED and who not in self._made:
            del self._made[next(iter(self._made))]
        kinds = self._made.setdefault(who, set())
        if kind not in kinds:
            kinds.add(kind)
            _LOG.warning("%s: %s", who, text)

    def forgive(self, who: str) -> None:
        """All is well: what goes wrong from now on is news again."""
        if self._made.pop(who, None):
            _LOG.info("%s: connected", who)
