"""What every subcommand that speaks to a store takes: `--store` and `--timeout`, before the subcommand or after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from leasekit import urls
from leasekit.errors import ConfigError

DEFAULT_TIMEOUT_S = 5.0

F = TypeVar("F", bound=Callable[..., object])


@dataclass
class Settings:
    """As given on the command line. `store_url` None: from LEASEKIT_STORE, or this user's file on this host."""

    store_url: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    journal: Path | None = None
    """None: from LEASEKIT_JOURNAL, or none."""


class Seconds(click.ParamType[float]):
    """A duration: seconds as a number, or with a unit (500ms, 90s, 5m, 2h)."""

    name = "seconds"
    _UNITS = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0))

    def __init__(self, *, positive: bool = False) -> None:
        self._positive = positive

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        number, factor = next(
            ((text.removesuffix(unit), factor) for unit, factor in self._UNITS if text.endswith(unit)), (text, 1.0)
        )
        try:
            seconds = float(number) * factor
        except ValueError:
            self.fail(f"{text!r} is no duration: write for example 10, 1.5, 500ms or 5m", param, ctx)
        if not 0 <= seconds < float("inf") or (self._positive and seconds == 0):
            self.fail(f"{text!r} will not do: it must be {'above 0' if self._positive else '0 or more'}", param, ctx)
        return seconds


def _set_store(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    settings = ctx.ensure_object(Settings)
    if value is None:
        return
    if not value.strip():
        # Of a variable that is not set, most likely: every machine would elect a leader of its own.
        raise ConfigError("--store", "is empty: name a store, or leave it out to elect on this host alone")
    # What is no URL is refused by whoever opens it; `demo` has a word of its own.
    if "://" in value and urls.parse(value).password is not None:
        raise ConfigError(
            "--store",
            "holds a password, which every user of this machine can read in the process list: "
            "put it into LEASEKIT_PASSWORD, or the whole URL into LEASEKIT_STORE",
        )
    settings.store_url = value


def _set_timeout(ctx: click.Context, _param: click.Parameter, value: float | None) -> None:
    if value is not None:
        ctx.ensure_object(Settings).timeout_s = value


def _set_journal(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Settings).journal = value


def store_options(function: F) -> F:
    """Adds `--store`, `--timeout` and `--journal`; their values go into the context's `Settings`."""
    journal = click.option(
        "--journal",
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_set_journal,
        help="Write what is believed and seen of elections, for `leasekit audit`.",
    )
    timeout = click.option(
        "--timeout",
        type=Seconds(positive=True),
        metavar="S",
        expose_value=False,
        callback=_set_timeout,
        help=f"How long to wait for the store's answer, in seconds.  [default: {DEFAULT_TIMEOUT_S:g}]",
    )
    store = click.option(
        "--store",
        metavar="URL",
        expose_value=False,
        callback=_set_store,
        help="Where the leases live; or set LEASEKIT_STORE.",
    )
    return store(timeout(journal(function)))


class Wrapper(click.Command):
    """A command that takes another one, its argument `command`, after `--`.

    Without `--` the other one's options would be taken for leasekit's own, and a `--` of its own would be lost.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = args[: args.index("--")] if "--" in args else list(args)
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = "" if "--" in args else " What is CMD's goes after --."
            raise click.UsageError(error.format_message() + hint, ctx) from None
        if not ctx.resilient_parsing:
            given, _, _ = self.make_parser(ctx).parse_args(own)
            if isinstance(words := given.get("command"), tuple) and words:
                raise click.UsageError(f"Put -- before {words[0]!r}: what follows is CMD's own.", ctx)
        return rest


def one_of(*formats: str) -> Callable[[F], F]:
    """Adds `-o`, the form of the output; the first is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="Form of the output."
    )
