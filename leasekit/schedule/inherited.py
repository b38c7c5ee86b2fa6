"""`stop="process"`: the run as the spawned process sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from leasekit.errors import ConfigError
from leasekit.schedule.current import within
from leasekit.schedule.records import Outcome
from leasekit.schedule.slots import Run
from leasekit.spawned import find
from leasekit.sync import Leadership, current


def in_child(module: str, qualified_name: str, name: str, slot: datetime, attempt: int) -> Any:
    """Call the job's function as part of its run."""
    function = find(module, qualified_name)
    with within(_Inherited(current(), name, slot, attempt)):
        return function()


class _Inherited(Run):
    """The parent's run: it can be asked, and only the parent can end it."""

    def __init__(self, leadership: Leadership, name: str, slot: datetime, attempt: int) -> None:
        self.leadership = leadership
        self._about = name, slot, attempt

    @property
    def name(self) -> str:
        return self._about[0]

    @property
    def slot(self) -> datetime:
        return self._about[1]

    @property
    def attempt(self) -> int:
        return self._about[2]

    @property
    def token(self) -> int:
        return self.leadership.token

    def finish(self, outcome: Outcome, detail: str | None = None) -> None:
        """Not from here."""
        raise ConfigError("finish", "the parent process holds this run; return from the function, or raise, instead")
