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

# Subcommand: (module below leasekit.cli, what `leasekit --help` says of it). The order is the order of the help.
COMMANDS = {
    "run": ("run", "run a command while leading; it is stopped before another leads"),
    "leader": ("show", "print the leader's id; exit 1 if nobody leads"),
    "is-leader": ("show", "exit 0 if --id leads, 1 if not"),
    "candidates": ("show", "list who queues, first in line first"),
    "status": ("status", "show elections, their leaders and queues; -w keeps watching"),
    "watch": ("watch", "print a line at each change of leader"),
    "history": ("show", "list past leaderships"),
    "resign": ("operate", "ask the leader to resign; --force takes its leadership away"),
    "transfer": ("operate", "ask the leader to hand over to a candidate"),
    "fence": ("fence", "check a script's token; raise tokens after a store was restored"),
    "audit": ("audit", "compare journals: who led when, and did two believe it at once"),
    "doctor": ("doctor", "check the store and this machine's clocks"),
    "demo": ("demo", "leaders that fail and are replaced, on this machine"),
    "raft": ("raft", "leasekit's own store: run its members, look after them"),
    "completion": ("completion", "print the completion script for a shell"),
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
        module = importlib.import_module(f"leasekit.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS)) + 2
        formatter.write(HELP.format(commands="\n".join(f"  {n:{width}}{text}" for n, (_, text) in COMMANDS.items())))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # Whoever read our output has seen enough. Python would complain once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(exit_codes.BROKEN_PIPE)
        except Exception as error:
            if os.environ.get("LEASEKIT_DEBUG"):
                raise
            _complain(error)
            ctx.exit(exit_codes.of_error(error))


def _complain(error: Exception) -> None:
    if isinstance(error, LeasekitError | OSError):
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
