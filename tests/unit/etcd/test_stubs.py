"""The generated messages: in step with rpc.proto, and loadable beside any other etcd client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from leasekit.backends.etcd import methods
from leasekit.backends.etcd import rpc_pb2 as rpc
from support import venvs

PACKAGE = Path(methods.__file__).parent
PROTO = (PACKAGE / "rpc.proto").read_text()


def fields_of_the_proto() -> dict[str, dict[str, int]]:
    """Message name to field name to number, read from the text of rpc.proto."""
    found: dict[str, dict[str, int]] = {}
    open_blocks: list[tuple[str, str]] = []
    for line in re.sub(r"//.*", "", PROTO).splitlines():
        if start := re.match(r"\s*(message|oneof|enum) (\w+) \{(\})?", line):
            if start[1] == "message":
                found[start[2]] = {}
            if not start[3]:
                open_blocks.append((start[1], start[2]))
        elif line.strip() == "}":
            open_blocks.pop()
        elif (field := re.match(r"\s*(?:repeated )?[\w.]+ (\w+) = (\d+);", line)) and open_blocks[-1][0] != "enum":
            message = next(name for kind, name in reversed(open_blocks) if kind == "message")
            found[message][field[1]] = int(field[2])
    return found


def test_the_generated_messages_are_those_of_the_proto() -> None:
    generated = {
        name: {field.name: field.number for field in message.fields}
        for name, message in rpc.DESCRIPTOR.message_types_by_name.items()
    }
    assert generated == fields_of_the_proto()


def test_the_reader_of_the_proto_reads_something() -> None:
    fields = fields_of_the_proto()
    assert fields["Compare"]["range_end"] == 64
    assert fields["WatchResponse"]["events"] == 11
    assert fields["StatusRequest"] == {}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="grpcio-tools 1.49.1, of which the stubs are, is for 3.11")
def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "leasekit" / "backends" / "etcd" / "rpc.proto"
    source.parent.mkdir(parents=True)
    source.write_text(PROTO)
    command = [
        str(venvs.python("stubs")),
        "-m",
        "grpc_tools.protoc",
        "-I.",
        "--python_out=.",
        "--pyi_out=.",
        "leasekit/backends/etcd/rpc.proto",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert source.with_name("rpc_pb2.py").read_text() == (PACKAGE / "rpc_pb2.py").read_text()
    ours = (PACKAGE / "rpc_pb2.pyi").read_text()
    assert source.with_name("rpc_pb2.pyi").read_text() == ours.partition("\n")[2]


def test_another_etcd_client_in_the_same_process_does_not_collide() -> None:
    other = """
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(name="rpc.proto", package="etcdserverpb", syntax="proto3")
file.message_type.add(name="RangeRequest")
descriptor_pool.Default().Add(file) if hasattr(descriptor_pool.Default(), "Add") else \\
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
from leasekit.backends.etcd import rpc_pb2
assert rpc_pb2.RangeRequest(key=b"k").SerializeToString() == b"\\n\\x01k"
"""
    subprocess.run([sys.executable, "-c", other], check=True, timeout=60)


def test_every_method_has_the_path_that_etcd_serves() -> None:
    paths = {value.path for value in vars(methods).values() if isinstance(value, methods.Method)}
    assert paths == {
        "/etcdserverpb.KV/Range",
        "/etcdserverpb.KV/Txn",
        "/etcdserverpb.Lease/LeaseGrant",
        "/etcdserverpb.Lease/LeaseRevoke",
        "/etcdserverpb.Lease/LeaseKeepAlive",
        "/etcdserverpb.Watch/Watch",
        "/etcdserverpb.Auth/Authenticate",
        "/etcdserverpb.Maintenance/Status",
    }
