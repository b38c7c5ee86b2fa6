"""The `leasekit` command: finds a subcommand's module when it is asked for, and turns errors into exit codes.

`leasekit leader NAME` is asked from scripts every second, so nothing is imported that the given subcommand does not use.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from leasekit.cli import exit_codes
from leasekit.cli.options import Settings, store_options
from leasekit.errors import LeasekitError

# Subcommand: its module below leasekit.cli.
COMMANDS = {
    "run": "run",
    "cron": "cron",
    "slots": "slots",
    "leader": "show",
    "is-leader": "show",
    "candidates": "show",
    "history": "show",
    "status": "status",
    "watch": "watch",
    "resign": "operate",
    "transfer": "operate",
    "fence": "fence",
    "audit": "audit",
    "doctor": "doctor",
    "demo": "demo",
    "compare": "compare",
    "raft": "raft",
    "completion": "completion",
}

# What the help says of them, in its order.
_ABOUT = {
    "run": "run a command while leading; stopped before another leads",
    "cron, slots": "run each firing of a schedule once; list the firings",
    "leader, is-leader": "print the leader's id; does --id lead? exit 1 if not",
    "candidates, history": "list who queues, first in line first; past leaders",
    "status": "show elections, leaders and queues; -w keeps watching",
    "watch": "print a line at each change of leader",
    "resign, transfer": "ask the leader to resign, or to hand over",
    "fence": "check a script's token; raise tokens after a restore",
    "audit": "compare journals: who led when, did two at once",
    "doctor": "check the store and this machine's clocks",
    "demo, compare": "elections to watch on this machine; measure stores",
    "raft": "leasekit's own store: run and look after its members",
    "completion": "print the completion script for a shell",
}

# Fits a screen of 24 lines, and what people come for stands first.
HELP = """\
Usage: leasekit [--store URL] [--timeout S] COMMAND ...   (COMMAND --help: more)

  leasekit run nightly --try -- ./report.sh   run a command on one machine only
  leasekit status                             see who leads
  leasekit demo   watch an election; in Python: @leasekit.singleton("nightly")
Commands:
{commands}

--store URL   etcd://h1,h2  consul://h  sqlite:////path; or set LEASEKIT_STORE
--timeout S   seconds to wait for the store [5]; also: --journal FILE, --version
"""


class LeasekitGroup(click.Group):
    """A group whose subcommands are imported when used, and whose errors become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"leasekit.cli.{COMMANDS[cmd_name]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _ABOUT)) + 2
        formatter.write(HELP.format(commands="\n".join(f"  {n:{width}}{text}" for n, text in _ABOUT.items())))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # Whoever read our output has seen enough.
            _drop_output()
            ctx.exit(exit_codes.BROKEN_PIPE)
        except Exception as error:  # noqa: BLE001 (told, as an exit code)
            _complain(error)
            if exit_codes.is_of_disk(error):
                _drop_output()
            ctx.exit(exit_codes.of_error(error))


def _drop_output() -> None:
    """What could not be written stays in Python's buffer: it would try once more at its end, and complain with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: Exception) -> None:
    if os.environ.get("LEASEKIT_DEBUG"):
        import traceback

        click.echo("".join(traceback.format_exception(error)), nl=False, err=True)
    elif isinstance(error, OSError) and exit_codes.is_of_disk(error):
        click.echo(f"leasekit: {error.filename or 'the output'} cannot be written: {error.strerror}", err=True)
    elif isinstance(error, LeasekitError | OSError):
        click.echo(f"leasekit: {error}", err=True)
    else:
        click.echo(
            f"leasekit: internal error: {type(error).__name__}: {error}\n"
            "This is a fault of leasekit; LEASEKIT_DEBUG=1 shows where it happened.",
            err=True,
        )


@click.group(cls=LeasekitGroup, context_settings={"help_option_names": ["-h", "--help"]})
@store_options
@click.version_option(package_name="leasekit")
@click.pass_context
def leasekit(ctx: click.Context) -> None:
    """One leader among many processes, over etcd, Consul or a local file."""
    ctx.ensure_object(Settings)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Never returns: exits with a code of `leasekit.cli.exit_codes`."""
    try:
        code = leasekit.main(
            None if arguments is None else list(arguments), prog_name="leasekit", standalone_mode=False
        )
    except click.Abort:
        code = exit_codes.INTERRUPTED
    except click.ClickException as error:
        error.show()
        # click has 1 for some of its own errors; here 1 is an answer.
        code = error.exit_code if error.exit_code != exit_codes.NO else exit_codes.USAGE
    except LeasekitError as error:  # in a callback of an option, before any command is invoked
        _complain(error)
        code = exit_codes.of_error(error)
    sys.exit(code if isinstance(code, int) else exit_codes.OK)
