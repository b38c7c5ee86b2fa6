"""The file fence against the contract of guards, and what a file system brings besides."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from leasekit.errors import FencingRejected, ProtocolError, StoreUnavailable
from leasekit.fencing import FileFence
from leasekit.testing.conformance import GuardConformance


class TestFile(GuardConformance):
    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def fence(self, resource: str, **options: Any) -> FileFence:
        return FileFence(resource, self.folder / hashlib.sha256(resource.encode()).hexdigest(), **options)

    async def write(
        self, resource: str, token: int, value: str, *, election: str | None = None, also: Collection[str] = ()
    ) -> None:
        await asyncio.to_thread(self.fence(resource, election=election, also=also).write, value, token)

    async def read(self, resource: str) -> str | None:
        path = self.fence(resource).path
        return path.read_text() if path.exists() else None

    async def highest(self, resource: str) -> int | None:
        return self.fence(resource).highest()

    def unfinished(self, resource: str, token: int, value: str) -> AbstractAsyncContextManager[None]:
        @asynccontextmanager
        async def replacing() -> AsyncIterator[None]:
            with self.fence(resource).replacing(token) as file:
                file.write(value.encode())
                yield

        return replacing()

    async def restart(self) -> None:
        """There is nothing to restart: every call is another client."""

    def admission(self, resource: str, token: int) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def admitted() -> AsyncIterator[None]:
            with self.fence(resource).admit(token):
                yield

        return admitted()


@pytest.fixture
def fence(tmp_path: Path) -> FileFence:
    return FileFence("reports", tmp_path / "report.txt", lock_timeout_s=0.2)


def test_nothing_is_left_beside_the_file_but_mark_and_lock(fence: FileFence) -> None:
    fence.write("one", 1)
    fence.write("two", 2)
    with pytest.raises(FencingRejected):
        fence.write("late", 1)
    files = sorted(file.name for file in fence.path.parent.iterdir())
    assert files == ["report.txt", "report.txt.fence", "report.txt.fence.lock"]
    assert json.loads((fence.path.parent / "report.txt.fence").read_text()) == {
        "schema": 1,
        "resource": "reports",
        "token": 2,
        "election": "reports",
    }


def test_an_error_while_writing_changes_nothing(fence: FileFence) -> None:
    fence.write("one", 1)

    def fail() -> None:
        with fence.replacing(2) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (fence.path.read_text(), fence.highest()) == ("one", 1)
    assert len(list(fence.path.parent.iterdir())) == 3


def test_a_reader_keeps_the_file_that_it_opened(fence: FileFence) -> None:
    fence.write("one", 1)
    with fence.path.open() as old:
        fence.write("two", 2)
        assert old.read() == "one"
    assert fence.path.read_text() == "two"


def test_the_files_mode_is_kept_and_a_link_is_followed(fence: FileFence) -> None:
    fence.write("one", 1)
    fence.path.chmod(0o640)
    link = fence.path.with_name("link")
    link.symlink_to(fence.path)
    FileFence("reports", link).write("two", 2)
    assert link.is_symlink()
    assert (fence.path.read_text(), fence.path.stat().st_mode & 0o777) == ("two", 0o640)
    with pytest.raises(FencingRejected):
        fence.write("late", 1)


@pytest.mark.parametrize(
    "mark", ["", "{", "[]", "7", '{"schema": 2, "token": 1, "election": "reports"}', '{"schema": 1, "token": "1"}']
)
def test_an_unreadable_mark_lets_nobody_pass(fence: FileFence, mark: str) -> None:
    fence.write("one", 1)
    fence.path.with_name("report.txt.fence").write_text(mark)
    with pytest.raises(ProtocolError, match=r"report\.txt\.fence"):
        fence.write("two", 2)
    assert fence.path.read_text() == "one"


def test_who_does_not_get_the_lock_in_time_has_written_nothing(fence: FileFence) -> None:
    fence.write("one", 1)
    with fence.admit(1), pytest.raises(StoreUnavailable, match="locked by another process"):
        fence.write("two", 2)
    assert (fence.path.read_text(), fence.highest()) == ("one", 1)
    fence.write("two", 2)


_WRITER = """
import sys
from leasekit.fencing import FileFence
fence, token = FileFence("reports", sys.argv[1]), int(sys.argv[2])
number = 0
while True:
    number += 1
    fence.write(f"{token} {number} " + "x" * 20000 + " end", token)
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_content_and_a_mark_that_covers_it(tmp_path: Path) -> None:
    fence = FileFence("reports", tmp_path / "report.txt")
    for token in range(1, 6):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, fence.path, str(token)], stdout=subprocess.PIPE)
        with writer:
            assert writer.stdout is not None
            for _ in range(3 * token):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        content = fence.path.read_text()
        assert content.startswith(f"{token} ")
        assert content.endswith(" end")
        assert fence.highest() == token
        with pytest.raises(FencingRejected):
            fence.write("late", token - 1)


_STOPPED_ONCE = """
import os, signal
from pathlib import Path
replace = Path.replace
def stop_first(self, target):
    if Path(target) == Path(sys.argv[1]):
        Path.replace = replace
        print("checked", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return replace(self, target)
Path.replace = stop_first
"""


def test_a_writer_stopped_under_the_lock_writes_before_its_successor_and_never_after(fence: FileFence) -> None:
    """SIGSTOP where it hurts: after the check, before the rename."""
    program = "import sys" + _STOPPED_ONCE + _WRITER
    stopped = subprocess.Popen(
        [sys.executable, "-c", program, fence.path, "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == b"checked\n"
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(StoreUnavailable):
            fence.write("two", 2)
        stopped.send_signal(signal.SIGCONT)
        FileFence("reports", fence.path, lock_timeout_s=60).write("two", 2)
        _, errors = stopped.communicate(timeout=60)
    finally:
        stopped.kill()
        stopped.communicate()
    assert b"FencingRejected: token 1 refused" in errors
    assert fence.path.read_text() == "two"
