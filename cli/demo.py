"""`leasekit demo`: three workers, one leader, and what happens when it is killed, paused, or told to go."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leasekit import urls
from leasekit.cli import exit_codes
from leasekit.cli.demo_stage import Stage, Worker
from leasekit.cli.options import Settings, store_options
from leasekit.cli.session import Session
from leasekit.cli.signals import Interrupted, Signals
from leasekit.errors import ConfigError, OutcomeUnknown, StoreUnavailable
from leasekit.fencing import SqlFence
from leasekit.store import Delete, Put

if TYPE_CHECKING:
    from leasekit.cli.raft.demo import Members

OWN_CLUSTER = "raft"
WORKERS = ("ada", "bob", "cyd")
TTL_S = 2.0
CAREFUL_TTL_S = 10.0
"""For servers that refuse a shorter one: Consul's, unless its `session_ttl_min` was lowered."""
# How long the others are watched at work, between two misfortunes.
LOOK_ON_S = 1.2
# Long enough for a busy machine; elsewhere nobody waits for so long.
READY_TIMEOUT_S = 60.0
FIRST_TIMEOUT_S = 60.0
HANDOVER_TIMEOUT_S = 60.0
BEYOND_BOUND_S = 30.0
_PAUSE_TRIES = 50
_OTHERS_WRITE_WITHIN_S = 0.5


@click.command()
@store_options
@click.pass_context
def demo(ctx: click.Context) -> None:
    """Watch an election on this machine: a leader is killed, one is paused, one is told to go.

    Three worker processes campaign over an SQLite file in a temporary directory, or over --store; the leader writes
    lines into another SQLite file, guarded by its fencing token. Takes less than a minute, and cleans up.

    --store raft starts a cluster of leasekit's own first, three members on this machine, and kills its leader as well.
    """
    settings = ctx.ensure_object(Settings)
    with Signals() as signals:
        try:
            with signals.interrupting():
                fine = _set_up(settings)
        except Interrupted as interrupted:
            ctx.exit(exit_codes.SIGNALLED + interrupted.signal_number)
    ctx.exit(exit_codes.OK if fine else exit_codes.INTERNAL)


def _set_up(settings: Settings) -> bool:
    with tempfile.TemporaryDirectory(prefix="leasekit-demo-") as folder:
        if settings.store_url == OWN_CLUSTER:
            return _on_members(settings, Path(folder))
        url = settings.store_url or f"sqlite:///{Path(folder) / 'leases.db'}"
        return _on(url, settings, Path(folder))


def _on_members(settings: Settings, folder: Path) -> bool:
    try:
        from leasekit.cli.raft.demo import Members
    except ModuleNotFoundError as error:
        if error.name != "msgpack":
            raise
        raise ConfigError("--store", "raft needs msgpack: pip install 'leasekit[raft]'") from None
    with Members(folder) as members:
        return _on(members.url, settings, folder, members)


def _on(url: str, settings: Settings, folder: Path, members: Members | None = None) -> bool:
    store = Session(Settings(url, settings.timeout_s))
    try:
        return _play(store, url, folder, members)
    finally:
        store.run(store.connection.aclose(timeout_s=1.0))


def _play(store: Session, url: str, folder: Path, members: Members | None) -> bool:
    capabilities = store.connection.store.capabilities
    ttl_s = _ttl_s(store)
    bound_s = capabilities.expires_within_s(ttl_s)
    database_file = folder / "work.db"
    with closing(sqlite3.connect(database_file, timeout=_OTHERS_WRITE_WITHIN_S)) as database:
        database.execute("CREATE TABLE line (number INTEGER PRIMARY KEY, token INTEGER, worker TEXT)")
        SqlFence("lines").create_table(database)
        database.commit()
        with Stage(url, ttl_s, database_file) as stage:
            try:
                if members is not None:
                    members.introduce(stage)
                _introduce(stage, store.connection.url, ttl_s, bound_s)
                lose_member = None if members is None else partial(members.lose_leader, stage, ttl_s=ttl_s)

                def at_work(worker: Worker) -> bool:
                    return _has_line_to_write(worker, database) and _others_can_write(store, url, stage.election)

                measured = _scenes(stage, bound_s, lose_member, at_work)
            finally:
                stage.end_all()
                _clean_up(store, stage.election)
        return _conclude(database, stage, measured)


def _ttl_s(store: Session) -> float:
    """The shortest that makes sense here, so that nobody has to wait for long."""
    backend = store.connection.store
    ttl_s = max(TTL_S, backend.capabilities.ttl_min_s)

    async def is_granted() -> bool:
        try:
            lease = await backend.grant(ttl_s, timeout_s=store.timeout_s)
        except ConfigError as refusal:
            if refusal.field != "ttl_s":
                raise
            return False
        await backend.revoke(lease.id, timeout_s=store.timeout_s)
        return True

    return ttl_s if store.run(is_granted()) else max(ttl_s, CAREFUL_TTL_S)


