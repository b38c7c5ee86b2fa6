"""The file of a journal: one writer, whole lines, rotation; and a disk that is full, slow, or gone."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from leasekit.journal_file import Appender, JournalFile

LONG_S = 30.0


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_lines_stand_at_the_end_of_the_file_which_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    file = JournalFile(path)
    file.append(b"one\n")
    file.append(b"two\n")
    file.close()
    JournalFile(path).append(b"three\n")
    assert lines(path) == [b"one\n", b"two\n", b"three\n"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_writers_do_not_share_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "j.jsonl"
    first, second = JournalFile(path), JournalFile(path)
    first.append(b"first\n")
    second.append(b"second\n")
    assert second.path == tmp_path / f"j-{os.getpid()}.jsonl"
    assert lines(path) == [b"first\n"]
    assert lines(second.path) == [b"second\n"]
    assert caplog.text.count("another process writes the journal") == 1
    first.close()
    second.close()
    second.append(b"third\n")
    assert lines(path) == [b"first\n", b"third\n"], "free again"


def test_a_full_file_is_rotated_and_no_line_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    file = JournalFile(path, rotate_at_bytes=50, kept=3)
    written = [b"line %03d\n" % number for number in range(20)]
    for line in written:
        file.append(line)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["j.jsonl", "j.jsonl.1", "j.jsonl.2", "j.jsonl.3"]
    found = [line for name in ("j.jsonl.3", "j.jsonl.2", "j.jsonl.1", "j.jsonl") for line in lines(tmp_path / name)]
    assert found == written


def test_only_so_many_rotated_files_are_kept(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "j", rotate_at_bytes=10, kept=2)
    for number in range(9):
        file.append(b"line %04d\n" % number)
    assert [lines(tmp_path / name) for name in ("j.2", "j.1", "j")] == [
        [b"line 0006\n"],
        [b"line 0007\n"],
        [b"line 0008\n"],
    ]


def test_a_torn_line_is_left_to_be_seen_and_nothing_is_added_to_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'whole\n{"tor')
    JournalFile(path).append(b"next\n")
    assert lines(path) == [b"whole\n", b'{"tor\n', b"next\n"]


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "j"
    file = JournalFile(path)
    file.append(b"one\n")
    path.rename(tmp_path / "archived")
    file.append(b"two\n")
    path.unlink()
    file.append(b"three\n")
    assert lines(tmp_path / "archived") == [b"one\n"]
    assert lines(path) == [b"three\n"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing"])
def test_what_cannot_be_a_journal_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "j"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = tmp_path / "nowhere" / "j"
    with pytest.raises(OSError):  # noqa: PT011 (which one depends on the system)
        JournalFile(path).append(b"line\n")


_FILLS_ITS_DISK = """
import logging, resource, sys
from pathlib import Path
from leasekit.journal_file import Appender, JournalFile

logging.basicConfig(stream=sys.stdout, format="%(message)s")
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
appender = Appender(JournalFile(Path(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_FSIZE, (105, hard))
for number in range(30):
    appender.put(b"line %04d\\n" % number)
appender.flush(30)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
appender.put(b"room again\\n")
appender.flush(30)
"""


def test_a_full_disk_leaves_whole_lines_is_said_once_and_writing_goes_on_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "j"
    done = subprocess.run(
        [sys.executable, "-c", _FILLS_ITS_DISK, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert lines(path) == [*(b"line %04d\n" % number for number in range(10)), b"room again\n"]
    assert done.stdout.count("cannot be written") == 1
    assert "elections go on" in done.stdout


class StuckFile(JournalFile):
    """On a disk that hangs until `released`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.released = threading.Event()
        self.reached = threading.Event()

    def append(self, line: bytes) -> None:
        self.reached.set()
        self.released.wait()
        super().append(line)


def test_nobody_waits_for_a_disk_that_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = StuckFile(tmp_path / "j")
    appender = Appender(file, most_waiting=100)
    appender.put(b"0\n")
    assert file.reached.wait(LONG_S)
    with caplog.at_level(logging.WARNING):
        for number in range(1, 300):
            appender.put(b"%d\n" % number)
    assert not appender.flush(0.01)
    assert caplog.text.count("does not keep up") == 1
    file.released.set()
    assert appender.flush(LONG_S)
    assert lines(tmp_path / "j") == [b"%d\n" % number for number in range(101)]


_WRITES_FOR_EVER = """
import itertools, sys
from pathlib import Path
from leasekit.journal_file import Appender, JournalFile

appender = Appender(JournalFile(Path(sys.argv[1])))
for number in itertools.count():
    appender.put(b"%012d" % number + b"x" * 400 + b"\\n")
    if number % 100 == 0:
        appender.flush(30)
        print(number, flush=True)
"""


def test_a_machine_that_is_out_of_threads_for_a_moment_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = tmp_path / "j.jsonl"
    appender = Appender(JournalFile(path))
    with monkeypatch.context() as moment:
        moment.setattr(threading.Thread, "start", refuse)
        appender.put(b"one\n")
    appender.put(b"two\n")
    assert appender.flush(LONG_S)
    assert lines(path) == [b"one\n", b"two\n"]


def test_a_killed_process_leaves_one_torn_line_at_the_most(tmp_path: Path) -> None:
    path = tmp_path / "j"
    process = subprocess.Popen([sys.executable, "-c", _WRITES_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 1000:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    *whole, _ = path.read_bytes().split(b"\n")
    assert len(whole) > 1000
    assert [int(line[:12]) for line in whole] == list(range(len(whole)))
    assert {len(line) for line in whole} == {412}
    JournalFile(path).append(b"after\n")  # its lock went with the process
    assert lines(path)[-1] == b"after\n"
