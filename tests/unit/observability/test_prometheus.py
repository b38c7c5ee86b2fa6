"""Metrics as Prometheus scrapes them: the real client's registry and text, and what stands so now computed then."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import leasekit
from leasekit import engine
from leasekit.connection import Connection
from leasekit.election import ElectionCore
from leasekit.errors import FencingRejected, LeadershipLost, LossReason
from leasekit.fencing import StoreFence
from leasekit.fencing.contract import Rule
from leasekit.observability import Elected, Refused, Renewal, names, prometheus
from leasekit.observability.events import Outcome
from leasekit.observability.hub import HUB
from leasekit.tenure import Tenure
from leasekit.testing import ManualClock

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _a_scrape_waits_for_what_happened_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "SCRAPE_WAITS_S", PATIENCE_S)


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    """With leasekit's metrics in it."""
    made = CollectorRegistry()
    installed = prometheus.install(made)
    yield made
    installed.remove()


def scraped(registry: CollectorRegistry, *of: str) -> dict[str, float]:
    """Samples by name and labels, of the elections or resources named."""
    samples = {}
    for line in generate_latest(registry).decode().splitlines():
        if not line.startswith("#") and any(f'"{name}"' in line for name in of):
            sample, _, value = line.rpartition(" ")
            samples[sample] = float(value)
    return samples


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "not so in time"
        time.sleep(0.01)


def elected(connection: Connection, name: str, *, ttl_s: float = 15.0, id: str = "me") -> tuple[ElectionCore, Tenure]:
    core = ElectionCore(name, connection=connection, id=id, ttl_s=ttl_s, priority=0, meta=None)

    async def campaign() -> Tenure:
        return await core.campaign(PATIENCE_S)

    return core, engine.get().run(campaign())


def closed(connection: Connection) -> None:
    engine.get().run(connection.aclose(timeout_s=2))


def test_a_leadership_from_scrape_to_scrape(registry: CollectorRegistry, prefix: str) -> None:
    with leasekit.connect(f"memory://{prefix}") as store:
        election = leasekit.Election(prefix, store=store)
        with election.campaign():
            during = scraped(registry, prefix)
        after = scraped(registry, prefix)
    label = f'{{election="{prefix}"}}'
    assert during[f"leasekit_is_leader{label}"] == 1
    assert 0 < during[f"leasekit_lease_remaining_seconds{label}"] < 15
    assert during[f"leasekit_queue_length{label}"] == 0
    assert during[f'leasekit_transitions_total{{election="{prefix}",reason="elected"}}'] == 1
    assert after[f"leasekit_is_leader{label}"] == 0
    assert after[f"leasekit_lease_remaining_seconds{label}"] == 0
    assert after[f'leasekit_transitions_total{{election="{prefix}",reason="resigned"}}'] == 1


def test_every_reason_is_there_from_the_start_since_prometheus_sees_no_increase_of_what_was_not(
    registry: CollectorRegistry, prefix: str
) -> None:
    with leasekit.connect(f"memory://{prefix}") as store:
        with_candidate = leasekit.Election(prefix, store=store)
        with with_candidate.campaign():
            samples = scraped(registry, prefix)
    transitions = {
        re.search(r'reason="(\w+)"', sample)[1]: count  # type: ignore[index]
        for sample, count in samples.items()
        if "transitions" in sample
    }
    told = {reason.value for reason in LossReason} - {"forked"}
    assert transitions == {"elected": 1, **dict.fromkeys(told, 0)}


def test_after_a_pause_the_very_first_scrape_shows_no_leader(
    registry: CollectorRegistry, prefix: str, stuck_engine: Callable[[], AbstractContextManager[None]]
) -> None:
    """The clock has moved on, and no thread has had the time to notice."""
    clock = ManualClock()
    connection = Connection(f"memory://{prefix}", clock=clock)
    _, tenure = elected(connection, prefix)
    label = f'{{election="{prefix}"}}'
    leads, remaining_s = f"leasekit_is_leader{label}", f"leasekit_lease_remaining_seconds{label}"
    with stuck_engine():
        seen = []
        for _ in range(3):
            samples = scraped(registry, prefix)
            seen.append((samples[leads], round(samples[remaining_s], 6)))
            clock.advance(10)
    assert seen == [(1, 14.8), (1, 4.8), (0, 0)]
    assert tenure.loss is LossReason.DEADLINE
    closed(connection)


def test_metrics_installed_late_know_who_leads_already(prefix: str) -> None:
    with leasekit.connect(f"memory://{prefix}") as store:
        election = leasekit.Election(prefix, store=store)
        with election.campaign():
            registry = CollectorRegistry()
            installed = prometheus.install(registry)
            samples = scraped(registry, prefix)
            installed.remove()
    assert samples[f'leasekit_is_leader{{election="{prefix}"}}'] == 1


