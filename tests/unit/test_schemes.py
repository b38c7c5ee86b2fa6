"""From a URL's scheme to the function that opens its stores."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from leasekit import schemes
from leasekit.errors import ConfigError


@pytest.mark.parametrize("scheme", ["memory", "sqlite", "etcd", "etcd+tls", "consul", "consul+tls", "raft", "raft+tls"])
def test_the_short_way_finds_what_the_long_way_does(scheme: str) -> None:
    (entry_point,) = set(entry_points(group=schemes.GROUP, name=scheme))
    assert schemes._own(scheme) == entry_point.value
    assert schemes.opener(scheme) is entry_point.load()


def test_stores_of_other_packages_are_found_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "another-1.0.dist-info").mkdir()
    (tmp_path / "another-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1.0\n")
    (tmp_path / "another-1.0.dist-info" / "entry_points.txt").write_text(
        "[console_scripts]\nx = y:z\n\n[leasekit.backends]\nanother = another_store:open_store\n"
    )
    (tmp_path / "another_store.py").write_text("def open_store(url): return url\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert schemes.opener("another")("u") == "u"
    monkeypatch.delitem(sys.modules, "another_store")


def test_where_leasekit_is_not_installed_the_long_way_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemes, "_own", lambda scheme: None)
    assert schemes.opener("memory") is import_module("leasekit.backends.memory").open_store


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"zookeeper.*etcd"):
        schemes.opener("zookeeper")
