"""A member that begins asks the others first, and does not take a busy one for one that knows nothing."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from leasekit.backends.raft.core.types import Membership, Role, Status
from leasekit.backends.raft.member import MemberConfig, founding
from leasekit.backends.raft.requests import MemberStatus
from leasekit.errors import ConfigError, StoreUnavailable

THREE = {"m1": "127.0.0.1:7001", "m2": "127.0.0.1:7002", "m3": "127.0.0.1:7003"}

Answers = dict[str, list[tuple[MemberStatus, str] | None]]
Asking = Callable[[Answers], list[str]]


def _status(member: str, *met: str) -> MemberStatus:
    raft = Status(
        id=member,
        role=Role.FOLLOWER,
        term=1,
        leader=None,
        commit=1,
        applied=1,
        first_index=1,
        last_index=1,
        membership=Membership(voters=THREE),
    )
    return MemberStatus(raft=raft, unix_s=0.0, failure=None, met=met)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asking:
    """Say what each address answers, one time after the other (None: nothing); returns who is asked."""

    def answering(answers: Answers) -> list[str]:
        asked: list[str] = []

        async def ask(address: str, tls: ssl.SSLContext | None, *, timeout_s: float) -> tuple[MemberStatus, str]:
            asked.append(address)
            left = answers.get(address)
            answer = left.pop(0) if left else None
            if answer is None:
                raise StoreUnavailable(f"{address} does not answer")
            return answer

        monkeypatch.setattr(founding, "ask_status", ask)
        return asked

    return answering


async def test_a_wiped_member_is_known_by_one_that_does_not_answer_at_first(tmp_path: Path, asked: Asking) -> None:
    config = MemberConfig(id="m1", data_dir=tmp_path, initial=THREE)
    m2, m3 = _status("m2"), _status("m3", "m1")
    asked({THREE["m2"]: [(m2, "c")] * 2, THREE["m3"]: [None, (m3, "c")]})
    with pytest.raises(ConfigError, match="'m3' has met 'm1' before"):
        await founding.find(config, None)


async def test_of_two_clusters_one_that_answers_late_is_not_overlooked(tmp_path: Path, asked: Asking) -> None:
    config = MemberConfig(id="m1", data_dir=tmp_path, listen=THREE["m1"], initial={}, join=(THREE["m2"], THREE["m3"]))
    asked({THREE["m2"]: [(_status("m2"), "one")] * 2, THREE["m3"]: [None, (_status("m3"), "other")]})
    with pytest.raises(ConfigError, match="different clusters"):
        await founding.find(config, None)


async def test_nobody_is_waited_for_to_begin_a_cluster(tmp_path: Path, asked: Asking) -> None:
    addresses = asked({})
    found = await founding.find(MemberConfig(id="m1", data_dir=tmp_path, initial=THREE), None)
    found.wal.close()
    found.disk.close()
    assert set(addresses) == {THREE["m2"], THREE["m3"]}
    assert len(addresses) == 2 * founding._ASK_TIMES
