"""Workers on the machines of a Ray cluster, one actor each.

An actor only keeps a worker process (`processes`) on its machine and passes messages on. So the engine sees nothing of
Ray, and nothing of it stays on a GPU when the actor, its machine's Ray or the whole run is killed: the process ends
with the pipe. Ray itself restarts nothing: the fleet knows which requests were lost, and starts the worker again
wherever there is room. Imported only when it is asked for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from arhn_hf.engines.base import EngineError, Request, Response
from arhn_hf.engines.processes import ProcessWorker, packed, unpacked
from arhn_hf.engines.worker import Build, Facts, Link, Worker, WorkerDied
from arhn_hf.records import UsageError

HOW_TO_INSTALL = 'Install it with: pip install "arhn-hf[ray]"'
ANSWERS_WITHIN = 30.0
"""Seconds a cluster gets to answer."""
ROOM_WITHIN = 300.0
"""Seconds until there must be room for a worker."""
_PORT = 6379  # where a cluster's head listens, unless told otherwise
_POLL = 1.0  # seconds
_TRY = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"


class Keeper:
    """The actor: keeps one worker process and passes messages on, pickled as they are."""

    def __init__(self, build: Build) -> None:
        self._link = ProcessWorker("", build).start()

    def where(self) -> str:
        """The machine it is on."""
        import ray

        return str(ray.util.get_node_ip_address())

    def facts(self) -> Facts:
        """See `Link.facts`."""
        return self._link.facts()

    def send(self, message: bytes) -> None:
        """See `Link.send`."""
        self._link.send_raw(message)

    def receive(self) -> bytes:
        """See `Link.receive`."""
        return self._link.receive_raw()

    def stop(self, grace: float) -> None:
        """See `Link.stop`."""
        self._link.stop(grace)


class Cluster:
    """A connection to the cluster at `address` (None: the one this machine belongs to, or a new one on it).

    Raises `UsageError` if Ray is not installed, or if nothing answers there within `ANSWERS_WITHIN` seconds.
    """

    def __init__(self, address: str | None) -> None:
        try:
            import ray
            from ray import is_initialized  # a folder of that name is no Ray
        except ImportError as error:
            raise UsageError("Ray is not installed", where="--executor ray", hint=HOW_TO_INSTALL) from error
        self._ray, self._ours = ray, not is_initialized()
        if not self._ours:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of our own reports nothing to anybody
        if address not in (None, "local"):
            _refuse_silence(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True)
        except Exception as error:
            raise UsageError(f"Ray refuses: {_last_line(str(error))}", where=f"--ray-address {address}") from error

    def workers(
        self, build: Build, count: int | None, *, gpus: int, stop: threading.Event | None = None
    ) -> list[Worker]:
        """`count` workers (None: as many as there is room for) of `gpus` GPUs each, or of one CPU where that is 0.

        Raises `UsageError` if the cluster is too small for them.
        """
        kind, each = ("GPU", gpus) if gpus else ("CPU", 1)
        room = sum(int(node["Resources"].get(kind, 0)) // each for node in self._ray.nodes() if node["Alive"])
        if room < (count or 1):
            raise UsageError(
                f"the cluster has {kind}s for {room} engines of {each}", where=f"--workers {count or 'for all of it'}",
                hint="`ray status` lists what it has",
            )  # fmt: skip
        resources = {"num_gpus": gpus, "num_cpus": 0} if gpus else {"num_cpus": 1}
        made = self._ray.remote(Keeper).options(
            max_concurrency=4, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", **resources
        )
        return [RayWorker(self._ray, made, build, number, stop) for number in range(1, (count or room) + 1)]

    def close(self) -> None:
        """Leave the cluster; one that was started for this run ends."""
        if self._ours:
            self._ray.shutdown()


class RayWorker(Worker):
    """One actor of a cluster, on whichever machine has room."""

    def __init__(self, ray: Any, actor: Any, build: Build, number: int, stop: threading.Event | None) -> None:
        self._ray, self._actor, self._build, self._number, self._stop = ray, actor, build, number, stop
        self.name = f"worker {number}"

    def start(self) -> RayLink:
        """See `Worker.start`."""
        return RayLink(self._ray, self._actor.remote(self._build), self._settle, self._stop)

    def _settle(self, machine: str) -> None:
        self.name = f"worker {self._number} on {machine}"


class RayLink(Link):
    """One life of an actor."""

    def __init__(self, ray: Any, actor: Any, settle: Any, stop: threading.Event | None) -> None:
        self._ray, self._actor, self._settle, self._interrupted = ray, actor, settle, stop

    def facts(self) -> Facts:
        """See `Link.facts`. Whether there is room is known soon; how long a model takes to load is not."""
        asked, end = self._actor.where.remote(), time.monotonic() + ROOM_WITHIN
        while not self._ray.wait([asked], timeout=_POLL)[0]:
            if time.monotonic() > end:
                raise WorkerDied(f"no machine of the cluster had room for it within {ROOM_WITHIN:.0f} s")
            if self._interrupted is not None and self._interrupted.is_set():
                raise WorkerDied("the run was interrupted")
        self._settle(self._get(asked))
        facts: Facts = self._get(self._actor.facts.remote())
        return facts

    def send(self, requests: list[tuple[int, Request]]) -> None:
        """See `Link.send`."""
        self._get(self._actor.send.remote(packed(requests)))

    def receive(self) -> list[tuple[int, Response]]:
        """See `Link.receive`."""
        return unpacked(self._get(self._actor.receive.remote()))

    def stop(self, grace: float) -> None:
        """See `Link.stop`."""
        with contextlib.suppress(self._ray.exceptions.RayError):  # dead already
            if grace:
                self._ray.wait([self._actor.stop.remote(grace)], timeout=grace)
            self._ray.kill(self._actor)

    def _get(self, asked: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(asked)
        except errors.RayTaskError as error:  # raised over there
            if isinstance(error.cause, (WorkerDied, UsageError)):
                raise error.cause from None
            raise WorkerDied(_last_line(str(error))) from error
        except errors.RayActorError as error:
            raise WorkerDied(_reason(str(error))) from error
        except errors.RayError as error:
            raise EngineError(
                f"Ray failed: {_last_line(str(error))}", hint="Finished requests are kept: the same command goes on"
            ) from error


def _refuse_silence(address: str) -> None:
    """Raise `UsageError` unless a cluster answers: `ray.init` itself would wait for minutes, and write about it.

    Tried in a process of its own, which can be ended.
    """
    where, hint = (
        f"--ray-address {address}",
        "Give HOST:PORT of the head, on a machine of the cluster; `ray status` there",
    )
    if "://" in address:
        raise UsageError("Ray clients are not supported", where=where, hint=hint)
    if address != "auto":
        host, _, port = address.rpartition(":")
        host, port = (host, port) if host else (address, str(_PORT))
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise UsageError("is not HOST:PORT", where=where)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN / 3).close()
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"nothing answers there ({reason})", where=where, hint=hint) from error
    trial = [sys.executable, "-c", _TRY, address]
    try:
        done = subprocess.run(trial, capture_output=True, text=True, timeout=ANSWERS_WITHIN, check=False)
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"no Ray cluster answers there within {ANSWERS_WITHIN:.0f} s", where=where, hint=hint
        ) from error
    if done.returncode:
        raise UsageError(f"Ray refuses: {_last_line(done.stderr)}", where=where, hint=hint)


def _last_line(text: str) -> str:
    """Where Ray's long errors say what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it does not say why"


def _reason(text: str) -> str:
    """Why an actor died, out of the paragraph in which Ray says it."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if "creation task" in text and lines:
        return lines[-1][:300]
    said = [line for line in lines if not line.startswith(("class_name", "actor_id", "pid", "namespace", "ip:"))]
    return " ".join(said)[:300] or "its actor died"
