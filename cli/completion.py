"""`leasekit completion`: the script that teaches a shell to complete leasekit's words."""

from __future__ import annotations

import os
from pathlib import PurePath

import click
from click.shell_completion import get_completion_class

from leasekit.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print the completion script for SHELL (by default, the one in $SHELL).

    \b
    bash:  eval "$(leasekit completion bash)"      in ~/.bashrc
    zsh:   eval "$(leasekit completion zsh)"       in ~/.zshrc
    fish:  leasekit completion fish > ~/.config/fish/completions/leasekit.fish
    """
    chosen = shell or PurePath(os.environ.get("SHELL", "")).name
    kind = get_completion_class(chosen) if chosen in SHELLS else None
    if kind is None:
        raise ConfigError("SHELL", f"{chosen or 'nothing'!r} is not known here: name one of {', '.join(SHELLS)}")
    # Only the text of the script is asked for, which needs no command.
    click.echo(kind(click.Command("leasekit"), {}, "leasekit", "_LEASEKIT_COMPLETE").source())
