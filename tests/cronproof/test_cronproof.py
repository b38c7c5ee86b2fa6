"""The proof, played short: the same code with fewer slots. `python -m cronproof` plays it in full."""

from __future__ import annotations

import pytest

from cronproof.play import Script, play
from cronproof.trouble import Pace


@pytest.mark.timeout(400)
def test_slots_are_run_once_with_wrong_clocks_kills_pauses_and_outages() -> None:
    pace = Pace(kill_s=4, pause_s=4, hurt_s=4, jump_s=0, longest_pause_s=3)
    script = Script("etcd", slots=8, minutes=0, seed=1, workers=3, servers=1, ttl_s=2, pace=pace)
    result = play(script)
    assert result.violations == [], f"\n{result}"
    assert [row.slots for row in result.rows] == [8]
    assert result.trouble["workers killed"] >= 1
    assert result.trouble["store outages"] >= 1
