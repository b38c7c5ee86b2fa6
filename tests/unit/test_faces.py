"""The blocking and the asynchronous face are one thing: the same names, the same signatures, the same behaviour."""

from __future__ import annotations

import asyncio
import inspect
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import leasekit
from leasekit import aio, engine, sync
from leasekit.errors import ConfigError, LeadershipLost, LossReason, NotElected
from leasekit.store import Delete
from support.faces import FACES, LONG_S, Face

CLASSES = ["ConnectedStore", "Election", "Leadership", "Observer", "Run", "Slots"]
# The means of `with`, `for` and `await`, which are not called by name.
PROTOCOLS = {
    "__enter__",
    "__exit__",
    "__aenter__",
    "__aexit__",
    "__iter__",
    "__next__",
    "__aiter__",
    "__anext__",
}


@pytest.fixture(params=FACES, ids=repr)
def face(request: pytest.FixtureRequest) -> Face:
    assert isinstance(request.param, Face)
    return request.param


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def other(url: str) -> Iterator[sync.ConnectedStore]:
    """Another process's connection to the same store."""
    with leasekit.connect(url) as store:
        yield store


# One surface.


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def of_blocking_face(name: str) -> type:
    kind: type = getattr(sync, name, None) or getattr(leasekit, name)
    return kind


@pytest.mark.parametrize("name", CLASSES)
def test_both_faces_have_the_same_public_names(name: str) -> None:
    assert public(of_blocking_face(name)) == public(getattr(aio, name))


@pytest.mark.parametrize("name", CLASSES)
def test_both_faces_have_the_same_signatures(name: str) -> None:
    blocking, awaitable = of_blocking_face(name), getattr(aio, name)
    assert parameters(blocking) == parameters(awaitable)
    for method in public(blocking):
        ours, theirs = (inspect.getattr_static(kind, method) for kind in (blocking, awaitable))
        assert type(ours) is type(theirs), method
        if callable(ours):
            assert parameters(ours) == parameters(theirs), method


def test_both_faces_have_the_same_functions() -> None:
    functions = {"connect", "current", "current_run", "serve"}
    for name in functions:
        assert parameters(getattr(leasekit, name)) == parameters(getattr(aio, name))
    assert set(aio.__all__) == {*CLASSES, *functions}
    assert all(hasattr(leasekit, name) for name in aio.__all__ if name != "Observer")


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_public_is_documented(name: str) -> None:
    for kind in (of_blocking_face(name), getattr(aio, name)):
        assert kind.__doc__
        undocumented = [m for m in public(kind) if not inspect.getdoc(getattr(kind, m))]
        assert undocumented == []


def test_every_name_that_the_package_promises_is_there() -> None:
    for name in leasekit.__all__:
        assert getattr(leasekit, name) is not None
    assert set(leasekit.__all__) <= set(dir(leasekit))
    with pytest.raises(AttributeError, match="no attribute 'elect'"):
        getattr(leasekit, "elect")  # noqa: B009


# One scenario.


