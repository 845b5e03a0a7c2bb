"""What a fleet asks of a worker: an engine somewhere else, in a process of its own or on another machine.

A worker is started as often as it has to be; every start gives a new `Link`, so that nothing an earlier life still had
on its way can be taken for an answer of the present one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arhn_hf.engines.base import Engine, Request, Response

Build = Callable[[], Engine]
"""Makes the engine, over there: it must be picklable (a class, a `functools.partial` of one)."""
FITS = "fits?"
"""Kind of a request that only asks whether another one fits; its payload holds that one's `kind` and `payload`."""
YES, NO = "yes", "no"


class WorkerDied(Exception):
    """This life of a worker is over; the text says why."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine says of itself when it is ready. `context_tokens`: None if it does not say; `refuses`: whether its
    `fits` may ever say no; `version`: of this package, over there."""

    identity: dict[str, Any]
    about: dict[str, Any] | None
    context_tokens: int | None
    refuses: bool
    version: str


class Link(ABC):
    """One life of a worker. `stop` may be called from any thread, the others by one thread each."""

    @abstractmethod
    def facts(self) -> Facts:
        """Wait until the engine is ready. Raises `WorkerDied`, or `UsageError` for what the engine refuses."""

    @abstractmethod
    def send(self, requests: list[tuple[int, Request]]) -> None:
        """Hand over numbered requests. Raises `WorkerDied`."""

    @abstractmethod
    def receive(self) -> list[tuple[int, Response]]:
        """Wait for responses, by their requests' numbers. Raises `WorkerDied` once all that came before are given out."""

    @abstractmethod
    def stop(self, grace: float) -> None:
        """End it, at the latest after `grace` seconds; whoever waits in the others gets `WorkerDied`."""


class Worker(ABC):
    """A place where an engine can run. `name` is for people: "worker 2 (GPU 1)"."""

    name: str

    @abstractmethod
    def start(self) -> Link:
        """Start the engine; returns before it is ready. Raises `WorkerDied` if not even that works."""
