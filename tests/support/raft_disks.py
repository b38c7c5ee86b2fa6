"""Members of leasekit's own store with disks that fail: syncs that return errors, file systems that are small."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import pytest

from support import binaries
from support.processes import ServerProcess
from support.raft_cluster import RaftCluster

_MEMBER = Path(__file__).with_name("raft_member.py")
_READY_S = 30.0
_MOUNT = 'mount -t tmpfs -o size="$2"m tmpfs "$1" && exec sleep infinity'


class FailingDisks(RaftCluster):
    """Members whose syncs can be made to fail."""

    def program(self, index: int) -> list[str | Path]:
        return [_MEMBER, "--faults", self._faults(index)]

    def break_disk(self, index: int, fault: Literal["EIO", "ENOSPC", "slow"]) -> None:
        """From now on every sync of this member fails so; those of "slow" take until the disk is mended."""
        faults = self._faults(index)
        whole = faults.with_suffix(".new")
        whole.write_text(fault)
        whole.rename(faults)

    def mend_disk(self, index: int) -> None:
        """It works again."""
        self._faults(index).unlink()

    def _faults(self, index: int) -> Path:
        return self.folder(index).with_suffix(".faults")


class SmallDisk:
    """A file system of so many MiB on a folder, seen only by processes that are started by `command`.

    It lives as long as a process in it, so that it never outlives the test run. A context manager.
    """

    def __init__(self, folder: Path, mib: int) -> None:
        self._folder = folder
        self._mib = mib

    def __enter__(self) -> Self:
        _require_rights()
        self._folder.mkdir()
        enter = ["unshare", "--mount", "--propagation", "private"]
        self._holder = ServerProcess(
            [*enter, "sh", "-c", _MOUNT, "sh", self._folder, str(self._mib)], self._folder.with_suffix(".mount")
        )
        give_up_s = time.monotonic() + _READY_S
        # Its last step is to become this.
        while Path(f"/proc/{self._holder.pid}/comm").read_text() != "sleep\n":
            assert self._holder.running and time.monotonic() < give_up_s, self._holder.output()
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()

    def command(self, command: Sequence[str | Path]) -> list[str | Path]:
        """`command` as it is run there; the process is the command itself."""
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--", *command]

    def resize(self, mib: int) -> None:
        """As if other things on it had been deleted."""
        remount: list[str | Path] = ["mount", "-o", f"remount,size={mib}m", self._folder]
        subprocess.run(self.command(remount), check=True)


class SmallDisks(RaftCluster):
    """Members of which some have small disks. A context manager alone."""

    def __init__(self, small: Sequence[int], mib: int) -> None:
        super().__init__(3)
        self.disks: dict[int, SmallDisk] = {}
        self._small, self._mib = small, mib

    def start_all(self) -> None:
        for index in self._small:
            if index not in self.disks:
                self.disks[index] = SmallDisk(self.folder(index), self._mib).__enter__()
        super().start_all()

    def close(self) -> None:
        self.stop_all()
        for index in list(self.disks):
            self.disks.pop(index).__exit__()
        super().close()

    def serving(self, index: int) -> list[str | Path]:
        command = super().serving(index)
        return self.disks[index].command(command) if index in self.disks else command


def _require_rights() -> None:
    """Skip without the right to mount."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip(f"{binaries.MISSING}the right to mount a small file system (run as root on Linux)")