async def test_a_whole_life(face: Face, url: str) -> None:
    async with face.within(face.connect(url)) as store:
        assert store.url == url
        one = face.Election("reports", store, id="one", ttl_s=30, meta={"zone": "a"})
        two = face.Election("reports", store, id="two", ttl_s=30, priority=3)
        assert (one.name, one.id) == ("reports", "one")
        assert await face.of(one.leader()) is None

        async with face.within(one.observe()) as observer:
            assert await face.next(observer) is None
            async with face.within(await face.of(one.campaign(timeout_s=LONG_S))) as leadership:
                assert face.module.current() is leadership
                assert leadership.valid
                assert leadership.reason is None
                assert 0 < leadership.remaining_s < leadership.ttl_s == 30
                leadership.check()
                leader = await face.of(two.leader())
                assert (leader.id, leader.token, leader.meta) == ("one", leadership.token, {"zone": "a"})
                assert await face.next(observer) == leader
                assert await face.of(two.try_campaign()) is None
                with pytest.raises(NotElected):
                    await face.of(two.campaign(timeout_s=0.1))
                with pytest.raises(TimeoutError):
                    await face.of(two.campaign(0.1))
                waiting = face.begin(two.campaign)
                while [c.id for c in await face.of(one.candidates())] != ["two", "one"]:
                    await asyncio.sleep(0.01)
                assert await face.of(leadership.wait_lost(0.05)) is None
            assert not leadership.valid
            assert leadership.reason is LossReason.RESIGNED
            assert leadership.remaining_s == 0
            assert await face.of(leadership.wait_lost()) is LossReason.RESIGNED
            with pytest.raises(LeadershipLost) as lost:
                leadership.check()
            assert (lost.value.reason, lost.value.election, lost.value.token) == (
                LossReason.RESIGNED,
                "reports",
                leadership.token,
            )
            second = await asyncio.wait_for(waiting, LONG_S)
            assert second.token > leadership.token

            waiting = face.begin(one.campaign)
            while len(await face.of(one.candidates())) != 2:
                await asyncio.sleep(0.01)
            with pytest.raises(ConfigError):
                await face.of(second.transfer("three"))
            assert second.valid
            assert await face.of(second.transfer("one")) is True
            assert second.reason is LossReason.TRANSFERRED
            third = await asyncio.wait_for(waiting, LONG_S)
            while (seen := await face.next(observer)) is None or seen.token != third.token:
                pass
            await face.of(third.resign())
            await face.of(third.resign())
            with pytest.raises(LeadershipLost):
                await face.of(third.transfer("two"))
            assert await face.of(one.leader()) is None

        past: list[leasekit.PastLeadership] = []
        while len(past) < 3 or past[-1].reason is None:
            past = await face.of(one.history())
            await asyncio.sleep(0.01)
        assert [(line.id, line.reason) for line in past] == [
            ("one", "resigned"),
            ("two", "transferred"),
            ("one", "resigned"),
        ]
        assert [line.token for line in past] == [leadership.token, second.token, third.token]
        assert await face.of(one.history(limit=1)) == past[-1:]


async def test_an_error_in_the_body_resigns_and_passes(face: Face, url: str) -> None:
    election = face.Election("reports", face.connect(url))
    with pytest.raises(ZeroDivisionError):
        async with face.within(election.campaign()) as leadership:
            _ = 1 / 0
    assert leadership.reason is LossReason.RESIGNED
    assert await face.of(election.leader()) is None


async def test_current_is_none_of_the_other_face_s(face: Face, url: str) -> None:
    with pytest.raises(LookupError):
        face.module.current()
    other = FACES[0] if face.asynchronous else FACES[1]
    async with face.within(face.Election("reports", face.connect(url)).campaign()):
        with pytest.raises(LookupError, match="ask leasekit"):
            other.module.current()


