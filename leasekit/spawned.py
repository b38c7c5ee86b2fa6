"""`stop="process"`: a function in a process of its own, under the watchdog, which kills it by the deadline.

The parent sends module and qualified name, arguments, and then each new deadline, so that `leasekit.current()` answers
in the child as it does in the parent. The result comes back the same way.
"""

from __future__ import annotations

import contextlib
import pickle
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import spawn
from typing import TYPE_CHECKING, Any, NoReturn, cast

from leasekit.clock import SYSTEM_CLOCK, Instant
from leasekit.core.lease import Belief
from leasekit.errors import ConfigError, LossReason
from leasekit.stopping import StopSignal, lost
from leasekit.sync import Leadership
from leasekit.tenure import Tenure
from leasekit.watchdog.guard import Died, End, Guard
from leasekit.watchdog.messages import Ended, NotStarted

if TYPE_CHECKING:
    from leasekit.election import ElectionCore

_LENGTH = struct.Struct("!Q")
_DEADLINE = struct.Struct("!dd")
_BOOT = "from leasekit.spawned import child; child({fd})"


@dataclass(frozen=True, slots=True)
class Task:
    """What the child is to do."""

    module: str
    qualified_name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    election: str
    id: str
    token: int
    ttl_s: float
    deadline: Instant


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    result: Any = None
    error: BaseException | None = None


def check_sendable(function: Callable[..., Any]) -> None:
    """Refuse what a spawned process could not find by its name."""
    if "<" in function.__qualname__:
        raise ConfigError(
            "stop",
            f'{function.__qualname__!r} cannot run with stop="process": the process finds it by module and name, so '
            f"it must be defined at module level and be no lambda or closure",
        )


