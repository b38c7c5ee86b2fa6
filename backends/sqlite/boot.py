"""Which boot of which machine this is: the stamps of the suspend-aware clock mean nothing in another."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Boot:
    """What two processes must share for their clocks to agree. Empty where the system does not tell."""

    id: str
    time_namespace: str


def this_boot() -> Boot:
    """The boot and time namespace that this process runs in."""
    boot_id = time_namespace = ""
    with suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        time_namespace = os.readlink("/proc/self/ns/time")  # noqa: PTH115
    return Boot(boot_id, time_namespace)