async def test_current_nests(face: Face, url: str) -> None:
    store = face.connect(url)
    async with face.within(face.Election("outer", store).campaign()) as outer:
        async with face.within(face.Election("inner", store).campaign()) as inner:
            assert face.module.current() is inner
        assert face.module.current() is outer


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("name", {"name": "a/b"}),
        ("name", {"name": ""}),
        ("id", {"id": "a b"}),
        ("ttl_s", {"ttl_s": 0}),
        ("ttl_s", {"ttl_s": -3}),
        ("ttl_s", {"ttl_s": 0.05}),
        ("ttl_s", {"ttl_s": float("nan")}),
        ("ttl_s", {"ttl_s": float("inf")}),
        ("ttl_s", {"ttl_s": True}),
        ("ttl_s", {"ttl_s": "15"}),
        ("priority", {"priority": 1.5}),
        ("priority", {"priority": True}),
        ("meta", {"meta": {"when": object()}}),
        ("meta", {"meta": {"big": "x" * 70_000}}),
    ],
)
def test_what_cannot_work_is_refused_at_once(face: Face, url: str, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        face.Election(**{"name": "reports", "store": face.connect(url), **arguments})
    assert refused.value.field == field


async def test_a_negative_time_out_and_limit_are_refused(face: Face, url: str) -> None:
    election = face.Election("reports", face.connect(url))
    with pytest.raises(ConfigError):
        await face.of(election.campaign(-1))
    with pytest.raises(ConfigError):
        await face.of(election.history(0))


# The end of a leadership, told.


async def test_lost_callbacks_are_called_once_and_never_on_leasekit_s_thread(face: Face, url: str) -> None:
    leadership = await face.of(face.Election("reports", face.connect(url)).campaign())
    told: list[tuple[LossReason, str]] = []
    enough = threading.Event()

    def tell(reason: LossReason) -> None:
        told.append((reason, threading.current_thread().name))
        if len(told) == 3:
            enough.set()

    leadership.add_lost_callback(tell)
    leadership.add_lost_callback(tell)
    await face.of(leadership.resign())
    leadership.add_lost_callback(tell)
    assert await asyncio.to_thread(enough.wait, LONG_S)
    await asyncio.sleep(0.05)
    assert [reason for reason, _ in told] == [LossReason.RESIGNED] * 3
    assert all(thread != "leasekit-engine" for _, thread in told)


async def test_waiting_for_a_loss_that_others_cause(face: Face, url: str, other: sync.ConnectedStore) -> None:
    leadership = await face.of(face.Election("reports", face.connect(url)).campaign())
    waiting = face.begin(leadership.wait_lost)
    await asyncio.sleep(0.05)
    assert not waiting.done()

    async def delete() -> None:
        await other.connection.store.transact([], [Delete("reports/leader")], timeout_s=1)

    engine.get().run(delete())
    assert await asyncio.wait_for(waiting, LONG_S) is LossReason.SUPERSEDED


async def test_an_unreferenced_leadership_is_resigned(face: Face, url: str) -> None:
    election = face.Election("reports", face.connect(url))
    leadership = await face.of(election.campaign())
    tenure = leadership.tenure
    with pytest.warns(ResourceWarning, match="unreferenced"):  # noqa: PT031 (the engine may hold it a moment longer)
        del leadership
        while await face.of(election.leader()) is not None:
            await asyncio.sleep(0.01)
    assert tenure.loss is LossReason.RESIGNED


async def test_a_leadership_that_is_over_goes_in_silence(face: Face, url: str) -> None:
    leadership = await face.of(face.Election("reports", face.connect(url)).campaign())
    await face.of(leadership.resign())
    del leadership


# Closing.


async def test_closing_the_store_ends_what_is_held_over_it(face: Face, url: str, other: sync.ConnectedStore) -> None:
    store = face.connect(url)
    election = face.Election("reports", store, id="one")
    leadership = await face.of(election.campaign())
    observer = election.observe()
    assert (await face.next(observer)).id == "one"
    watching = asyncio.ensure_future(face.next(observer))
    waiting = face.begin(face.Election("reports", store, id="two").campaign)
    while len(await face.of(election.candidates())) != 2:
        await asyncio.sleep(0.01)
    await face.of(store.close())
    await face.of(store.close())
    assert leadership.reason is LossReason.CLOSED
    with pytest.raises(ConfigError, match="closed"):
        await asyncio.wait_for(waiting, LONG_S)
    # The end of the leadership may be seen first.
    if (await asyncio.wait([watching]))[0].pop().exception() is None:
        watching = asyncio.ensure_future(face.next(observer))
    with pytest.raises(StopAsyncIteration):
        await watching
    with pytest.raises(ConfigError, match="closed"):
        await face.of(election.campaign())
    with pytest.raises(ConfigError, match="closed"):
        await face.of(election.leader())
    seen = leasekit.Election("reports", other)
    assert seen.leader() is None
    assert seen.candidates() == []
    assert [line.reason for line in seen.history()] == ["closed"]


async def test_the_store_of_a_url_is_shared(face: Face, url: str) -> None:
    one, two = (face.Election(name, url) for name in ("a", "b"))
    first, second = await face.of(one.campaign()), await face.of(two.campaign())
    assert one._core.connection is two._core.connection
    assert first.tenure._belief() is second.tenure._belief()
    await face.of(first.resign())
    await face.of(second.resign())
    engine.get().run(one._core.connection.aclose(timeout_s=5))
    assert face.Election("a", url)._core.connection is not one._core.connection


# `run`.


async def test_run_returns_what_the_work_returns(face: Face, url: str) -> None:
    election = face.Election("reports", face.connect(url))
    assert await face.of(election.run(_work(face, lambda leadership: leadership.token))) >= 1
    assert await face.of(election.leader()) is None


async def test_run_campaigns_again_after_a_loss(face: Face, url: str, other: sync.ConnectedStore) -> None:
    election = face.Election("reports", face.connect(url))
    tokens: list[int] = []

    def work(leadership: Any) -> str:
        tokens.append(leadership.token)
        if len(tokens) < 3:
            leadership.tenure.end(LossReason.SUPERSEDED)
            leadership.check()
        return "done"

    assert await face.of(election.run(_work(face, work))) == "done"
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 3


async def test_run_passes_errors_of_the_work_on(face: Face, url: str) -> None:
    def fail(_leadership: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await face.of(face.Election("reports", face.connect(url)).run(_work(face, fail)))


async def test_run_does_not_take_the_loss_of_another_leadership_for_its_own(face: Face, url: str) -> None:
    def fail(_leadership: Any) -> None:
        raise LeadershipLost(LossReason.DEADLINE, election="another")

    with pytest.raises(LeadershipLost):
        await face.of(face.Election("reports", face.connect(url)).run(_work(face, fail)))


async def test_run_returns_none_if_stopped_while_campaigning(face: Face, url: str) -> None:
    store = face.connect(url)
    holder = await face.of(face.Election("reports", store, id="holder").campaign())
    stop = face.event()
    election = face.Election("reports", store)
    running = face.begin(lambda: election.run(_work(face, lambda _: "never"), stop))
    while len(await face.of(election.candidates())) != 2:
        await asyncio.sleep(0.01)
    stop.set()
    assert await asyncio.wait_for(running, LONG_S) is None
    while len(await face.of(election.candidates())) != 1:
        await asyncio.sleep(0.01)
    assert await face.of(election.run(_work(face, lambda _: "never"), stop)) is None
    await face.of(holder.resign())


async def test_run_obeys_an_operator_and_campaigns_again(face: Face, url: str, other: sync.ConnectedStore) -> None:
    election = face.Election("reports", face.connect(url))
    asked = threading.Event()
    tokens: list[int] = []

    def work(leadership: Any) -> str:
        tokens.append(leadership.token)
        if len(tokens) == 1:
            asked.set()
            assert leadership.tenure.wait(LONG_S) is LossReason.RESIGNED
            # The operator's answer comes when this has returned, not before.
            assert leasekit.Election("reports", other).leader() is not None
        return "done"

    running = face.begin(lambda: election.run(_in_thread(face, work)))
    assert await asyncio.to_thread(asked.wait, LONG_S)
    assert await asyncio.to_thread(leasekit.Election("reports", other).ask_to_resign, LONG_S)
    assert await asyncio.wait_for(running, LONG_S) == "done"
    assert len(tokens) == 2


def _work(face: Face, work: Any) -> Any:
    """Plain work, in the form that the face takes."""

    async def awaitable(leadership: Any) -> Any:
        return work(leadership)

    return awaitable if face.asynchronous else work


def _in_thread(face: Face, work: Any) -> Any:
    """Work that blocks."""

    async def awaitable(leadership: Any) -> Any:
        return await asyncio.to_thread(work, leadership)

    return awaitable if face.asynchronous else work
