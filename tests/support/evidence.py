"""What candidates wrote down of what they believed, and what must be true of it whatever happened.

All of it errs on the short side: `since_s` is after the first answer "valid", `until_s` before the last such question.
So if two of these stretches touch, two leaderships were valid at one moment, and no slack is to be given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(slots=True)
class Reign:
    """One leadership as its holder saw it. `since_s` is None if it was never seen to be valid."""

    id: str
    pid: int
    token: int
    since_s: float | None = None
    until_s: float = 0.0
    over: Event | None = None
    """The first answer "no", if one came: asked_s, answered_s, previous_s, reason, remaining_s."""

    def __str__(self) -> str:
        return f"{self.id} with token {self.token}, from {self.since_s} to {self.until_s}"


class Evidence:
    """The record of all candidates, read as it grows."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._position = 0
        self._rest = b""
        self.events: list[Event] = []
        """All but the single answers, in the order in which they were written."""
        self.reigns: dict[int, Reign] = {}
        """By token."""

    def read(self) -> None:
        """Take in what was written since."""
        if not self._record.exists():
            return
        with self._record.open("rb") as file:
            file.seek(self._position)
            data = self._rest + file.read()
            self._position = file.tell()
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, event: Event) -> None:
        what: str = event["what"]
        token: int = event.get("token", 0)
        if what != "valid":
            self.events.append(event)
        if what == "elected":
            assert token not in self.reigns, f"token {token} was given twice: to {self.reigns[token]} and {event['id']}"
            self.reigns[token] = Reign(event["id"], event["pid"], token)
        elif what == "valid":
            reign = self.reigns[token]
            reign.until_s = event["asked_s"]
            if reign.since_s is None:
                reign.since_s = event["answered_s"]
        elif what == "over":
            self.reigns[token].over = event

    def of(self, what: str) -> Iterator[Event]:
        """The events of one kind."""
        return (event for event in self.events if event["what"] == what)


def assert_safe(reigns: Sequence[Reign]) -> None:
    """Never two valid at one moment, and tokens strictly rise."""
    seen = sorted((reign for reign in reigns if reign.since_s is not None), key=lambda reign: reign.since_s or 0.0)
    # Each is compared with the one that lasted longest among those before, so that a short one in between hides nothing.
    lasting: Reign | None = None
    for earlier, reign in zip([None, *seen], seen, strict=False):
        assert reign.since_s is not None
        if lasting is not None:
            assert lasting.until_s < reign.since_s, f"two leaders at once: {lasting} and {reign}"
        if earlier is not None:
            assert earlier.token < reign.token, f"a token did not rise: {earlier}, then {reign}"
        if lasting is None or reign.until_s > lasting.until_s:
            lasting = reign
