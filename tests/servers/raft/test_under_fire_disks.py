"""Disks fail, hang or are full while clients work. A member that cannot write takes no part, and says so."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from leasekit import urls
from leasekit.backends.raft import open_store
from leasekit.cli import exit_codes
from leasekit.errors import OutcomeUnknown, StoreUnavailable
from leasekit.store import Put
from support.raft_cluster import RaftCluster
from support.raft_disks import FailingDisks, SmallDisks
from support.raft_load import Load
from support.raft_operator import operate

_SMALL_MIB = 20
"""Room for two segments of the log, and not for a third beside them."""
_PIECE = b"x" * 256 * 1024
_PIECES = 400
"""Many times what there is room for: a member that is behind has not been given them all yet."""
_FILLED_S = 60.0


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC"])
def test_a_leader_whose_sync_fails_gives_up_at_once(fault: str) -> None:
    with FailingDisks(3) as cluster, Load(cluster.url("fire")) as load:
        leader = cluster.leader_index()
        cluster.break_disk(leader, "EIO" if fault == "EIO" else "ENOSPC")
        load.goes_on(more=50)
        assert cluster.wait_ended(leader) == exit_codes.DISK
        assert "the disk failed" in cluster.output(leader)
        cluster.mend_disk(leader)
        cluster.start(leader)
        load.goes_on()


def test_the_disks_of_all_members_fail_one_after_the_other() -> None:
    with FailingDisks(3) as cluster, Load(cluster.url("fire")) as load:
        for index in range(3):
            cluster.break_disk(index, "EIO")
            assert cluster.wait_ended(index) == exit_codes.DISK
            load.goes_on()
            cluster.mend_disk(index)
            cluster.start(index)


def test_while_the_disks_of_a_majority_hang_nothing_is_acknowledged() -> None:
    with FailingDisks(3) as cluster, Load(cluster.url("fire")) as load:
        leader = cluster.leader_index()
        for index in (leader, (leader + 1) % 3):
            cluster.break_disk(index, "slow")
        load.stands_still()
        for index in (leader, (leader + 1) % 3):
            cluster.mend_disk(index)
        load.goes_on()


def test_the_disk_of_one_member_hangs() -> None:
    # It answers heartbeats, so it may lead on: the others' disks are a majority.
    with FailingDisks(3) as cluster, Load(cluster.url("fire")) as load:
        leader = cluster.leader_index()
        cluster.break_disk(leader, "slow")
        load.goes_on(more=100)
        cluster.kill((leader + 1) % 3)
        cluster.mend_disk(leader)
        load.goes_on()


def test_a_leader_whose_disk_is_full_gives_up_and_comes_back_once_there_is_room() -> None:
    with SmallDisks([0], _SMALL_MIB) as cluster, Load(cluster.url("fire")) as load:
        if cluster.leader_index() != 0:
            operate(cluster, "transfer", cluster.member(0))
        _fill(cluster, 0)
        assert cluster.wait_ended(0) == exit_codes.DISK
        load.goes_on()
        # It is not to be had back before that.
        cluster.start(0, wait=False)
        assert cluster.wait_ended(0) == exit_codes.DISK
        cluster.disks[0].resize(8 * _SMALL_MIB)
        cluster.start(0)
        load.goes_on()


def test_with_the_disks_of_a_majority_full_nothing_is_acknowledged_and_nothing_is_lost() -> None:
    with SmallDisks([0, 1], _SMALL_MIB) as cluster, Load(cluster.url("fire")) as load:
        _fill(cluster, 0)
        _fill(cluster, 1)
        for index in (0, 1):
            assert cluster.wait_ended(index) == exit_codes.DISK
        load.stands_still()
        for index in (0, 1):
            cluster.disks[index].resize(8 * _SMALL_MIB)
        cluster.start_all()
        load.goes_on()


def _fill(cluster: RaftCluster, index: int) -> None:
    """Write until member `index` ends, or says that its disk has failed."""

    async def fill() -> None:
        store = open_store(urls.parse(cluster.url("bulk")))
        try:
            taken = 0
            async with asyncio.timeout(_FILLED_S):
                while cluster.runs(index):
                    status = await asyncio.to_thread(cluster.status, index)
                    if status is not None and status.failure is not None:
                        return
                    # Those that are not answered may be because it is full, or because the machine is busy.
                    with contextlib.suppress(OutcomeUnknown, StoreUnavailable):
                        await store.transact((), (Put("piece", _PIECE),), timeout_s=1)
                        taken += 1
                    assert taken < _PIECES, f"the disk of member {index} took everything"
        finally:
            await store.aclose()

    asyncio.run(fill())
