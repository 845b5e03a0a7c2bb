"""Workers that are processes of this machine, one engine each: a GPU each, or some of the CPU's cores.

A plain child process with a pipe, and not `multiprocessing`: that would import the caller's main module over there, which
fails for scripts without a `__main__` guard, and it can be told neither the environment nor the session of a child.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing import Pipe
from typing import Any

from arhn_hf.engines.base import Request, Response
from arhn_hf.engines.worker import Build, Facts, Link, Worker, WorkerDied

_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from arhn_hf.engines.worker_main import serve; serve(int(sys.argv[1]))"
)
_LAST_WORDS = 5.0  # seconds between the end of a pipe and that of its process


class ProcessWorker(Worker):
    """A process of this machine that holds the engine `build` makes; `environment` is added to this process's own."""

    def __init__(self, name: str, build: Build, environment: Mapping[str, str] | None = None) -> None:
        self.name, self._build, self._environment = name, build, dict(environment or {})

    def start(self) -> ProcessLink:
        """See `Worker.start`."""
        return ProcessLink(self._build, self._environment)


class ProcessLink(Link):
    """One process. `send_raw` and `receive_raw` carry pickled messages, for those who only pass them on."""

    def __init__(self, build: Build, environment: Mapping[str, str]) -> None:
        ours, theirs = Pipe()
        self._pipe = ours
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), json.dumps(sys.path)], pass_fds=[theirs.fileno()],
                env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise WorkerDied(f"no process can be started ({error.strerror})") from error
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._sending = threading.Lock()
        threading.Thread(target=self._bury, name="arhn-process", daemon=True).start()
        with contextlib.suppress(OSError):  # dead already: `facts` says so
            ours.send_bytes(pickle.dumps(build))

    def facts(self) -> Facts:
        """See `Link.facts`."""
        kind, what = read_message(self.receive_raw())
        if kind == "refused":
            raise what
        facts: Facts = what
        return facts

    def send(self, requests: list[tuple[int, Request]]) -> None:
        """See `Link.send`."""
        self.send_raw(packed(requests))

    def receive(self) -> list[tuple[int, Response]]:
        """See `Link.receive`."""
        return unpacked(self.receive_raw())

    def send_raw(self, message: bytes) -> None:
        """`send`, pickled by `packed`."""
        try:
            with self._sending:
                self._pipe.send_bytes(message)
        except OSError as error:
            raise WorkerDied(self._reason()) from error

    def receive_raw(self) -> bytes:
        """`receive`, to be read by `unpacked`."""
        try:
            return self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise WorkerDied(self._reason()) from error

    def stop(self, grace: float) -> None:
        """See `Link.stop`: a process that is still starting has nothing to put away, and gets no grace."""
        with contextlib.suppress(OSError):
            if self._sending.acquire(timeout=grace):  # else its pipe is full and nobody reads it
                try:
                    self._pipe.send_bytes(pickle.dumps(None))
                finally:
                    self._sending.release()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        if self._process.poll() is None:  # else `_bury` has seen to it, and its number may be another's by now
            self._kill_group()
        self._process.wait()

    def _bury(self) -> None:
        """What the engine has started ends with it, and the pipe with the last who holds it."""
        self._process.wait()
        self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _reason(self) -> str:
        try:
            code = self._process.wait(_LAST_WORDS)
        except subprocess.TimeoutExpired:
            return "its pipe broke"
        if code >= 0:
            return f"its process ended with code {code}"
        name = signal.Signals(-code).name if -code in {one.value for one in signal.Signals} else f"signal {-code}"
        hint = ", as it does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{hint}"


def packed(requests: list[tuple[int, Request]]) -> bytes:
    """Numbered requests as a worker process reads them."""
    plain = [(number, one.kind, one.payload, one.attempt) for number, one in requests]
    return pickle.dumps(plain, protocol=pickle.HIGHEST_PROTOCOL)


def unpacked(message: bytes) -> list[tuple[int, Response]]:
    """Numbered responses out of a worker process's message. Raises `WorkerDied` if it says that."""
    done = read_message(message)[1]
    return [(number, Response(text, finish, usage)) for number, text, finish, usage in done]


def read_message(message: bytes) -> tuple[str, Any]:
    """Kind and content of a message; "died" raises `WorkerDied`."""
    kind, what = pickle.loads(message)  # noqa: S301 - from a process that this package started
    if kind == "died":
        raise WorkerDied(what)
    return kind, what
