"""A process that ends without having closed its store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import leasekit

HOLDING = """
import leasekit

leadership = leasekit.Election("reports", store={url!r}, ttl_s=600).campaign(timeout_s=30)
print(leadership.token)
"""


def test_a_process_that_ends_gives_its_leadership_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/leases.db"
    ended = subprocess.run(
        [sys.executable, "-c", HOLDING.format(url=url)], capture_output=True, text=True, timeout=60, check=True
    )
    with leasekit.connect(url) as store:
        successor = leasekit.Election("reports", store=store).try_campaign()
        assert successor is not None
        with successor:
            assert successor.token > int(ended.stdout)
