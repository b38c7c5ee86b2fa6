"""The pytest plugin, as a user's test suite has it: each case is a suite of its own, run by pytest's pytester."""

from __future__ import annotations

import textwrap

import pytest

pytest_plugins = ["pytester"]

PROGRAM = """
import asyncio, leasekit
from leasekit import aio

store = leasekit.connect("etcd://h1:2379,h2:2379/prod")   # made when the module is loaded
reports = leasekit.Election("reports", store=store)
pages = []

@leasekit.singleton("nightly")
def nightly(after_each_page=lambda: None):
    for page in range(5):
        leasekit.current().check()
        pages.append(page)
        after_each_page()
    return "done"

@leasekit.singleton("nightly")
async def nightly_async(began):
    began.set()
    await asyncio.sleep(3600)

@leasekit.singleton("stubborn", stop="interrupt")
def stubborn(began):
    began.set()
    while True:
        pass
"""


def suite(pytester: pytest.Pytester, tests: str) -> None:
    """Run these tests as a suite that uses the plugin; all of them must pass, without a warning."""
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
        "timeout = 90\ntimeout_method = thread\n"
    )
    pytester.makeconftest('pytest_plugins = ["leasekit.integrations.pytest"]')
    pytester.makepyfile(program=PROGRAM)
    imports = "import asyncio, threading, time, pytest, leasekit, program\nfrom leasekit import aio\n"
    pytester.makepyfile(test_program=imports + textwrap.dedent(tests))
    began = "def test_"
    pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=110).assert_outcomes(passed=tests.count(began))


def test_a_job_stops_when_its_store_is_out_of_reach(pytester: pytest.Pytester) -> None:
    suite(
        pytester,
        """
        def test_done(leasekit_store):
            program.pages.clear()
            assert program.nightly() == "done"
            assert program.pages == [0, 1, 2, 3, 4]

        def test_stops_at_the_deadline_and_no_earlier(leasekit_store, leasekit_clock):
            program.pages.clear()
            leasekit_store.go_down()
            leasekit_store.come_up()

            def time_passes():
                if program.pages == [0]:
                    leasekit_store.go_down()
                    leasekit_clock.advance(14)
                elif program.pages == [0, 1]:
                    leasekit_clock.advance(1)

            with pytest.raises(leasekit.LeadershipLost) as lost:
                program.nightly(time_passes)
            assert lost.value.reason == "deadline"
            assert program.pages == [0, 1]

        def test_leads_on_as_long_as_it_can_renew(leasekit_store, leasekit_clock):
            program.pages.clear()
            assert program.nightly(lambda: leasekit_clock.advance(100)) == "done"

        def test_a_suspended_machine_leads_no_more(leasekit_store, leasekit_clock):
            with program.reports.campaign() as leadership:
                leasekit_clock.suspend(20)
                assert not leadership.valid
        """,
    )


def test_a_job_stops_when_it_is_deposed(pytester: pytest.Pytester) -> None:
    suite(
        pytester,
        """
        def test_checked(leasekit_store):
            program.pages.clear()
            with pytest.raises(leasekit.LeadershipLost):
                program.nightly(lambda: leasekit_store.depose("nightly"))
            assert program.pages == [0]
            assert not leasekit_store.depose("nightly")

        async def test_cancelled(leasekit_store):
            began = asyncio.Event()
            job = asyncio.create_task(program.nightly_async(began))
            await began.wait()
            assert leasekit_store.depose("nightly")
            with pytest.raises(leasekit.LeadershipLost):
                await job

        async def test_cancelled_in_good_time(leasekit_store, leasekit_clock):
            began = asyncio.Event()
            job = asyncio.create_task(program.nightly_async(began))
            await began.wait()
            leasekit_store.go_down()
            leasekit_clock.advance(9)
            await asyncio.sleep(0.2)
            assert not job.done()
            leasekit_clock.advance(1)     # ttl 15 s, grace 5 s
            with pytest.raises(leasekit.LeadershipLost):
                await leasekit_clock.wait_for(job)     # it tries to resign, and nobody answers

        def test_interrupted(leasekit_store):
            began = threading.Event()
            threading.Thread(target=lambda: began.wait(20) and leasekit_store.depose("stubborn")).start()
            with pytest.raises(leasekit.LeadershipLost):
                program.stubborn(began)
        """,
    )


def test_others_take_part(pytester: pytest.Pytester) -> None:
    suite(
        pytester,
        """
        def test_another_leads(leasekit_store):
            with leasekit_store.elsewhere("nightly").campaign():
                assert program.nightly() is None
            assert program.nightly() == "done"

        def test_the_turn_comes_when_the_other_dies(leasekit_store, leasekit_clock):
            url = "etcd://h1:2379,h2:2379/prod"
            other = leasekit_store.elsewhere("reports", url, id="other").campaign()
            with pytest.raises(leasekit.NotElected):
                leasekit_clock.run(program.reports.campaign, 100)
            leasekit_store.depose("reports", url)
            with leasekit_clock.run(program.reports.campaign, 100) as leadership:
                assert leadership.token > other.token
                assert leasekit_store.elsewhere("reports", url).leader().id == program.reports.id

        def test_a_successor_leads_before_the_cut_off_one_comes_back(leasekit_store, leasekit_clock):
            mine = program.reports.campaign()
            leasekit_store.go_down()
            other = leasekit_store.elsewhere("reports", program.store.url and "etcd://h1:2379,h2:2379/prod")
            theirs = leasekit_clock.run(other.campaign)
            assert not mine.valid and theirs.valid and theirs.token > mine.token
            theirs.resign()
        """,
    )


def test_every_test_begins_with_nothing_and_leaves_nothing(pytester: pytest.Pytester) -> None:
    suite(
        pytester,
        """
        import leasekit.connection, leasekit.engine

        held = []

        def begins_empty():
            assert program.reports.leader() is None
            held.append(program.reports.campaign(5))       # never resigned: the end of the test does it
            held.append(leasekit.Election("other").try_campaign())
            assert held[-1].valid

        def test_once(leasekit_store):
            begins_empty()

        def test_twice(leasekit_store):
            begins_empty()

        def test_in_between_everything_is_real(tmp_path):
            assert leasekit.engine._engine is None
            with leasekit.connect(f"sqlite:///{tmp_path}/db") as store, leasekit.Election("reports", store).campaign(5):
                assert (tmp_path / "db").exists()
            assert program.store.url == "etcd://h1:2379,h2:2379/prod"

        async def test_async_store_by_url(leasekit_store, leasekit_clock):
            async with aio.connect("consul://c:8500") as store, aio.Election("reports", store).campaign() as leadership:
                leasekit_clock.advance(100)
                assert leadership.valid
        """,
    )


def test_the_clock_says_what_it_cannot_do(pytester: pytest.Pytester) -> None:
    suite(
        pytester,
        """
        from leasekit.testing import VirtualTimeExceeded

        def test_back(leasekit_clock):
            with pytest.raises(ValueError, match="does not go back"):
                leasekit_clock.advance(-1)

        def test_for_ever(leasekit_clock):
            with pytest.raises(VirtualTimeExceeded):
                leasekit_clock.run(threading.Event().wait)

        def test_errors_come_back(leasekit_clock):
            with pytest.raises(ZeroDivisionError):
                leasekit_clock.run(lambda: 1 / 0)
        """,
    )