def _introduce(stage: Stage, url: str, ttl_s: float, bound_s: float) -> None:
    stage.say(f"Three workers campaign over {url}, with leases of {ttl_s:g} s.")
    if ttl_s > TTL_S:
        stage.say("That is the shortest that this store grants, so the waits are long.")
    stage.say(f"Who leads writes lines. If it dies, another is elected within {bound_s:.1f} s of its last renewal.")
    for name in WORKERS:
        stage.start(name)
    for _ in WORKERS:
        stage.wait_for("ready", READY_TIMEOUT_S)


def _scenes(
    stage: Stage,
    bound_s: float,
    lose_member: Callable[[Worker], tuple[str, float]] | None,
    at_work: Callable[[Worker], bool],
) -> list[tuple[str, float]]:
    """The misfortunes; returns how long each left the place empty. `at_work`: whether a worker that was paused is about
    to write, and holds nothing that others wait for."""
    patience_s = bound_s + BEYOND_BOUND_S
    leader = stage.wait_for("elected", FIRST_TIMEOUT_S).worker
    stage.look_on(LOOK_ON_S)
    measured = [] if lose_member is None else [lose_member(leader)]
    leader = stage.leader or leader

    stage.act(f"kill -9 {leader.name}")
    leader.kill()
    elected = stage.wait_for("elected", patience_s)
    measured.append((f"{leader.name} killed", stage.since_act_s(elected.at)))
    stage.look_on(LOOK_ON_S)

    paused = _pause_at_work(stage, at_work)
    elected = stage.wait_for("elected", patience_s)
    measured.append((f"{paused.name} paused", stage.since_act_s(elected.at)))
    leader = elected.worker
    stage.wait_for("wrote", patience_s, by=leader)
    stage.act(f"kill -CONT {paused.name}: it goes on where it was, and writes as if it still led")
    paused.resume()
    stage.wait_for("refused", patience_s, by=paused)
    stage.wait_for("lost", patience_s, by=paused)
    stage.look_on(LOOK_ON_S)
    leader = stage.leader or leader

    stage.act(f"kill -TERM {leader.name}: it finishes its line and resigns")
    leader.terminate()
    stage.wait_for("resigned", HANDOVER_TIMEOUT_S, by=leader)
    elected = stage.wait_for("elected", HANDOVER_TIMEOUT_S)
    measured.append((f"{leader.name} resigned", stage.since_act_s(elected.at)))
    stage.look_on(LOOK_ON_S)
    return measured


def _pause_at_work(stage: Stage, at_work: Callable[[Worker], bool]) -> Worker:
    for _ in range(_PAUSE_TRIES):
        stage.forget()
        leader = stage.wait_for("computing", HANDOVER_TIMEOUT_S).worker
        leader.pause()
        if at_work(leader):
            stage.act(f"kill -STOP {leader.name}, between its look at the leadership and its write")
            return leader
        leader.resume()
    raise StoreUnavailable("the leader was never met between its look at the leadership and its write")


def _has_line_to_write(worker: Worker, database: sqlite3.Connection) -> bool:
    """Whether the line that it last said it works on is not there yet. On a busy machine the pause may come late."""
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:  # it was stopped while it writes
        return False
    (written,) = database.execute("SELECT count(*) FROM line WHERE worker = ?", (worker.name,)).fetchone()
    database.rollback()
    return bool(written < worker.begun)


def _others_can_write(store: Session, url: str, election: str) -> bool:
    """Over a file, a process that is stopped in the middle of a transaction keeps all others from writing."""
    if urls.parse(url).scheme != "sqlite":
        return True
    put = Put(f"{election}/free", b"")
    try:
        store.run(store.connection.store.transact((), (put,), timeout_s=_OTHERS_WRITE_WITHIN_S))
    except (StoreUnavailable, OutcomeUnknown):
        return False
    return True


def _clean_up(store: Session, election: str) -> None:
    """Leave nothing in a store that is the user's own."""

    async def delete() -> None:
        backend = store.connection.store
        for entry in (await backend.scan(f"{election}/", timeout_s=store.timeout_s)).entries:
            await backend.transact((), (Delete(entry.key),), timeout_s=store.timeout_s)

    store.run(delete())


def _conclude(database: sqlite3.Connection, stage: Stage, measured: Sequence[tuple[str, float]]) -> bool:
    lines = database.execute("SELECT token, worker FROM line ORDER BY number").fetchall()
    in_order = lines == sorted(lines, key=lambda line: int(line[0]))
    stage.say("")
    for what, empty_s in measured:
        stage.say(f"{what}: the next leader was elected {_length(empty_s)} later")
    tokens = list(dict.fromkeys(token for token, _ in lines))
    stage.say(f"{len(lines)} lines written under tokens {', '.join(map(str, tokens))}; {stage.refused} write refused")
    stage.say("every line stands in the order of the tokens" if in_order else "LINES STAND OUT OF ORDER")
    return in_order and stage.refused > 0


def _length(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
