"""Opening a store: no I/O, and every mistake in the URL is named at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from leasekit import urls
from leasekit.backends.etcd import open_store
from leasekit.errors import ConfigError


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, two certificates and their keys, and a file that is no PEM."""
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("one", "two"):
        issued = authority.issue_cert(f"{name}.example")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    (folder / "garbage.pem").write_text("hello")
    return folder


def mistake_in(url: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        open_store(urls.parse(url))
    return caught.value


def test_opening_connects_to_nothing() -> None:
    store = open_store(urls.parse("etcd://192.0.2.1:1,nowhere.invalid/app"))
    assert store.url == "etcd://192.0.2.1:1,nowhere.invalid/app"


def test_a_misspelt_option_is_refused() -> None:
    assert "'cafile'" in str(mistake_in("etcd+tls://h:1?cafile=x"))


def test_a_url_without_a_server_is_refused() -> None:
    assert "127.0.0.1:2379" in str(mistake_in("etcd:///app"))


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_tls_options_without_tls_are_refused(name: str) -> None:
    error = mistake_in(f"etcd://h:1?{name}=/x")
    assert error.field == name
    assert "etcd+tls://" in str(error)


@pytest.mark.parametrize(("given", "missing"), [("cert=/c", "key"), ("key=/k", "cert")])
def test_a_certificate_needs_its_key_and_a_key_its_certificate(given: str, missing: str) -> None:
    assert mistake_in(f"etcd+tls://h:1?{given}").field == missing


def test_a_file_that_is_not_there_is_named() -> None:
    error = mistake_in("etcd+tls://h:1?ca=/nowhere/ca.pem")
    assert error.field == "ca"
    assert "/nowhere/ca.pem" in str(error)
    assert "No such file" in str(error)


def test_a_folder_is_no_file(pem: Path) -> None:
    assert mistake_in(f"etcd+tls://h:1?ca={pem}").field == "ca"


def test_an_authority_that_is_no_certificate_is_refused(pem: Path) -> None:
    assert mistake_in(f"etcd+tls://h:1?ca={pem}/garbage.pem").field == "ca"
    assert mistake_in(f"etcd+tls://h:1?ca={pem}/one.key").field == "ca"


def test_a_key_of_another_certificate_is_refused(pem: Path) -> None:
    error = mistake_in(f"etcd+tls://h:1?ca={pem}/ca.pem&cert={pem}/one.pem&key={pem}/two.key")
    assert error.field == "key"
    assert "another certificate" in str(error)


def test_a_key_that_cannot_be_read_is_refused(pem: Path) -> None:
    assert mistake_in(f"etcd+tls://h:1?cert={pem}/one.pem&key={pem}/garbage.pem").field == "key"


def test_a_whole_set_is_accepted(pem: Path) -> None:
    open_store(urls.parse(f"etcd+tls://h:1?ca={pem}/ca.pem&cert={pem}/one.pem&key={pem}/one.key"))


def test_no_key_shows_in_a_repr(pem: Path) -> None:
    store = open_store(urls.parse(f"etcd+tls://h:1?cert={pem}/one.pem&key={pem}/one.key"))
    assert "PRIVATE KEY" not in repr(vars(store))


def test_a_missing_extra_says_what_to_install() -> None:
    code = """
import sys
sys.modules["grpc"] = None
from leasekit import urls
from leasekit.backends.etcd import open_store
from leasekit.errors import ConfigError
try:
    open_store(urls.parse("etcd://h:1"))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert "pip install 'leasekit[etcd]'" in done.stdout


def test_grpc_is_imported_only_when_a_store_is_opened() -> None:
    code = """
import os, sys
before = dict(os.environ)
import leasekit.backends.etcd
assert "grpc" not in sys.modules and "google.protobuf" not in sys.modules
from leasekit import urls
leasekit.backends.etcd.open_store(urls.parse("etcd://h:1"))
assert "grpc" in sys.modules
assert dict(os.environ) == before, "a child of this process may want settings of its own"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
