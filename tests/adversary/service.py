"""The HTTP service of the suite: `POST /guarded/ROUND` and `POST /plain/ROUND` append the body to the file ROUND.

Usage: python -m adversary.service FOLDER. Writes its address to FOLDER/address. `/guarded` stands behind a WsgiFence that is held until the
answer was sent (`hold=True`), its marks in a FileFence per round.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from adversary.writers import LOCK_TIMEOUT_S
from leasekit.fencing import FileFence, WsgiFence

BODY_BYTES_MAX = 4096


class Threaded(ThreadingMixIn, WSGIServer):
    """A thread per request: one that waits for its body keeps nobody waiting but those behind the same guard."""

    daemon_threads = True
    request_queue_size = 64


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        return


class Service:
    """The application."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fences: dict[str, WsgiFence] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        _, kind, name = environ["PATH_INFO"].split("/")
        app = self._fence(name) if kind == "guarded" else self._append
        return _Drained(app(environ, start_response), environ)

    def _fence(self, name: str) -> WsgiFence:
        with self._lock:
            if name not in self._fences:
                guard = FileFence(name, self._folder / f"{name}.marks", lock_timeout_s=LOCK_TIMEOUT_S)
                self._fences[name] = WsgiFence(self._append, guard, hold=True)
            return self._fences[name]

    def _append(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ["CONTENT_LENGTH"])
        body = environ["wsgi.input"].read(length)
        if len(body) < length:
            # The client died between head and body.
            start_response("400 Bad Request", [("Content-Length", "0")])
            return [b""]
        environ["adversary.read"] = True
        name = environ["PATH_INFO"].rpartition("/")[2]
        file = os.open(self._folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, body + b"\n")
        finally:
            os.close(file)
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]


class _Drained:
    """An answer after which the rest of the request is read: closing on unread data would throw the answer away."""

    def __init__(self, answer: Iterable[bytes], environ: dict[str, Any]) -> None:
        self._answer = answer
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        if hasattr(self._answer, "close"):
            self._answer.close()
        if "adversary.read" not in self._environ:
            self._environ["wsgi.input"].read(min(int(self._environ["CONTENT_LENGTH"]), BODY_BYTES_MAX))


def main() -> None:
    folder = Path(sys.argv[1])
    with make_server("127.0.0.1", 0, Service(folder), server_class=Threaded, handler_class=Quiet) as server:
        new = folder / "address.new"
        new.write_text(f"127.0.0.1:{server.server_port}")
        new.rename(folder / "address")
        server.serve_forever()


if __name__ == "__main__":
    main()
