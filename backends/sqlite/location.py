"""Where the database file is, and whether it may be there: owners, modes and file systems."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from leasekit.errors import ConfigError, StoreUnavailable

# SQLite's write-ahead log needs memory shared by all who have the file open, and locks that hold among them: one
# kernel. On these file systems another machine, or the host of this virtual one, may have it open as well.
_REMOTE = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fakeowner",
        "fuse.ceph",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.grpcfuse",
        "fuse.s3fs",
        "fuse.smbnetfs",
        "fuse.sshfs",
        "fuse.vmhgfs-fuse",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "prl_fs",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "vmhgfs",
    ]
)
_MOUNTS = Path("/proc/self/mountinfo")


def default_path() -> Path:
    """Where leasekit keeps its leases when no store is named: a file of this user on this host."""
    try:
        return _state_folder() / "leasekit" / "leases.db"
    except RuntimeError:
        raise ConfigError(
            "store URL", "this user has no home directory: name a file, sqlite:////path/leases.db"
        ) from None


def _state_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    # The XDG base directory specification: a relative path is invalid and to be ignored.
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".local" / "state"


def prepare(path: Path) -> os.stat_result:
    """Make sure that `path` is a file that only this user can touch, creating it (0600) if need be; returns its stat.

    The folder is created (0700) only for the default location; elsewhere a missing folder is likely a slip of the pen.

    Raises:
        ConfigError: it cannot be there, or others could replace or write it.
        StoreUnavailable: the disk is full or failing.
    """
    try:
        if path == default_path_or_none():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_others(path.parent, path.parent.stat())
        _refuse_remote(path.parent)
        # SQLite gives its two companion files the mode of the first.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        found = path.stat()
    except FileNotFoundError:
        raise ConfigError("store URL", f"the folder {path.parent} does not exist") from None
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise ConfigError("store URL", f"{path} cannot be written: {error.strerror}") from None
    except OSError as error:
        if error.strerror == "Read-only file system":
            raise ConfigError("store URL", f"{path} cannot be written: {error.strerror}") from None
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError("store URL", f"{path} is not a file")
    _refuse_others(path, found)
    return found


def default_path_or_none() -> Path | None:
    """The default location, None where there is none."""
    try:
        return default_path()
    except ConfigError:
        return None


def _refuse_others(path: Path, found: os.stat_result) -> None:
    """Refuse what another user owns or everybody can change: whoever swaps the file decides who leads."""
    if sys.platform == "win32":
        return
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise ConfigError("store URL", f"{path} can be written by every user: chmod o-w it, or choose another place")
    me = os.geteuid()
    if me != 0 and found.st_uid not in (0, me):
        raise ConfigError("store URL", f"{path} belongs to another user (uid {found.st_uid}): choose another place")


def _refuse_remote(folder: Path) -> None:
    kind = file_system_of(folder.resolve(), _MOUNTS.read_text() if _MOUNTS.exists() else "")
    if kind in _REMOTE:
        raise ConfigError(
            "store URL",
            f"{folder} is on a {kind} file system, which several machines may share, and SQLite elects safely only "
            f"among processes of one machine: use a local disk, or etcd or Consul to elect among machines",
        )


def file_system_of(folder: Path, mountinfo: str) -> str | None:
    """The type of the file system that holds `folder` (absolute, without links), as `mountinfo` has it; None if unknown."""
    best: tuple[int, str | None] = (-1, None)
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mount_point = Path(_unescape(before.split()[4]))
        # Of several mounts on one point the last is on top.
        if folder.is_relative_to(mount_point) and len(mount_point.parts) >= best[0]:
            best = len(mount_point.parts), after.split()[0]
    return best[1]


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