def test_the_queue_is_as_long_as_a_candidate_last_saw_it(registry: CollectorRegistry, prefix: str) -> None:
    connections = {id: Connection(f"memory://{prefix}") for id in ("first", "second", "third")}
    _, first = elected(connections["first"], prefix, id="first")
    label = f'leasekit_queue_length{{election="{prefix}"}}'
    assert scraped(registry, prefix)[label] == 0
    waiting = []
    for id in ("second", "third"):
        core = ElectionCore(prefix, connection=connections[id], id=id, ttl_s=15.0, priority=0, meta=None)
        waiting.append(engine.get().submit(core.campaign(None)))
    until(lambda: scraped(registry, prefix)[label] == 2)
    assert first.loss is None
    for future in waiting:
        engine.get().abandon(future, lambda tenure: tenure.end(LossReason.RESIGNED))
    for connection in connections.values():
        closed(connection)


def test_refusals_are_counted_by_resource_whichever_guard_refused(registry: CollectorRegistry, prefix: str) -> None:
    for token in (3, 4):
        Rule.of(f"{prefix}-table", prefix).refusal(token, 9)
    with leasekit.connect(f"memory://{prefix}") as store:
        election = leasekit.Election(prefix, store=store)
        fence = StoreFence(election)
        with election.campaign() as leadership:
            token = leadership.token
        with election.campaign() as leadership:
            fence.put("cursor", b"1", leadership.token)
            with pytest.raises(FencingRejected):
                fence.put("cursor", b"2", token)
        # Nobody leads: nothing is known to be higher, so it is no refusal of a stale token.
        with pytest.raises(LeadershipLost):
            fence.put("cursor", b"3", token)
    refusals = {
        sample: count for sample, count in scraped(registry, prefix, f"{prefix}-table").items() if "fence" in sample
    }
    assert refusals == {
        f'leasekit_fence_refusals_total{{election="{prefix}",resource="{prefix}-table"}}': 2,
        f'leasekit_fence_refusals_total{{election="{prefix}",resource="{prefix}"}}': 1,
    }


def test_renewals_fall_into_buckets_by_store_and_outcome() -> None:
    registry = CollectorRegistry()
    installed = prometheus.install(registry)
    for took_s in (0.0005, 0.001, 0.004, 99.0):
        HUB.tell(Renewal("teststore", Outcome.RENEWED, took_s))
    HUB.tell(Renewal("teststore", Outcome.UNANSWERED, 2.5))
    samples = scraped(registry, "teststore")
    installed.remove()
    buckets = {
        re.search(r'le="([^"]+)"', sample)[1]: count  # type: ignore[index]
        for sample, count in samples.items()
        if "bucket" in sample and '"renewed"' in sample
    }
    assert (buckets["0.001"], buckets["0.0025"], buckets["0.005"], buckets["5.0"], buckets["+Inf"]) == (2, 2, 3, 3, 4)
    assert samples['leasekit_renewal_seconds_sum{outcome="renewed",store="teststore"}'] == pytest.approx(99.0055)
    assert samples['leasekit_renewal_seconds_count{outcome="unanswered",store="teststore"}'] == 1


def test_real_renewals_are_timed(registry: CollectorRegistry, prefix: str) -> None:
    counted = 'leasekit_renewal_seconds_count{outcome="renewed",store="memory"}'
    with leasekit.connect(f"memory://{prefix}") as store:
        election = leasekit.Election(prefix, store=store, ttl_s=6)
        with election.campaign():
            until(lambda: scraped(registry, "memory").get(counted, 0) >= 1)


def test_names_made_up_without_end_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.Names.__init__, "__defaults__", (3,))
    registry = CollectorRegistry()
    installed = prometheus.install(registry)
    for number in range(10):
        HUB.tell(Elected(f"made-up-{number}", "me", number, "memory://", 0.0))
        HUB.tell(Refused(f"made-up-{number}", "made-up-0", 1, 2))
    samples = scraped(registry, "(others)", *(f"made-up-{number}" for number in range(10)))
    installed.remove()
    assert samples['leasekit_transitions_total{election="(others)",reason="elected"}'] == 7
    assert samples['leasekit_fence_refusals_total{election="made-up-0",resource="(others)"}'] == 7
    assert len([sample for sample in samples if "is_leader" in sample]) == 3


def test_labels_hold_neither_ids_nor_tokens_nor_urls(registry: CollectorRegistry, prefix: str) -> None:
    connection = Connection(f"memory://{prefix}")
    _, tenure = elected(connection, prefix, id="host-4711-abcdef")
    Rule.of(prefix).refusal(4711001, 4711002)
    text = generate_latest(registry).decode()
    closed(connection)
    assert f'leasekit_is_leader{{election="{prefix}"}} 1' in text
    assert [word for word in ("4711", "memory://", tenure.id) if word in text] == []


def test_the_same_registry_takes_them_once(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="leasekit_is_leader"):
        prometheus.install(registry)
    assert b"leasekit_is_leader" in generate_latest(registry)


def test_what_was_removed_can_be_installed_again(prefix: str) -> None:
    registry = CollectorRegistry()
    prometheus.install(registry).remove()
    assert generate_latest(registry) == b""
    prometheus.install(registry).remove()
