"""Each fault once, with commands that will not die, all side by side. `python -m fire` is the long version."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from fire.faults import FAULTS
from fire.places import FileSite
from fire.rounds import play_until_it_counts
from fire.table import broken, life_after_s

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

TTL_S = 4.0
# Those that leave their processes the most to do. Freezing a control group takes root, so the long version does that.
PLAYED: Mapping[str, tuple[str, ...]] = {
    "leasekit stopped": ("runaway", "memory"),
    "leasekit killed": ("runaway", "daemon"),
    "watchdog stopped, store cut off": ("runaway", "subreaper"),
    "watchdog killed": ("fork-chain", "session"),
    "store cut off": ("runaway", "sibling"),
    "both stopped, leasekit continued": ("daemon",),
    "both stopped, watchdog continued": ("runaway",),
}
# Other tests take the cores meanwhile, so it can come late; without a watchdog it would not come at all. The long version
# allows nothing.
SLACK_S = 3.0
# After both were continued.
LIFE_MAX_S = 10.0


# Rounds are played again where the machine was too busy for a leader even before its fault.
@pytest.mark.timeout(300)
def test_a_command_under_fire_is_dead_in_time_whatever_is_struck_down() -> None:
    site = FileSite(TTL_S)
    with ThreadPoolExecutor(len(PLAYED)) as pool:
        played = [pool.submit(play_until_it_counts, site, fault, kinds) for fault, kinds in PLAYED.items()]
        outcomes = [each.result() for each in played]
    assert [line for outcome in outcomes for line in broken(outcome, allowed_late_s=SLACK_S)] == []
    for outcome in outcomes:
        assert outcome.exit_code == (-9 if outcome.fault == "leasekit killed" else 79), outcome
        life_s, writes = life_after_s(outcome), outcome.writes
        assert (life_s is not None) == FAULTS[outcome.fault].both_frozen
        if life_s is not None and writes is not None:
            assert life_s < LIFE_MAX_S, outcome
            assert writes.tried > writes.accepted == 0, outcome
