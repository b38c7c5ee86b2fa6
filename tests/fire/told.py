"""`leasekit`, as it is, with one thing written down: the deadline that it last named to its watchdog.

The journal tells it when the leadership ends. A leasekit that is killed tells nothing any more.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fire.signs import Sign
from leasekit.cli.main import main
from leasekit.clock import Instant
from leasekit.watchdog.guard import Guard

FILE_VARIABLE = "FIRE_DEADLINE_FILE"


def run() -> None:
    """Run the command line of this process."""
    deadline_told = Sign(Path(os.environ.pop(FILE_VARIABLE)))

    def noting(name: str) -> None:
        method = getattr(Guard, name)

        def noted(guard: Guard, deadline: Instant, **more: Any) -> None:
            deadline_told.write(deadline.boot_s)
            method(guard, deadline, **more)

        setattr(Guard, name, noted)

    noting("begin")
    noting("extend")
    main()
