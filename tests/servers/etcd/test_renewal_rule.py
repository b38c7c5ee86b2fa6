"""Rule 7 of DESIGN section 5 against a server that misbehaves on order: when does a keepalive's answer count?"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from leasekit.errors import LeaseLost, OutcomeUnknown
from leasekit.store import Delete, Put, Store

from .conftest import PATIENCE_S, Open, connected
from .fake_etcd import FakeEtcd, KeepAlive, Read

LEASE = "00000000000000ab"


@pytest.fixture
async def etcd() -> AsyncIterator[FakeEtcd]:
    async with FakeEtcd() as server:
        yield server


@pytest.fixture
def store(etcd: FakeEtcd, opened: Open) -> Store:
    return opened(f"etcd://{etcd.address}/p")


async def put(store: Store, key: str) -> int:
    committed = await store.transact([], [Put(key, b"", LEASE)], timeout_s=PATIENCE_S)
    assert committed is not None
    return committed.revision


async def test_a_key_of_the_lease_is_read_after_the_keepalive_and_in_its_term_confirms_it(
    etcd: FakeEtcd, store: Store
) -> None:
    revision = await put(store, "leader")
    etcd.keepalives.append(KeepAlive(term=4, ttl_s=9))
    etcd.reads.append(Read(term=4, revision=revision))
    assert await store.renew(LEASE, timeout_s=PATIENCE_S) == 9
    assert etcd.asked == ["keepalive", "read p/leader"]


async def test_an_answer_from_another_term_than_the_read_is_asked_for_again_at_once(
    etcd: FakeEtcd, store: Store
) -> None:
    revision = await put(store, "leader")
    etcd.keepalives += [KeepAlive(term=4), KeepAlive(term=5, ttl_s=7)]
    etcd.reads += [Read(term=5, revision=revision), Read(term=5, revision=revision)]
    assert await store.renew(LEASE, timeout_s=PATIENCE_S) == 7
    assert etcd.asked == ["keepalive", "read p/leader"] * 2


async def test_an_isolated_leader_is_never_believed(etcd: FakeEtcd, store: Store) -> None:
    revision = await put(store, "leader")
    etcd.keepalives.extend(KeepAlive(term=4) for _ in range(10_000))
    etcd.reads.extend(Read(term=5, revision=revision) for _ in range(10_000))
    with pytest.raises(OutcomeUnknown):
        await store.renew(LEASE, timeout_s=0.5)
    assert etcd.asked.count("keepalive") < 20, "it is asked again, but not in a storm"


@pytest.mark.parametrize("found", [None, 99])
async def test_a_witness_that_is_gone_or_changed_is_replaced_by_another(
    etcd: FakeEtcd, store: Store, found: int | None
) -> None:
    await put(store, "candidate")
    second = await put(store, "leader")
    etcd.keepalives += [KeepAlive(term=4), KeepAlive(term=4)]
    etcd.reads += [Read(term=4, revision=found), Read(term=4, revision=second)]
    assert await store.renew(LEASE, timeout_s=PATIENCE_S) == 5
    assert etcd.asked == ["keepalive", "read p/candidate", "keepalive", "read p/leader"]


async def test_without_a_witness_the_terms_are_compared(etcd: FakeEtcd, store: Store) -> None:
    etcd.keepalives += [KeepAlive(term=4), KeepAlive(term=5)]
    etcd.reads += [Read(term=5), Read(term=5)]
    assert await store.renew(LEASE, timeout_s=PATIENCE_S) == 5
    assert etcd.asked == ["keepalive", "read"] * 2


async def test_a_key_that_was_deleted_here_is_no_witness(etcd: FakeEtcd, store: Store) -> None:
    await put(store, "leader")
    await store.transact([], [Delete("leader")], timeout_s=PATIENCE_S)
    etcd.keepalives.append(KeepAlive(term=4))
    etcd.reads.append(Read(term=4))
    await store.renew(LEASE, timeout_s=PATIENCE_S)
    assert etcd.asked == ["keepalive", "read"]


async def test_a_lease_that_the_leader_does_not_know_is_lost(etcd: FakeEtcd, store: Store) -> None:
    etcd.keepalives.append(KeepAlive(term=4, ttl_s=0))
    etcd.reads.append(Read(term=4))
    with pytest.raises(LeaseLost) as caught:
        await store.renew(LEASE, timeout_s=PATIENCE_S)
    assert caught.value.lease_id == LEASE


async def test_a_lease_that_only_a_deposed_leader_does_not_know_is_not_lost(etcd: FakeEtcd, store: Store) -> None:
    etcd.keepalives += [KeepAlive(term=4, ttl_s=0), KeepAlive(term=5, ttl_s=5)]
    etcd.reads += [Read(term=5), Read(term=5)]
    assert await store.renew(LEASE, timeout_s=PATIENCE_S) == 5


async def test_renewals_share_one_stream(etcd: FakeEtcd, store: Store) -> None:
    for _ in range(3):
        etcd.keepalives.append(KeepAlive(term=4))
        etcd.reads.append(Read(term=4))
        await store.renew(LEASE, timeout_s=PATIENCE_S)
    assert etcd.streams == 1


async def test_after_a_renewal_without_an_answer_the_next_goes_to_another_server(opened: Open) -> None:
    async with FakeEtcd() as silent, FakeEtcd() as good:
        store = opened(f"etcd://{silent.address},{good.address}/p")
        await connected(store, silent.address)
        silent.keepalives.append(KeepAlive(term=4, ttl_s=None))
        with pytest.raises(OutcomeUnknown, match=silent.address):
            await store.renew(LEASE, timeout_s=1)
        good.keepalives.append(KeepAlive(term=4))
        good.reads.append(Read(term=4))
        assert await store.renew(LEASE, timeout_s=PATIENCE_S) == 5
        assert silent.asked == ["keepalive"]


async def test_a_renewal_that_hangs_breaks_its_stream_so_that_no_late_answer_counts(
    etcd: FakeEtcd, store: Store
) -> None:
    await connected(store, etcd.address)
    etcd.keepalives.append(KeepAlive(term=4, ttl_s=None))
    with pytest.raises(OutcomeUnknown):
        await store.renew(LEASE, timeout_s=1)
    assert etcd.asked == ["keepalive"]
    etcd.keepalives.append(KeepAlive(term=4))
    etcd.reads.append(Read(term=4))
    await store.renew(LEASE, timeout_s=PATIENCE_S)
    assert etcd.streams == 2
