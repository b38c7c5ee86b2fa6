"""Where the file may be, and where it is by default."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from leasekit.backends.sqlite import SqliteStore, default_path, location, open_store
from leasekit.errors import ConfigError
from leasekit.urls import parse

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /home rw,relatime - nfs4 server:/home rw
31 30 254:1 / /home/local rw,relatime - xfs /dev/vdb rw
32 27 0:41 / /mnt/with\\040space rw,relatime master:2 - fuse.sshfs host: rw
33 27 254:0 /x /twice rw,relatime - ext4 /dev/vda rw
34 27 0:42 / /twice rw,relatime - cifs //server/x rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/home/ann", "nfs4"),
        ("/homely", "ext4"),
        ("/home/local/ann", "xfs"),
        ("/mnt/with space/x", "fuse.sshfs"),
        ("/twice", "cifs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    assert location.file_system_of(Path(folder), MOUNTS) == kind


def test_without_a_mount_table_the_file_system_is_unknown() -> None:
    assert location.file_system_of(Path("/var/lib"), "") is None


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "lustre", "ceph"]
)
def test_a_file_system_that_other_machines_share_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"27 1 0:40 / / rw,relatime - {kind} server:/ rw\n")
    monkeypatch.setattr(location, "_MOUNTS", mounts)
    with pytest.raises(ConfigError, match=f"{kind} file system"):
        location.prepare(tmp_path / "leases.db")
    assert not (tmp_path / "leases.db").exists()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        location.prepare(tmp_path / "leases.db")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "leases.db").stat().st_mode) == 0o600


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing does not exist"):
        location.prepare(tmp_path / "missing" / "leases.db")


def test_a_folder_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="written by every user"):
        location.prepare(tmp_path / "leases.db")


def test_a_sticky_folder_like_tmp_will_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    location.prepare(tmp_path / "leases.db")


def test_a_file_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    location.prepare(tmp_path / "leases.db")
    (tmp_path / "leases.db").chmod(0o666)
    with pytest.raises(ConfigError, match="written by every user"):
        location.prepare(tmp_path / "leases.db")


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "leases.db").mkdir()
    with pytest.raises(ConfigError):
        location.prepare(tmp_path / "leases.db")


def test_another_users_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 12345)
    if os.getuid() == 0:
        os.chown(tmp_path, 54321, -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        location.prepare(tmp_path / "leases.db")


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG rules are Linux's")
class TestDefaultLocation:
    def test_it_is_in_the_users_state_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setenv("HOME", "/home/ann")
        assert default_path() == Path("/home/ann/.local/state/leasekit/leases.db")

    def test_it_follows_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
        assert default_path() == Path("/srv/state/leasekit/leases.db")

    def test_a_relative_state_folder_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", "state")
        monkeypatch.setenv("HOME", "/home/ann")
        assert default_path() == Path("/home/ann/.local/state/leasekit/leases.db")

    def test_its_folder_is_made_for_this_user_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        location.prepare(default_path())
        assert stat.S_IMODE(default_path().parent.stat().st_mode) == 0o700


def test_macos_keeps_it_in_application_support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", "/Users/ann")
    assert default_path() == Path("/Users/ann/Library/Application Support/leasekit/leases.db")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/app/leases.db", Path("/var/lib/app/leases.db")),
        ("sqlite:///leases.db", Path("leases.db").absolute()),
        ("sqlite:////var/with%20space/a%3Fb.db", Path("/var/with space/a?b.db")),
    ],
)
def test_a_url_names_a_file(url: str, path: Path) -> None:
    store = open_store(parse(url))
    assert store.path == path
    assert open_store(parse(store.url)).path == path


def test_opening_touches_nothing(tmp_path: Path) -> None:
    open_store(parse(f"sqlite:///{tmp_path}/leases.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_url_without_a_file_means_this_users_own() -> None:
    assert open_store(parse("sqlite://")).path == default_path()


def test_the_prefix_is_an_option_and_stays_in_the_url() -> None:
    assert open_store(parse("sqlite:////x/leases.db?prefix=/prod/")).url == "sqlite:////x/leases.db?prefix=prod"
    assert open_store(parse("sqlite:////x/leases.db")).url == "sqlite:////x/leases.db"


@pytest.mark.parametrize("url", ["sqlite://host/file", "sqlite:///:memory:", "sqlite:////x/y?mode=ro"])
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_store(parse(url))


def test_a_relative_file_in_a_folder_that_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="working directory that is gone"):
        SqliteStore(Path("leases.db"))
