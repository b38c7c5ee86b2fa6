"""A comparison that was never run, for the tests of what is made of one."""

from __future__ import annotations

from leasekit.cli.compare.results import Comparison, Promises, StoreResult

NASTY = '<script>alert("&")</script>\x1b[31m'
MACHINE = {
    "cores": 2,
    "processor": "A processor <of sorts> & more",
    "memory_gib": 8.0,
    "system": "Linux 6.1",
    "python": "3.11.7",
    "sqlite": "3.40.1",
    "packages": {"grpcio": "1.80"},
    "load_before": 0.5,
    "load_after": 1.5,
}


def promises(ttl_s: float = 5.0) -> Promises:
    return Promises(
        ttl_min_s=1.0,
        ttl_max_s=100.0,
        ttl_s=ttl_s,
        expires_within_s=ttl_s + 0.5,
        durable=True,
        server_time=False,
        compares_empty=True,
    )


def comparison() -> Comparison:
    """One store where all went well, one where one scenario failed and one does not apply, one that did not start."""
    well = StoreResult(name="etcd3", title="etcd x3", servers=3, version="3.5.16", promises=promises())
    well.samples = {
        "acquire_s": [0.001 * number for number in range(1, 41)],
        "handover_s": [0.004, 0.006, 0.3],
        "requests_of_the_future": [1.0],
        "handover_requests": [15.0, 16.0],
        "failover_s": [4.5, 5.1],
        "paused_refused": [1.0, 1.0],
        "paused_accepted": [0.0, 0.0],
        "store_failover_survived": [1.0, 0.0],
    }
    ill = StoreResult(name="sqlite", title=f"SQLite {NASTY}", servers=1, promises=promises(), version=NASTY)
    ill.samples = {"acquire_s": [0.002], "failover_s": [4.9]}
    ill.failed = {"handover": NASTY}
    ill.lapsed = {"failover": 2}
    ill.left_out = {"store-failover": "takes a store of three servers"}
    dead = StoreResult(name="consul1", title="Consul x1", servers=1, error=NASTY)
    return Comparison(
        version="0.1.0",
        began="2026-11-23T06:00:00+00:00",
        machine=MACHINE,
        ttl_s=5.0,
        rounds=2,
        scenarios=("acquire", "handover", "failover"),
        stores=[well, ill, dead],
        not_found={"consul3": f"no program {NASTY}"},
        took_s=61.0,
    )
