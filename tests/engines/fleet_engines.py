"""Engines for worker processes, which do what a request's payload says: answer, be slow, die, fail.

Each call is a line in a file that survives kill -9, so that a test can count what was asked for, and of whom.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from arhn_hf.engines.base import Engine, EngineError, Request, Response
from arhn_hf.records import UsageError


class Obedient(Engine):
    """Answers with the payload's `n` and its own process id after `delay` seconds."""

    def __init__(self, calls: str, *, delay: float = 0.0, name: str = "obedient", threads: int = 8) -> None:
        self.identity = {"engine": name}
        self.about = {"kind": name, "model": name, "revision": None}
        self._calls = os.open(calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._delay = delay
        self._pool = ThreadPoolExecutor(threads)

    def submit(self, request: Request) -> Future[Response]:
        os.write(self._calls, f"{os.getpid()} {request.payload['n']}\n".encode())
        return self._pool.submit(self._answer, request.payload)

    def _answer(self, payload: dict[str, Any]) -> Response:
        if payload.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if payload.get("fail"):
            raise EngineError("the GPU is gone")
        time.sleep(self._delay)
        return Response(f"{payload['n']} {os.getpid()}", "stop", {"prompt": 1})


class Narrow(Obedient):
    """What is longer than three does not fit; it does not say how long is too long."""

    def fits(self, request: Request) -> bool:
        return int(request.payload["n"]) <= 3


class Doomed(Obedient):
    """Dies at every request."""

    def submit(self, request: Request) -> Future[Response]:
        request.payload["die"] = True
        return super().submit(request)


class OnceOnly(Obedient):
    """The second life of a worker finds the mark of the first, and does not start."""

    def __init__(self, calls: str, mark: str, **options: Any) -> None:
        mine = Path(f"{mark}-{os.environ['WORKER']}")
        if mine.exists():
            raise RuntimeError("the GPU fell off the bus")
        mine.touch()
        super().__init__(calls, **options)


class Refusing(Obedient):
    """Refuses its model."""

    def __init__(self) -> None:
        raise UsageError("knows no such model", where="--model x", hint="Take another one")


class Crashing(Obedient):
    """Dies while it loads."""

    def __init__(self) -> None:
        os._exit(7)


class Differing(Obedient):
    """Another engine in every process."""

    def __init__(self, calls: str) -> None:
        super().__init__(calls, name=f"engine {os.getpid()}")


class Placed(Engine):
    """Says where it is; answers nothing."""

    def __init__(self) -> None:
        self.identity = dict(os.environ)

    def submit(self, request: Request) -> Future[Response]:
        raise NotImplementedError


class Parental(Obedient):
    """Has a child of its own, as vLLM has, whose number it writes down."""

    def __init__(self, calls: str, **options: Any) -> None:
        super().__init__(calls, **options)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        os.write(self._calls, f"{child.pid} child\n".encode())


def lines(calls: Path) -> list[list[str]]:
    """Process id and what was asked, a call each."""
    return [line.split() for line in calls.read_text().splitlines()] if calls.exists() else []


def alive(pid: int) -> bool:
    """Whether a process runs: what has ended and waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main() -> None:
    """Keep a fleet busy until killed: `fleet_engines.py CALLS`."""
    from functools import partial

    from fleet_engines import Parental as Importable  # what is defined in a script is unknown to other processes

    from arhn_hf.engines.fleet import Fleet
    from arhn_hf.engines.processes import ProcessWorker

    build = partial(Importable, sys.argv[1], delay=0.05)
    fleet = Fleet([ProcessWorker(f"worker {n}", build) for n in (1, 2)], max_in_flight=8)
    for n in range(100_000):
        fleet.submit(Request("answer", {"n": n}))
    time.sleep(600)


if __name__ == "__main__":
    main()
