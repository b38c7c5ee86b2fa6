"""A real cron daemon on each of two hosts, and one crontab line with `leasekit cron --once`: each minute is run once."""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cronproof.stage import place
from support import binaries
from support.netns import Host, Network
from support.processes import ServerProcess

JOB = "crontab"
PATIENCE_S = 120.0
CRONTAB = """\
LEASEKIT_STORE={store}
PYTHONPATH={path}
* * * * * echo {host} >> {folder}/fired; {leasekit} cron {job} "* * * * *" --once -- {command} 2>> {folder}/said
"""
# What cron reads is its own: the machine's crontabs stay out of it, and theirs are not seen by the machine.
ROOM = """
mount -t tmpfs none /run && mount -t tmpfs none /var/spool
mkdir -p /var/spool/cron/crontabs && cp {crontab} /var/spool/cron/crontabs/root
chmod 600 /var/spool/cron/crontabs/root
for own in /etc/cron.d /etc/crontab; do
  if [ -d $own ]; then mount -t tmpfs none $own; elif [ -f $own ]; then mount --bind /dev/null $own; fi
done
exec {cron} -f
"""


def play_daemons(store: str, minutes: int, say: Callable[[str], object]) -> list[str]:
    """Let two daemons fire for so many minutes; what was wrong. As root on Linux."""
    cron = binaries.require("cron", "cron")
    with tempfile.TemporaryDirectory(prefix="leasekit-crontab-") as name, Network() as network:
        folder = Path(name)
        with place(store, network, folder, servers=1) as put:
            daemons = [_daemon(network.host(), f"host{n}", put.url, folder, cron) for n in (1, 2)]
            try:
                _wait(folder, minutes)
            finally:
                for daemon in daemons:
                    daemon.kill()
            fired, ran = _lines(folder / "fired"), _lines(folder / "ran")
            said = (folder / "said").read_text() if (folder / "said").exists() else ""
    slots = Counter(line.split()[0] for line in ran)
    hosts = Counter(line.split()[1] for line in ran)
    say(f"fired: {dict(Counter(fired))}; run: {len(ran)} times for {len(slots)} minutes, {dict(hosts)}")
    wrong = [f"{slot} was run {count} times" for slot, count in slots.items() if count > 1]
    # The last minute may have been cut off at either of them.
    if len(slots) < minutes or min(Counter(fired).values(), default=0) < minutes or len(set(fired)) < 2:
        wrong.append(f"not all fired: {Counter(fired)}, run {dict(slots)}\n{said}")
    return wrong


def _daemon(host: Host, name: str, url: str, folder: Path, cron: Path) -> ServerProcess:
    command = shlex.join(["/bin/sh", "-c", f"echo $LEASEKIT_SLOT {name} >> {folder}/ran"])
    leasekit = shlex.join([sys.executable, "-P", "-m", "leasekit"])
    path = Path(__file__).resolve().parents[2]
    crontab = folder / f"{name}.crontab"
    crontab.write_text(
        CRONTAB.format(store=url, path=path, host=name, folder=folder, leasekit=leasekit, job=JOB, command=command)
    )
    room = ROOM.format(crontab=crontab, cron=cron)
    private = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", room]
    return ServerProcess(host.namespace.command(private), folder / f"{name}.log")


def _wait(folder: Path, minutes: int) -> None:
    """Until so many minutes have been run; judged afterwards, whether or not they were in time."""
    give_up_s = time.monotonic() + 60 * (minutes + 1) + PATIENCE_S
    while time.monotonic() < give_up_s:
        slots = {line.split()[0] for line in _lines(folder / "ran")}
        fired = Counter(_lines(folder / "fired"))
        if len(slots) >= minutes and len(fired) == 2 and min(fired.values()) >= minutes:
            time.sleep(5)  # in which the other host may run the last one too, if it can
            return
        time.sleep(0.5)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
