"""What pages of the documentation show, and running it as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from leasekit.cli.main import leasekit

TIMEOUT_S = 100.0
_BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<content>.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ |(?:[\d*/,-]+ ){4}[\d*/,-]+ +)?(leasekit [-a-z].*?)(?: &)?(?:\s{2,}#.*)?$", re.MULTILINE)


def blocks(page: str, kind: str) -> list[str]:
    """The contents of the page's code blocks of that kind, in order; "" for those that name none."""
    return [block["content"] for block in _BLOCK.finditer(page) if block["kind"] == kind]


def commands(page: str) -> list[str]:
    """The lines in code blocks that call `leasekit`."""
    shown = "".join(blocks(page, "") + blocks(page, "console"))
    return _COMMAND.findall(shown.replace("\\\n", " "))


def unknown_words(command: str) -> list[str]:
    """What of the command's words is no subcommand or option of `leasekit`, as it is now."""
    words = iter(shlex.split(command.partition(" -- ")[0], comments=True)[1:])
    context = click.Context(leasekit, info_name="leasekit")
    unknown = []
    for word in words:
        if word.startswith("-"):
            option = _option(context.command, word)
            if option is None:
                unknown.append(word)
            elif not option.is_flag and not option.count and "=" not in word:
                next(words, None)
        elif isinstance(context.command, click.Group):
            subcommand = context.command.get_command(context, word)
            if subcommand is None:
                return [*unknown, word]
            context = click.Context(subcommand, info_name=word, parent=context)
    return unknown


def _option(command: click.Command, word: str) -> click.Option | None:
    name = word.partition("=")[0]
    with click.Context(command) as context:
        options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    options.append(click.Option(["-h", "--help"], is_flag=True))
    return next((each for each in options if name in (*each.opts, *each.secondary_opts)), None)


def environment(folder: Path) -> dict[str, str]:
    """A reader's: with a store of its own, and this Python's commands."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "LEASEKIT_STORE": f"sqlite:///{folder}/leases.db", "PATH": path, "TERM": "dumb"}


def run_program(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program as it stands, warnings being errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@dataclass(frozen=True)
class Exchange:
    """A command at a prompt, and the lines that the page shows below it."""

    command: str
    shown: tuple[str, ...]


def exchanges(page: str) -> list[Exchange]:
    """What the page's `console` blocks show, in order."""
    found: list[Exchange] = []
    for line in "".join(blocks(page, "console")).splitlines():
        if line.startswith("$ "):
            found.append(Exchange(line.removeprefix("$ "), ()))
        else:
            found[-1] = Exchange(found[-1].command, (*found[-1].shown, line))
    return found


def shape(lines: list[str] | tuple[str, ...], folder: Path | None = None) -> list[str]:
    """The lines without what differs from run to run: numbers, times, names of machines, widths of columns."""
    text = "\n".join(lines)
    if folder is not None:
        text = text.replace(str(folder), "/tmp")
    text = re.sub(r"\b[\w.-]+-\d+-[0-9a-f]{8}\b", "ID", text)
    text = text.replace(f" {os.uname().nodename} ", " vm ")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"\b(?:\d+[dhm] ?)*\d+s\b", "0s", text)
    text = re.sub(r"\d+(\.\d+)*", "0", text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


class Terminal:
    """A shell that is typed into: what a command says comes back when it has ended."""

    def __init__(self, shell: subprocess.Popen[str]) -> None:
        self._shell = shell

    def type(self, command: str) -> list[str]:
        """The lines that it says. One that ends in ` &` goes on elsewhere, unheard; this waits until somebody leads."""
        if command.endswith(" &"):
            # The next command shall meet a leader, as it does at a reader's pace.
            leader = f"leasekit leader {command.split()[2]}"
            command = f"{command.removesuffix(' &')} >/dev/null 2>&1 &\nuntil {leader} >/dev/null 2>&1; do :; done"
        mark = uuid.uuid4().hex
        assert self._shell.stdin is not None and self._shell.stdout is not None
        # `$?` stays what the command has left, for a page that shows it.
        self._shell.stdin.write(f"{command}\n__code=$?; echo; echo {mark}; (exit $__code)\n")
        self._shell.stdin.flush()
        said: list[str] = []
        for line in self._shell.stdout:
            if line.rstrip("\n") == mark:
                return [each for each in said if each]
            said.append(line.rstrip("\n"))
        raise AssertionError(f"the shell has ended at {command!r}: {said}")


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    """A shell in `folder`. What still runs at the end is ended."""
    shell = subprocess.Popen(
        ["bash", "--norc"],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Terminal(shell)
    finally:
        assert shell.stdin is not None
        shell.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
        shell.communicate(timeout=TIMEOUT_S)
