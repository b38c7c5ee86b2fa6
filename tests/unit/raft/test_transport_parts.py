"""What the transport decides without a socket: whose certificate it is, when to try again, what to say once."""

from __future__ import annotations

import random
from typing import Any

import pytest

from leasekit.backends.raft.core.types import Membership
from leasekit.backends.raft.transport.backoff import Backoff
from leasekit.backends.raft.transport.complaints import Complaints
from leasekit.backends.raft.transport.outbox import Outbox
from leasekit.backends.raft.transport.security import host_of, may_be

_MEMBERSHIP = Membership(voters={"a": "h1.example:7001", "b": "10.0.0.2:7001"}, learners={"c": "[2001:db8::3]:7001"})


def _certificate(*names: str, addresses: tuple[str, ...] = (), common_name: str | None = None) -> dict[str, Any]:
    """As `getpeercert` shows it."""
    subject = () if common_name is None else ((("commonName", common_name),),)
    alternative = [*(("DNS", name) for name in names), *(("IP Address", address) for address in addresses)]
    return {"subject": subject, "subjectAltName": tuple(alternative)}


@pytest.mark.parametrize(
    ("certificate", "member"),
    [
        (_certificate("a"), "a"),
        (_certificate(common_name="a"), "a"),
        (_certificate("x", "h1.example"), "a"),
        (_certificate("H1.Example."), "a"),
        (_certificate("*.example"), "a"),
        (_certificate(addresses=("10.0.0.2",)), "b"),
        (_certificate(addresses=("2001:DB8:0:0:0:0:0:3",)), "c"),
    ],
)
def test_a_members_certificate_bears_its_id_or_its_host(certificate: dict[str, Any], member: str) -> None:
    assert may_be(certificate, member, _MEMBERSHIP, ())


@pytest.mark.parametrize(
    ("certificate", "member"),
    [
        ({}, "a"),
        (_certificate(), "a"),
        (_certificate("b"), "a"),
        (_certificate("h2.example"), "a"),
        (_certificate("*.h1.example"), "a"),
        (_certificate("*"), "a"),
        (_certificate(addresses=("10.0.0.1",)), "b"),
        (_certificate("stranger"), "stranger"),
        (_certificate("A"), "a"),
    ],
)
def test_another_certificate_is_not_good_for_a_member(certificate: dict[str, Any], member: str) -> None:
    assert not may_be(certificate, member, _MEMBERSHIP, ())


def test_peer_names_alone_decide_where_they_are_set() -> None:
    names = ("*.raft.example", "seven")
    assert may_be(_certificate("n1.raft.example"), "anybody", _MEMBERSHIP, names)
    assert may_be(_certificate("*.raft.example"), "anybody", _MEMBERSHIP, names)
    assert may_be(_certificate(common_name="seven"), "anybody", _MEMBERSHIP, names)
    for certificate in (_certificate("a"), _certificate("raft.example"), _certificate("x.n1.raft.example")):
        assert not may_be(certificate, "a", _MEMBERSHIP, names)


@pytest.mark.parametrize(("address", "host"), [("h:1", "h"), ("10.0.0.1:1", "10.0.0.1"), ("[::1]:1", "::1")])
def test_the_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize("growth", [1.3, 2.0])
def test_waits_grow_to_a_second_and_begin_anew(growth: float) -> None:
    backoff = Backoff(random.Random(1), growth=growth)
    waits_s = [backoff.next_s() for _ in range(30)]
    assert 0.025 <= waits_s[0] <= 0.05
    assert all(0.5 <= wait_s <= 1.0 for wait_s in waits_s[20:])
    backoff.reset()
    assert backoff.next_s() <= 0.05


def test_a_complaint_is_made_once_until_it_is_forgiven(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    for number in range(5):
        complaints.complain("b", "protocol", f"bad frame {number}")
    complaints.complain("b", "tls", "bad certificate")
    complaints.complain("c", "protocol", "bad frame")
    assert [record.getMessage() for record in caplog.records] == [
        "b: bad frame 0",
        "b: bad certificate",
        "c: bad frame",
    ]
    complaints.forgive("b")
    complaints.complain("b", "protocol", "again")
    assert caplog.records[-1].getMessage() == "b: again"


def test_strangers_without_number_are_not_remembered_for_ever() -> None:
    complaints = Complaints()
    for number in range(5000):
        complaints.complain(f"host{number}", "protocol", "bad frame")
    assert len(complaints._made) <= 1000


def test_an_outbox_gives_up_what_may_be_dropped_first_and_then_the_oldest() -> None:
    outbox = Outbox(100)
    outbox.add(b"heartbeat!", droppable=True)
    for number in range(11):
        outbox.add(b"vote %05d" % number)
    assert outbox.full
    outbox.make_room()
    assert outbox.take() == b"".join(b"vote %05d" % number for number in range(6, 11))
    assert outbox.dropped == 7 and outbox.bytes == 0 and not outbox
