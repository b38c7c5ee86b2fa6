"""`leasekit raft`: members of leasekit's own store, and their operators. Subcommands are imported when used."""

from __future__ import annotations

import importlib

import click

from leasekit.errors import ConfigError

# Subcommand: (module below leasekit.cli.raft, what the help says of it). The order is the order of the help.
COMMANDS = {
    "serve": ("serve", "run a member"),
    "status": ("status", "show the members: who leads, how far each is"),
    "add": ("operate", "add a member, without a vote at first"),
    "promote": ("operate", "give an added member its vote"),
    "remove": ("operate", "take a member out of the cluster"),
    "transfer": ("operate", "hand Raft's leadership to another member"),
    "snapshot": ("operate", "snapshot a member's state and compact its log"),
    "verify": ("verify", "check a data directory, of a member that does not run"),
    "simulate": ("simulate", "run clusters in virtual time, with faults, from a seed"),
}


class RaftGroup(click.Group):
    """The members' commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(f"leasekit.cli.raft.{COMMANDS[cmd_name][0]}")
        except ModuleNotFoundError as error:
            if error.name != "msgpack":
                raise
            raise ConfigError("raft", "needs msgpack: pip install 'leasekit[raft]'") from None
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=RaftGroup)
def raft() -> None:
    """leasekit's own store: a replicated one, that survives the loss of any minority of its members.

    Three members on three machines are usual. Elections and jobs then name them in the store's URL,
    raft://h1:7001,h2:7001,h3:7001, and so do the commands here, by --store or LEASEKIT_STORE.
    """
