"""Several engines as one: each kind of request has an engine of its own.

Why it exists: a judge may read passages with one model and rank them with another, while a run has one engine, one
queue and one store. A response is kept under the identity of the engine that gave it, so that other rankers, and the
first engine alone, find it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future

from arhn_hf.engines.base import Engine, KeyMaker, Request, Response


class RoutedKeys(KeyMaker):
    """Names a request as the engine of its kind alone would."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._makers = {kind: KeyMaker(engine.identity) for kind, engine in engines.items()}

    def key(self, request: Request) -> bytes:
        """See `KeyMaker.key`."""
        return self._makers[request.kind].key(request)


class RoutedEngine(Engine):
    """`engines` by kind of request; `identity` holds theirs by kind."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = dict(engines)
        self.identity = {kind: engine.identity for kind, engine in self._engines.items()}
        self.keys = RoutedKeys(self._engines)

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`."""
        return self._engines[request.kind].submit(request)

    def fits(self, request: Request) -> bool:
        """See `Engine.fits`."""
        return self._engines[request.kind].fits(request)

    def hangs_at(self, request: Request) -> str:
        """See `Engine.hangs_at`."""
        return self._engines[request.kind].hangs_at(request)

    def is_away(self) -> bool:
        """See `Engine.is_away`."""
        return any(engine.is_away() for engine in self._engines.values())

    def close(self) -> None:
        """See `Engine.close`."""
        for engine in self._engines.values():
            engine.close()
