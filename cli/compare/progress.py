"""What is going on, on stderr: a line for each scenario, or on a terminal with rich installed a bar. Never on stdout."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import Any, Protocol, Self

from leasekit.cli.compare.candidacies import now_s


class Progress(Protocol):
    """Told by whoever measures."""

    def begin(self, steps: int) -> None:
        """So many scenarios are to come, over all stores."""

    def store(self, title: str) -> None:
        """The next store's turn."""

    def scenario(self, title: str) -> None:
        """The next scenario on it."""

    def advance(self, steps: int) -> None:
        """So many are over."""

    def note(self, text: str) -> None:
        """Something that people should know, and that stays to be read."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None: ...


class Lines:
    """Plain ones. Nobody need read them: a closed stderr is no reason to end."""

    def __init__(self) -> None:
        self._began_s = now_s()
        self._steps = self._done = 0
        self._store = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        return

    def begin(self, steps: int) -> None:
        self._steps = steps

    def store(self, title: str) -> None:
        self._store = title
        self.note(f"{title}: starting")

    def scenario(self, title: str) -> None:
        self.note(f"{self._store}: {title} ({self._done + 1} of {self._steps})")

    def advance(self, steps: int) -> None:
        self._done += steps

    def note(self, text: str) -> None:
        if sys.stderr is None:
            return
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"leasekit: [{now_s() - self._began_s:4.0f} s] {_one_line(text)}\n")
            sys.stderr.flush()


class Bar:
    """rich's, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        self._console = Console(stderr=True)
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._task = self._progress.add_task("", total=None)
        self._store = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, steps: int) -> None:
        self._progress.update(self._task, total=steps)

    def store(self, title: str) -> None:
        self._store = title
        self._describe("starting")

    def scenario(self, title: str) -> None:
        self._describe(title)

    def advance(self, steps: int) -> None:
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        self._console.print(f"leasekit: {_one_line(text)}", markup=False, highlight=False)

    def _describe(self, what: str) -> None:
        from rich.markup import escape

        self._progress.update(self._task, description=escape(f"{self._store}: {what}"))


def on_stderr() -> Progress:
    """What stderr is fit for."""
    if sys.stderr is not None and sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            return Bar()
    return Lines()


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
