"""`leasekit raft serve`: a member as a process of its own."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import leasekit
from leasekit.backends.raft.kv.machine import CannotApply
from leasekit.backends.raft.kv.snapshot import MalformedSnapshot
from leasekit.backends.raft.member import Member, MemberConfig, Timing, TlsFiles
from leasekit.backends.raft.member.files import raise_limit
from leasekit.backends.raft.wal.errors import Corrupt, DiskFailed
from leasekit.cli import exit_codes
from leasekit.cli.session import note
from leasekit.errors import ConfigError

_SWITCH_S = 0.0005
LINGER_S = 2.0
"""After a disk failure clients are told for so long that this member is out of order, rather than nothing."""


@click.command(context_settings={"auto_envvar_prefix": "LEASEKIT_RAFT"})
@click.option("--id", required=True, metavar="ID", help="This member's name, unique for ever.")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where it keeps its log. Made if missing.",
)
@click.option("--listen", default="", metavar="HOST:PORT", help="[default: its own address in --initial]")
@click.option("--initial", metavar="ID=HOST:PORT,...", help="The members of a new cluster, this one among them.")
@click.option("--join", metavar="HOST:PORT,...", help="Members of a running cluster, to be added to by `raft add`.")
@click.option("--cluster", default="leasekit", show_default=True, metavar="NAME", help="Keeps clusters apart.")
@click.option("--tls-ca", metavar="FILE", help="PEM file of the authority of all certificates.")
@click.option("--tls-cert", metavar="FILE", help="PEM file of this member's certificate, for both ends.")
@click.option("--tls-key", metavar="FILE", help="PEM file of its key.")
@click.option("--tls-peer-name", multiple=True, metavar="NAME", help="A name that only members' certificates bear.")
@click.option("--insecure", is_flag=True, help="Listen on any address without TLS.")
@click.option("--heartbeat-ms", type=int, default=100, show_default=True, metavar="MS", help="The leader's pulse.")
@click.option(
    "--election-ms",
    type=int,
    default=1000,
    show_default=True,
    metavar="MS",
    help="A silent leader is replaced after this time, up to twice as long at random.",
)
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Run a member of the cluster until SIGTERM or SIGINT.

    The first start of a data directory begins a cluster (--initial, the same for all its members) or waits to be
    added to one (--join). Later starts read the directory, and may be given the same options. Each option can be set
    as LEASEKIT_RAFT_ID, LEASEKIT_RAFT_DATA and so on.

    Exits with 0 after a signal; 74 if the disk failed or is full (start it again when that is mended); 65 if the
    data is damaged, and 78 if the options or the directory will not do or this version is too old (starting it again
    does not help); 70 after a fault of leasekit.
    """
    config = _config(options)
    raise_limit()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_run(config))
    except DiskFailed as error:
        note(f"the disk of {config.data_dir} failed, so this member stops: {error}")
        ctx.exit(exit_codes.DISK)
    except (CannotApply, MalformedSnapshot) as error:
        note(f"this member cannot follow the others: {error}. If they run a newer leasekit, upgrade this one")
        ctx.exit(exit_codes.CONFIG)
    except Corrupt as error:
        note(
            f"{config.data_dir}: {error}. This member may have acknowledged what is lost there, so it does not start: "
            f"`leasekit raft remove {config.id}`, and add it anew with an empty directory and a new id"
        )
        ctx.exit(exit_codes.DAMAGED)


async def _run(config: MemberConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    member = Member(config, version=leasekit.__version__)
    starting = asyncio.create_task(member.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    await starting
    try:
        # What is here by now stays: looking through it again and again would only hold the member up.
        gc.collect()
        gc.freeze()
        # After each sync the disk's thread needs the interpreter, which a busy loop would leave to it after 5 ms only.
        sys.setswitchinterval(_SWITCH_S)
        await _until_ended(member, stopping)
    finally:
        await member.stop()


async def _until_ended(member: Member, stopping: asyncio.Task[Any]) -> None:
    ended = asyncio.create_task(member.ended())
    await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        ended.cancel()
        return
    if isinstance(ended.exception(), DiskFailed):
        await asyncio.wait((stopping,), timeout=LINGER_S)
    await ended


def _config(options: Mapping[str, Any]) -> MemberConfig:
    given = [name for name in ("tls_ca", "tls_cert", "tls_key") if options[name]]
    if given and len(given) < 3:
        raise ConfigError("--tls", "--tls-ca, --tls-cert and --tls-key go together: members show certificates, too")
    tls = None
    if given:
        names = tuple(options["tls_peer_name"])
        tls = TlsFiles(ca=options["tls_ca"], cert=options["tls_cert"], key=options["tls_key"], peer_names=names)
    return MemberConfig(
        id=options["id"],
        data_dir=options["data"],
        listen=options["listen"],
        initial=_initial(options["initial"]),
        join=tuple(filter(None, (options["join"] or "").split(","))),
        cluster=options["cluster"],
        tls=tls,
        insecure=options["insecure"],
        timing=Timing(heartbeat_ms=options["heartbeat_ms"], election_ms=options["election_ms"]),
    )


def _initial(text: str | None) -> dict[str, str]:
    members: dict[str, str] = {}
    for part in filter(None, (text or "").split(",")):
        member, equals, address = part.partition("=")
        if not equals or not address:
            raise ConfigError("--initial", f"{part!r} is not ID=HOST:PORT")
        if member in members:
            raise ConfigError("--initial", f"names {member!r} twice")
        members[member] = address
    return members
