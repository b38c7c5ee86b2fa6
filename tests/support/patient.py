"""The conformance suite as it is run here: beside other tests, on a machine that they keep busy."""

from __future__ import annotations

from leasekit.testing.conformance import StoreConformance


class PatientConformance(StoreConformance):
    """`StoreConformance` with limits that a busy machine keeps. What a store promises is asked for all the same."""

    timeout_s = 20.0
    slack_s = 3.0
    ttl_s = 2.0
