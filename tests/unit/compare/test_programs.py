"""Where programs are found, and ports."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from leasekit.cli.compare import servers
from leasekit.cli.compare.command import STORES
from leasekit.cli.compare.programs import find, free_ports
from leasekit.cli.compare.servers import KINDS, find_programs


def program(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


@pytest.fixture(autouse=True)
def _nothing_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("LEASEKIT_SERVERS", raising=False)


@pytest.mark.parametrize("place", ["etcd", "etcd/etcd", "etcd-3.5/etcd"])
def test_a_program_is_found_in_its_folder(tmp_path: Path, place: str) -> None:
    assert find("etcd", [tmp_path]) is None
    made = program(tmp_path / place)
    assert find("etcd", [tmp_path]) == made


def test_of_several_versions_the_latest_is_taken(tmp_path: Path) -> None:
    for version in ("3.4", "3.10", "3.5"):
        program(tmp_path / f"etcd-{version}" / "etcd")
    assert find("etcd", [tmp_path]) == tmp_path / "etcd-3.10" / "etcd"


def test_the_folder_that_was_named_comes_before_the_variable_and_that_before_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = program(tmp_path / "path" / "consul")
    assert find_programs(["consul1"], None) == ({"consul1": on_path}, {})
    by_variable = program(tmp_path / "variable" / "consul")
    monkeypatch.setenv("LEASEKIT_SERVERS", str(by_variable.parent))
    assert find_programs(["consul1"], None) == ({"consul1": by_variable}, {})
    named = program(tmp_path / "named" / "consul" / "consul")
    assert find_programs(["consul1"], tmp_path / "named") == ({"consul1": named}, {})


def test_the_stores_that_the_help_names_are_those_that_can_be_started() -> None:
    assert tuple(KINDS) == STORES


def test_what_is_not_there_is_named_with_what_to_do() -> None:
    found, missing = find_programs(list(KINDS), None)
    assert list(found) == ["sqlite", "raft3"]
    assert list(missing) == ["etcd1", "etcd3", "consul1", "consul3"]
    assert "--servers DIR" in missing["etcd1"]


def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "etcd")
    monkeypatch.setattr(servers, "find_spec", lambda name: None if name == "grpc" else True)
    found, missing = find_programs(["sqlite", "raft3", "etcd1"], tmp_path)
    assert list(found) == ["sqlite", "raft3"]
    assert missing == {"etcd1": "needs the package 'grpc': pip install 'leasekit[etcd]'"}


def test_a_file_that_cannot_be_executed_is_no_program(tmp_path: Path) -> None:
    program(tmp_path / "etcd").chmod(0o644)
    assert find("etcd", [tmp_path]) is None


def test_ports_are_free_and_differ() -> None:
    for seed in range(100):
        ports = free_ports(20, random.Random(seed))
        assert len(set(ports)) == 20
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", ports[0]))
            except OSError:  # somebody else was quicker
                continue
            taken.listen()
            assert ports[0] not in free_ports(20, random.Random(seed))
            break
    else:
        pytest.fail("no port stays free")
