"""What a run is like: everything is drawn from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from leasekit.backends.raft.simulator.network import Weather

FAULTS = (
    "crash one",
    "crash leader",
    "crash several",
    "crash writing",
    "pause",
    "stall",
    "partition",
    "divergence",
    "clog",
    "disk full",
    "disk error",
    "slow disk",
    "clock jump",
    "transfer",
    "snapshot",
    "churn",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one run. Times are in seconds of virtual time."""

    voters: int
    weather: Weather
    safety_s: float
    """How long faults are made."""
    election_timeout_s: float
    heartbeat_s: float
    disk_mean_s: float
    """Of one write and sync."""
    snapshot_entries: int
    """A member makes a snapshot after so many entries."""
    keep_entries: int
    snapshot_piece_bytes: int
    max_append_bytes: int
    max_apply_bytes: int
    max_inflight: int
    segment_bytes: int
    faults: frozenset[str]
    """The kinds that this run has: some of them only, so that each gets the room to do its worst."""
    fault_mean_s: float
    """Between one fault and the next."""
    long_outages: float
    """The fraction of crashed members that stay away so long that they need a snapshot."""
    core_only: bool
    """Whether only a random majority is healed in the end, and the rest stays down."""
    registers: int
    register_clients: int
    several_clients: int
    bursts: int
    electors: int
    watchers: int

    @staticmethod
    def drawn(rng: random.Random) -> Settings:
        """As the seed has it."""
        weather = Weather.drawn(rng)
        slowest_s = 8 * (weather.delay_min_s + weather.delay_mean_s)
        election_timeout_s = max(rng.uniform(0.4, 1.0), slowest_s)
        tiny = rng.random() < 0.6
        return Settings(
            voters=rng.choice([3, 3, 3, 4, 5, 5, 7]),
            weather=weather,
            safety_s=rng.uniform(8, 16),
            election_timeout_s=election_timeout_s,
            heartbeat_s=election_timeout_s / rng.choice([4, 6]),
            disk_mean_s=rng.choice([0.0005, 0.002, 0.02]),
            snapshot_entries=rng.randint(4, 20) if tiny else rng.randint(40, 200),
            keep_entries=rng.choice([0, 0, 2, 10]),
            snapshot_piece_bytes=rng.choice([64, 300, 4096]),
            max_append_bytes=rng.choice([100, 1000, 1 << 20]),
            max_apply_bytes=rng.choice([1, 200, 1 << 20]),
            max_inflight=rng.choice([1, 4, 64]),
            segment_bytes=rng.choice([512, 2048, 16384]),
            faults=frozenset(kind for kind in FAULTS if rng.random() < 0.55),
            fault_mean_s=rng.uniform(0.3, 1.5),
            long_outages=rng.uniform(0.1, 0.3),
            core_only=rng.random() < 0.4,
            registers=rng.randint(1, 3),
            register_clients=rng.randint(1, 4),
            several_clients=rng.randint(0, 2),
            bursts=rng.choice([0, 0, 1, 2]),
            electors=rng.randint(0, 3),
            watchers=rng.randint(0, 3),
        )
