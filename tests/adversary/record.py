"""What the writers of a round wrote down, in the order in which it happened.

Both append to one file, a line before each attempt and a line after it, each by one write. So the order of the lines is
an order of events that needs no clock: an attempt whose first line stands after the last line of another began after it.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


class Outcome(enum.StrEnum):
    """What a writer was told of an attempt."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """By the guard: FencingRejected, or LeadershipLost where nobody leads."""
    FAILED = "failed"
    """Surely not written, for another reason: a lock that was not had in time, a store that was not reached."""
    UNKNOWN = "unknown"
    """The answer was lost, or never came."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One write. `began` and `ended` are places in the order of events; None: no answer was written down."""

    writer: str
    number: int
    token: int
    began: int
    ended: int | None
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class Elected:
    """One leadership. Places in the order of events: `campaigned` before the campaign, `place` after it was won."""

    writer: str
    token: int
    campaigned: int
    place: int


@dataclass(frozen=True, slots=True)
class Held:
    """One write that the resource has taken."""

    writer: str
    number: int
    token: int

    @property
    def text(self) -> str:
        """As it stands in a resource that holds lines."""
        return f"{self.writer} {self.number} {self.token}"

    @staticmethod
    def of(text: str) -> Held:
        """The opposite of `text`."""
        writer, number, token = text.split()
        return Held(writer, int(number), int(token))


class Pen:
    """A writer's end of the record."""

    def __init__(self, path: str | Path, writer: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._writer = writer

    def write(self, what: str, **details: object) -> None:
        line = json.dumps({"writer": self._writer, "what": what, **details})
        os.write(self._file, f"{line}\n".encode())


class Record:
    """The reader's end. Grows as `read` is called."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._lines = 0
        self._rest = b""
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.elected: list[Elected] = []
        self._campaigned: dict[str, int] = {}
        self.said: set[tuple[str, str]] = set()
        """What else was said: writer and word."""

    def read(self) -> None:
        """Take in what was written since."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
            self._lines += 1

    def count(self, writer: str, *outcomes: Outcome, stale_to: int | None = None) -> int:
        """How many attempts of that writer ended so; with `stale_to`, those that began after that place alone."""
        return sum(
            attempt.outcome in outcomes and (stale_to is None or attempt.began > stale_to)
            for attempt in self.attempts.values()
            if attempt.writer == writer and attempt.ended is not None
        )

    def first_accepted(self, writer: str) -> int | None:
        """The place at which that writer was first told that it had written."""
        accepted = (a.ended for a in self.attempts.values() if a.writer == writer and a.outcome is Outcome.ACCEPTED)
        return next((place for place in accepted if place is not None), None)

    def was_elected(self, writer: str) -> bool:
        """Whether it ever was."""
        return any(elected.writer == writer for elected in self.elected)

    @property
    def in_order(self) -> Sequence[Attempt]:
        """All attempts, by when they began."""
        return list(self.attempts.values())

    def _take(self, line: dict[str, Any]) -> None:
        writer, what = line["writer"], line["what"]
        if what == "begin":
            key = (writer, line["number"])
            assert key not in self.attempts, f"{key} began twice"
            self.attempts[key] = Attempt(writer, line["number"], line["token"], self._lines, None, Outcome.UNKNOWN)
        elif what == "end":
            key = (writer, line["number"])
            told = Outcome(line["outcome"])
            self.attempts[key] = replace(self.attempts[key], ended=self._lines, outcome=told, why=line["why"])
        elif what == "elected":
            self.elected.append(Elected(writer, line["token"], self._campaigned[writer], self._lines))
        else:
            self.said.add((writer, what))
            if what == "campaigns":
                self._campaigned[writer] = self._lines
