"""`leasekit run`: campaign, run a command under the watchdog while leading, release when all of it has ended."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click

from leasekit.cli import exit_codes
from leasekit.cli.options import Seconds, Wrapper, store_options
from leasekit.cli.report import Report
from leasekit.cli.session import Session, note, session, tell_of_trouble
from leasekit.cli.signals import Interrupted, Signals
from leasekit.election import DEFAULT_TTL_S
from leasekit.errors import ConfigError

SECRET_VARIABLES = ("LEASEKIT_USERNAME", "LEASEKIT_PASSWORD", "CONSUL_HTTP_TOKEN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the command line asks for. `wait_s` None: wait for ever; 0: only if it can be had at once."""

    election: str
    id: str | None
    wait_s: float | None
    ttl_s: float
    grace_s: float
    not_acquired_code: int
    command: Sequence[str]


@click.command(cls=Wrapper)
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@click.option("--wait", "wait_s", type=Seconds(), metavar="S", help="Give up after S seconds.  [default: never]")
@click.option("--try", "at_once", is_flag=True, help="Give up at once if another leads or queues.")
@click.option(
    "--ttl",
    "ttl_s",
    type=Seconds(positive=True),
    default=f"{DEFAULT_TTL_S:g}",
    show_default=True,
    metavar="S",
    help="Time to live of the lease: how long a crash leaves the place empty.",
)
@click.option(
    "--grace",
    "grace_s",
    type=Seconds(),
    metavar="S",
    help="Between TERM and KILL when leadership is lost.  [default: a third of the ttl, at most 5]",
)
@click.option(
    "-E",
    "--conflict-exit-code",
    "not_acquired_code",
    type=click.IntRange(0, 255),
    default=exit_codes.NOT_ACQUIRED,
    show_default=True,
    metavar="CODE",
    help="Exit code if another leads.",
)
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a JSON report.")
@click.option("--id", help="This candidate's id.  [default: host-pid-random]")
@click.option(
    "--health",
    metavar="ADDR",
    help="Serve /livez, /readyz and /leader on PORT (of this host alone), HOST:PORT or [IPv6]:PORT.",
)
@store_options
@click.pass_context
def run(
    ctx: click.Context,
    name: str,
    command: tuple[str, ...],
    wait_s: float | None,
    at_once: bool,
    ttl_s: float,
    grace_s: float | None,
    not_acquired_code: int,
    report: Path | None,
    id: str | None,
    health: str | None,
) -> None:
    """Run CMD once this machine leads election NAME; waits until it does.

    CMD runs without a shell, in a process group of its own, with LEASEKIT_ELECTION, LEASEKIT_ID, LEASEKIT_TOKEN and
    LEASEKIT_STORE set. Before the leadership could pass to another, TERM and then KILL end CMD and all that it
    started: also if leasekit itself hangs or dies. When CMD exits by itself, what it left running is ended in the
    same way before the leadership is released.

    Exits with CMD's code; 75 if another leads (-E), 79 if the leadership was lost and CMD stopped.
    """
    if at_once and wait_s is not None:
        raise click.UsageError("--wait and --try exclude each other")
    terms = Terms(
        election=name,
        id=id,
        wait_s=0.0 if at_once else wait_s,
        ttl_s=ttl_s,
        grace_s=checked_grace(grace_s, ttl_s),
        not_acquired_code=not_acquired_code,
        command=command,
    )
    if report is not None and not report.absolute().parent.is_dir():
        raise ConfigError("--report", f"{report.absolute().parent} is no directory: make it first")
    ctx.exit(_run(ctx, terms, report, health))


def _run(ctx: click.Context, terms: Terms, report_file: Path | None, health: str | None) -> int:
    from leasekit.cli.supervise import make_guard, run_elected
    from leasekit.integrations.systemd import Notifier

    _tell_of_the_store()
    with session(ctx) as store, _serving_health(health, terms.election), Signals() as signals, Notifier() as service:
        core = store.election(terms.election, id=terms.id, ttl_s=terms.ttl_s)
        report = Report(core.name, core.id)
        if (code := cannot_start(terms.command[0])) is not None:
            report.outcome, report.exit_code = "not_started", code
            _write(report, report_file)
            return code
        service.ready(f"waits for its turn in {core.name!r}")
        # Who waits has the watchdog ready when its turn comes. Who only tries does without, as long as it has not won.
        guard = make_guard(core, terms, environment(store)) if terms.wait_s != 0 else None
        try:
            with signals.interrupting():
                tenure = store.campaign(core, terms.wait_s)
            if tenure is None:
                report.exit_code = _not_acquired(store, terms)
            else:
                service.status(f"leads {core.name!r} with token {tenure.token}")
                guard = guard or make_guard(core, terms, environment(store))
                report.exit_code = run_elected(store, core, tenure, signals, terms, guard, report)
        except Interrupted as interrupted:
            report.outcome = "interrupted"
            report.exit_code = exit_codes.SIGNALLED + interrupted.signal_number
        except Exception as error:
            report.outcome, report.exit_code, report.reason = "failed", exit_codes.of_error(error), str(error)
            raise
        finally:
            if guard is not None:
                guard.close()
            _write(report, report_file)
    return report.exit_code


def _tell_of_the_store() -> None:
    """Who waits for ever is told why: that the store does not answer, and that it does again."""
    # What becomes of the leadership is told in words of our own.
    told = (None, "store_unreachable", "renewal_failing", "store_back")
    tell_of_trouble(logging.INFO).addFilter(lambda record: getattr(record, "leasekit_event", None) in told)
    logging.getLogger("leasekit.election").setLevel(logging.INFO)


def _serving_health(address: str | None, election: str) -> AbstractContextManager[object]:
    if address is None:
        return nullcontext()
    from leasekit.cli.health import HealthServer

    return HealthServer(address, election)


def environment(store: Session) -> Mapping[str, str]:
    """The command's environment, but for what depends on the leadership. Credentials and systemd's line are not in it."""
    from leasekit.integrations.systemd import environment_without

    kept = {name: value for name, value in environment_without(os.environ).items() if name not in SECRET_VARIABLES}
    return {**kept, "LEASEKIT_STORE": store.connection.url}


def checked_grace(grace_s: float | None, ttl_s: float) -> float:
    """The grace, or its default. Refused where the command would be told to stop before a renewal is even due."""
    from leasekit.core.lease import check_timing

    if grace_s is None:
        grace_s = min(5.0, ttl_s / 3)
    check_timing(ttl_s=ttl_s, grace_s=grace_s)
    return grace_s


def cannot_start(program: str) -> int | None:
    """The exit code if the program surely cannot be executed: better said before a leadership is won for it."""
    if shutil.which(program) is not None:
        return None
    if "/" in program and Path(program).exists():
        note(f"{program!r} is not executable")
        return exit_codes.NOT_EXECUTABLE
    note(f"{program!r} was not found")
    return exit_codes.NOT_FOUND


def _not_acquired(store: Session, terms: Terms) -> int:
    """Say who leads instead. Raises StoreUnavailable if that is why: a script must not take it for a lost race."""
    leader = store.run(store.election(terms.election).leader(store.timeout_s))
    who = f"{leader.id} leads" if leader is not None else "others queue"
    note(f"not elected in {terms.election!r}: {who}")
    return terms.not_acquired_code


def _write(report: Report, file: Path | None) -> None:
    if file is None or report.exit_code is None:
        return
    try:
        report.write(file)
    except OSError as error:
        note(f"the report could not be written to {file}: {error.strerror}")
