"""gRPC does not survive a fork. Each case runs in a program of its own, which may hang or crash but must not."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from support.servers import EtcdCluster

_PROGRAM = """
import asyncio, gc, os, sys, threading
from leasekit import urls
from leasekit.backends.etcd import open_store
from leasekit.errors import ConfigError
from leasekit.store import Put

URL = urls.parse(sys.argv[1])
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()

def run(work):
    return asyncio.run_coroutine_threadsafe(work, loop).result(60)

async def use(store):
    await store.transact([], [Put("key", b"1")], timeout_s=60)
    watch = store.watch("other", after=1)
    lease = await store.grant(600, timeout_s=60)
    await store.renew(lease.id, timeout_s=60)
    return watch, asyncio.ensure_future(anext(watch))

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            code = 0
        except BaseException as error:
            print(repr(error))
            code = 1
        if CHILD_EXIT == "hard":
            sys.stdout.flush()
            os._exit(code)
        sys.exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def refused(work):
    try:
        work()
    except ConfigError as error:
        assert "after the fork" in str(error) and "spawn" in str(error)
    else:
        raise AssertionError("not refused")

"""


def program(body: str, cluster: EtcdCluster, prefix: str, *, child_exit: str = "hard") -> str:
    """Run `body`; its stderr."""
    code = _PROGRAM + f"CHILD_EXIT = {child_exit!r}\n" + textwrap.dedent(body)
    done = subprocess.run(
        # From 3.12 on Python itself warns of every fork beside threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, cluster.url(prefix)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize("child_exit", ["hard", "soft"])
def test_a_child_of_a_connected_process_is_refused_at_once(etcd: EtcdCluster, prefix: str, child_exit: str) -> None:
    said = program(
        """
        store = open_store(URL)
        held = run(use(store))
        def child():
            refused(lambda: open_store(URL))
            refused(lambda: asyncio.run(store.get("key", timeout_s=60)))
            refused(lambda: asyncio.run(store.transact([], [Put("key", b"2")], timeout_s=60)))
            refused(lambda: asyncio.run(store.grant(600, timeout_s=60)))
            refused(lambda: asyncio.run(store.renew("ab", timeout_s=60)))
            async def watch():
                async for _ in store.watch("key", after=1):
                    pass
            refused(lambda: asyncio.run(watch()))
            asyncio.run(store.aclose())
        forked(child)
        assert run(store.get("key", timeout_s=60)).value == b"1", "the parent goes on"
        """,
        etcd,
        prefix,
        child_exit=child_exit,
    )
    assert said == "", "and nothing is printed at a fork"


def test_a_child_may_drop_what_it_inherited(etcd: EtcdCluster, prefix: str) -> None:
    program(
        """
        store = open_store(URL)
        held = run(use(store))
        def child():
            global store, held, loop
            del store, held, loop
            gc.collect()
        forked(child)
        """,
        etcd,
        prefix,
        child_exit="soft",
    )


def test_a_grandchild_is_refused_too(etcd: EtcdCluster, prefix: str) -> None:
    program(
        """
        store = open_store(URL)
        held = run(use(store))
        forked(lambda: forked(lambda: refused(lambda: open_store(URL))))
        """,
        etcd,
        prefix,
    )


def test_a_store_opened_before_the_fork_and_first_used_after_it_works_in_every_child(
    etcd: EtcdCluster, prefix: str
) -> None:
    program(
        """
        store = open_store(URL)
        def child():
            async def all_of_it():
                await use(store)
                await store.aclose()
            asyncio.run(all_of_it())
        forked(child)
        forked(child)
        run(use(store))
        """,
        etcd,
        prefix,
        child_exit="soft",
    )
