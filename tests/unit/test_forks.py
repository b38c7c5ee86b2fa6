"""After a fork: the parent leads on, and the child starts with nothing of the parent's (DESIGN section 13)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import leasekit
from leasekit import aio, engine
from leasekit.errors import ConfigError, LeadershipLost, LossReason
from support.servers import ConsulCluster, EtcdCluster, RaftCluster

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    # Python warns of what is tested here: forking a process that has threads.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


TTL_S = 6.0
LONG_S = 30.0


def in_child(work: Callable[[], object], *, timeout_s: float = LONG_S) -> None:
    """Do `work` in a fork of this process. A failure there fails the test, and a hang does too."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(timeout_s))
        try:
            work()
            os.write(writing, b"ok")
        except BaseException:  # noqa: BLE001 (told to the parent)
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        said = told.read().decode()
    _, status = os.waitpid(pid, 0)
    assert said == "ok", said or f"the child hung or died: status {status}"


def renewed(leadership: leasekit.Leadership) -> bool:
    """Wait for its next renewal; False if it is lost first."""
    before = leadership.tenure.deadline
    while before is not None and leadership.tenure.deadline == before:
        time.sleep(0.01)
    return leadership.valid


@pytest.fixture(params=["sqlite", "consul", "raft"])
def url(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/leases.db"
    cluster: ConsulCluster | RaftCluster = request.getfixturevalue(request.param)
    return cluster.url(prefix)


def test_the_parent_keeps_its_leadership_and_the_child_has_none(url: str) -> None:
    with leasekit.connect(url) as store, leasekit.Election("reports", store, ttl_s=TTL_S).campaign() as leadership:

        def child() -> None:
            assert not leadership.valid
            assert leadership.reason is LossReason.FORKED
            assert leadership.remaining_s == 0
            assert leadership.wait_lost(1) is LossReason.FORKED
            with pytest.raises(LeadershipLost) as lost:
                leadership.check()
            assert lost.value.reason is LossReason.FORKED
            told: list[LossReason] = []
            leadership.add_lost_callback(told.append)
            while not told:
                time.sleep(0.01)
            assert told == [LossReason.FORKED]
            leadership.resign()

        in_child(child)
        assert renewed(leadership)
        leader = leasekit.Election("reports", store).leader()
        assert leader is not None
        assert leader.token == leadership.token


def test_the_inherited_connection_works_in_the_child_with_a_store_of_its_own(url: str) -> None:
    with leasekit.connect(url) as store, leasekit.Election("reports", store, ttl_s=TTL_S).campaign() as leadership:
        inherited = leasekit.Election("reports", store, ttl_s=TTL_S)
        before = inherited.id
        thread = engine.get()

        def child() -> None:
            assert inherited.id != before
            assert str(os.getpid()) in inherited.id
            leader = inherited.leader()
            assert leader is not None
            assert leader.token == leadership.token
            assert inherited.try_campaign() is None
            with leasekit.Election("others", store, ttl_s=TTL_S).campaign(timeout_s=LONG_S) as own:
                assert own.valid
            assert engine.get() is not thread
            store.close()

        in_child(child)
        in_child(child)
        assert leadership.valid


def test_the_child_can_connect_anew(url: str) -> None:
    with leasekit.connect(url) as store, leasekit.Election("reports", store, ttl_s=TTL_S).campaign() as leadership:

        def child() -> None:
            with leasekit.connect(url) as anew:
                leader = leasekit.Election("reports", anew).leader()
                assert leader is not None
                assert leader.pid == os.getppid()

        in_child(child)
        assert leadership.valid


def test_loading_an_application_before_the_fork_is_safe(url: str) -> None:
    store = leasekit.connect(url)
    election = leasekit.Election("preloaded", store, ttl_s=TTL_S)

    @leasekit.singleton("job", store=store, ttl_s=TTL_S)
    def job() -> int:
        return leasekit.current().token

    def child() -> None:
        with election.campaign(timeout_s=LONG_S) as leadership:
            assert leadership.valid
        assert job() is not None
        store.close()

    for _ in range(3):
        in_child(child)
    with election.campaign(timeout_s=LONG_S):
        pass
    store.close()


def test_collecting_in_the_child_what_it_inherited_harms_nobody(url: str) -> None:
    with leasekit.connect(url) as store:
        held = [leasekit.Election("reports", store, ttl_s=TTL_S).campaign()]
        watching = leasekit.Election("reports", store).observe()
        assert next(watching) is not None
        waiting = leasekit.Election("reports", store, ttl_s=TTL_S, id="waiting")
        campaign = threading.Thread(target=lambda: waiting.campaign().resign())
        campaign.start()
        while len(waiting.candidates()) < 2:
            time.sleep(0.01)

        def child() -> None:
            nonlocal watching
            held.clear()
            del watching
            gc.collect()
            leasekit.Election("others", store, ttl_s=TTL_S).campaign(timeout_s=LONG_S).resign()
            gc.collect()

        in_child(child)
        (leadership,) = held
        # The parent's renewals, watches and requests go on.
        assert renewed(leadership)
        leadership.resign()
        campaign.join(LONG_S)
        assert not campaign.is_alive()
        watching.close()


def test_no_lock_is_inherited_held() -> None:
    """Forks at random moments, while other threads keep every lock of leasekit busy."""
    url = f"memory://{uuid.uuid4().hex}"
    stop = threading.Event()

    def busy(number: int) -> None:
        while not stop.is_set():
            with leasekit.Election(f"busy-{number}", url, ttl_s=TTL_S).campaign() as leadership:
                leadership.add_lost_callback(lambda _: None)

    threads = [threading.Thread(target=busy, args=(number,)) for number in range(4)]
    with leasekit.Election("reports", url, ttl_s=TTL_S).campaign() as leadership:
        for thread in threads:
            thread.start()

        def child() -> None:
            assert leadership.reason is LossReason.FORKED
            own = leasekit.connect("memory://")
            leasekit.Election("reports", own).campaign(timeout_s=LONG_S).resign()
            own.close()

        try:
            for _ in range(30):
                in_child(child)
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_many_threads_of_a_child_share_one_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/leases.db"
    with leasekit.connect(url) as store:
        leasekit.Election("reports", store).leader()

        def child() -> None:
            seen: list[int] = []
            threads = [threading.Thread(target=lambda: seen.append(id(store.connection.store))) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(set(seen)) == 1
            assert len(seen) == 20

        in_child(child)


def test_the_asynchronous_face_works_in_a_child(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/leases.db"

    async def lead() -> int:
        async with aio.connect(url) as store, aio.Election("reports", store).campaign(LONG_S) as leadership:
            return leadership.token

    first = asyncio.run(lead())

    def child() -> None:
        assert asyncio.run(lead()) > first

    in_child(child)


def test_a_child_that_ends_normally_says_nothing(tmp_path: Path) -> None:
    code = (
        "import gc, os, sys, leasekit\n"
        f"store = leasekit.connect('sqlite:///{tmp_path}/leases.db')\n"
        "leadership = leasekit.Election('reports', store).campaign()\n"
        "observer = leasekit.Election('reports', store).observe()\n"
        "next(observer)\n"
        "if os.fork() == 0:\n"
        "    leasekit.Election('others', store).campaign().resign()\n"
        "    gc.collect()\n"
        "    sys.exit(0)\n"
        "assert os.wait()[1] == 0\n"
        "assert leadership.valid\n"
        "leadership.resign()\n"
    )
    # From 3.12 on Python itself warns of every fork beside threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


# etcd, whose client does not survive a fork once it was used.


def test_etcd_connected_but_not_used_before_the_fork_works_in_the_child(etcd: EtcdCluster, prefix: str) -> None:
    # In a process of its own: this one may have used gRPC already.
    code = (
        "import os, sys, leasekit\n"
        f"store = leasekit.connect({etcd.url(prefix)!r})\n"
        "election = leasekit.Election('reports', store, ttl_s=6)\n"
        "if os.fork() == 0:\n"
        "    with election.campaign(30) as leadership:\n"
        "        print(leadership.valid)\n"
        "    store.close()\n"
        "    sys.exit(0)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


def test_etcd_used_before_the_fork_is_refused_at_once_in_the_child(etcd: EtcdCluster, prefix: str) -> None:
    with (
        leasekit.connect(etcd.url(prefix)) as store,
        leasekit.Election("reports", store, ttl_s=TTL_S).campaign(timeout_s=LONG_S) as leadership,
    ):
        inherited = leasekit.Election("reports", store, ttl_s=TTL_S)

        def child() -> None:
            assert leadership.reason is LossReason.FORKED
            for ask in (inherited.leader, inherited.campaign, lambda: leasekit.connect(etcd.url(prefix))):
                began = time.monotonic()
                with pytest.raises(ConfigError, match="after the fork"):
                    ask()
                assert time.monotonic() - began < 5, "asked nobody, and waited for nobody"
            leadership.resign()
            store.close()

        in_child(child)
        assert renewed(leadership)


def test_a_fork_while_the_first_campaign_loads_what_it_needs_leaves_no_module_half_loaded() -> None:
    code = """
import os, signal, sys, threading, time
import leasekit

class Slowly:
    def find_spec(self, name, path=None, target=None):
        if name == "leasekit.elector":
            loading.set()
            time.sleep(1)

loading = threading.Event()
sys.meta_path.insert(0, Slowly())
election = leasekit.Election("reports", "memory://")
threading.Thread(target=election.try_campaign, daemon=True).start()
loading.wait(30)
if (pid := os.fork()) == 0:
    signal.alarm(30)
    with leasekit.Election("others", "memory://").campaign():
        os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ("0\n", "")
