"""What `leasekit run --report FILE` leaves: one JSON object about the run, put in place whole or not at all."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from leasekit.cli import render


@dataclass(slots=True)
class Report:
    """`started` and `ended` (UTC) are the command's, `token` the leadership's; None where it did not come to that.

    outcome: exited (the command ended by itself), lost (it was stopped; `reason` says why), not_acquired, not_started
    (it could not be executed), interrupted (a signal while waiting), failed (leasekit could not go on; `reason` says why).
    """

    election: str
    id: str
    token: int | None = None
    started: str | None = None
    ended: str | None = None
    outcome: str = "not_acquired"
    exit_code: int | None = None
    reason: str | None = None

    def write(self, file: Path) -> None:
        """Replace `file` by this report, atomically."""
        draft = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            with draft.open("w", encoding="utf-8") as stream:
                stream.write(render.document(**asdict(self)) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