def run_in_process(
    leadership: Leadership, grace_s: float, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run the function in a spawned process; LeadershipLost if the leadership ended, or was about to, first."""
    tenure = leadership.tenure
    stop = StopSignal(tenure, grace_s)
    deadline = tenure.deadline
    if deadline is None:
        raise lost(leadership, tenure.loss or LossReason.DEADLINE)
    task = Task(
        module=function.__module__,
        qualified_name=function.__qualname__,
        args=args,
        kwargs=kwargs,
        election=leadership.election,
        id=leadership.id,
        token=leadership.token,
        ttl_s=leadership.ttl_s,
        deadline=deadline,
    )
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            # Import path and `__main__` first: the arguments may be of classes that are defined there.
            preparation = spawn.get_preparation_data("leasekit-job")
            preparation.pop("authkey", None)  # multiprocessing's own, which is not for us to send
            payload = _framed(pickle.dumps(preparation)) + _framed(_pickled(task, "the arguments"))
            theirs.set_inheritable(True)
            command = [sys.executable, "-c", _BOOT.format(fd=theirs.fileno())]
            guard = Guard(command, None, ttl_s=leadership.ttl_s, grace_s=grace_s, adopt=False)
            guard.begin(deadline)
        talk = _Talk(ours, payload)
        reason, end = _supervise(guard, talk, stop, tenure)
        outcome = talk.outcome()
    reason = reason or leadership.reason
    if reason is not None and (outcome is None or outcome.error is None or isinstance(outcome.error, SystemExit)):
        raise lost(leadership, reason)
    if outcome is None:
        how = f"with code {end.returncode}" if isinstance(end, Ended) else "early"
        raise ChildProcessError(f"the process of {function.__qualname__!r} ended {how}, without a result")
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def _supervise(guard: Guard, talk: _Talk, stop: StopSignal, tenure: Tenure) -> tuple[LossReason | None, End]:
    """Until the process and all that it started are gone. Returns why it was stopped (None: it was not), and its end."""
    reason: LossReason | None = None
    stopped = False
    try:
        while True:
            if not stopped and (reason := stop.reason) is not None:
                guard.stop()
                stopped = True
            if not stopped and (deadline := tenure.deadline) is not None:
                guard.extend(deadline)
                talk.extend(deadline)
            select.select([guard], [], [], guard.sleep_s())
            end = guard.step()
            if end is not None:
                if isinstance(end, Died | NotStarted) and reason is None:
                    reason = LossReason.DEADLINE if tenure.loss is None else tenure.loss
                return reason, end
    except BaseException:
        # Ctrl-C here: the work ends before the leadership is released.
        guard.stop()
        while guard.step() is None:
            select.select([guard], [], [], guard.sleep_s())
        raise
    finally:
        guard.close()


class _Talk:
    """The parent's end of the line: sends in one thread, collects the answer in another, and blocks nobody."""

    def __init__(self, line: socket.socket, payload: bytes) -> None:
        self._line = line
        self._deadline: Instant | None = None
        self._answer = b""
        self._sending = threading.Lock()
        self._sender = threading.Thread(target=self._send, args=(payload,), daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._sender.start()
        self._reader.start()

    def extend(self, deadline: Instant) -> None:
        """Tell the child of a later deadline, once it has its task."""
        if self._sender.is_alive() or deadline == self._deadline:
            return
        self._deadline = deadline
        self._send(_DEADLINE.pack(deadline.boot_s, deadline.raw_s))

    def outcome(self) -> Outcome | None:
        """What the child said before it ended; None if it said nothing whole."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
        self._reader.join()
        try:
            outcome = pickle.loads(self._answer)
        except Exception:  # noqa: BLE001 (a torn answer can fail to load in any way, and so can a class of the user's)
            return None
        return outcome if isinstance(outcome, Outcome) else None

    def _send(self, data: bytes) -> None:
        with self._sending, contextlib.suppress(OSError):
            self._line.sendall(data)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self._line.recv(65536):
                self._answer += chunk


def _framed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _pickled(value: object, what: str) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception as error:
        raise ConfigError("stop", f'with stop="process" {what} must be picklable: {error}') from error


# In the child.


def child(fd: int) -> None:
    """The spawned process's main: do the task that comes over `fd`, answer, end."""
    line = socket.socket(fileno=fd)
    line.set_inheritable(False)
    # So that `finally` blocks run between TERM and KILL.
    signal.signal(signal.SIGTERM, _terminated)
    outcome = _do(line)
    try:
        answer = pickle.dumps(outcome)
    except Exception as error:  # noqa: BLE001 (whatever the user's object raises)
        answer = pickle.dumps(Outcome(error=ConfigError("stop", f'with stop="process" the result is pickled: {error}')))
    line.sendall(answer)
    line.close()


def _terminated(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _do(line: socket.socket) -> Outcome:
    try:
        spawn.prepare(pickle.loads(_frame(line)))
        task: Task = pickle.loads(_frame(line))
        function = find(task.module, task.qualified_name)
        leadership = _Inherited(task, line)
        leadership._enter()
        return Outcome(result=function(*task.args, **task.kwargs))
    except BaseException as error:  # noqa: BLE001 (raised again in the parent)
        return Outcome(error=error)


def find(module: str, qualified_name: str) -> Any:
    """The function of that name. What stands under the name may be the decorated job; its function is beneath."""
    function: Any = sys.modules.get(module) or __import__(module, fromlist=["_"])
    for name in qualified_name.split("."):
        function = getattr(function, name)
    return getattr(function, "__wrapped__", function)


def _frame(line: socket.socket) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(line, _LENGTH.size))
    return _exactly(line, length)


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = line.recv(min(65536, size - len(data)))
        if not chunk:
            raise SystemExit("the parent went away before it had sent the task")
        data += chunk
    return data


class _Inherited(Leadership):
    """The parent's leadership, as the child sees it: it can be asked, and only the parent can let go of it."""

    def __init__(self, task: Task, line: socket.socket) -> None:
        self._belief = Belief(1, "parent's", task.ttl_s, task.deadline)
        tenure = Tenure(
            election=task.election,
            id=task.id,
            token=task.token,
            belief=lambda: self._belief,
            notice_deadline=lambda: None,
            clock=SYSTEM_CLOCK,
        )
        # Only what asks the core is withheld below.
        super().__init__(tenure, cast("ElectionCore", None))
        threading.Thread(target=self._listen, args=(line,), daemon=True).start()

    def _listen(self, line: socket.socket) -> None:
        with contextlib.suppress(SystemExit, OSError):
            while True:
                boot_s, raw_s = _DEADLINE.unpack(_exactly(line, _DEADLINE.size))
                self._belief = replace(self._belief, deadline=Instant(boot_s, raw_s))

    def resign(self, timeout_s: float = 0.0) -> None:
        """Not from here."""
        raise ConfigError("resign", "the parent process holds this leadership; return from the function instead")

    def transfer(self, to: str, timeout_s: float = 0.0) -> bool:
        """Not from here."""
        raise ConfigError("transfer", "the parent process holds this leadership; only it can hand it over")

    def __del__(self) -> None:
        """Nothing to resign."""
