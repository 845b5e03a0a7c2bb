"""What an engine is: rendered request in, raw response out, and nothing known of retrieval.

An engine owns its threads (and event loop, if it has one) and takes `submit(request) → Future`. Everything above it, the durable
store included, works the same whatever the engine is.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from arhn_hf.records import ArhnError

NOT_KEPT = ("error", "too_long")
"""Finish reasons of requests that were not answered: they are not stored, and a later run asks again."""


class EngineError(ArhnError):
    """The engine as a whole failed: the run ends with exit 1 and everything finished is kept."""


@dataclass(frozen=True, slots=True)
class Request:
    """One rendered request. `payload` is plain JSON (what exactly is sent); `attempt` tells a repeated one apart."""

    kind: str
    payload: dict[str, Any]
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Response:
    """One raw response: the text as the engine gave it, why it ended (`stop`, `length`, `refused`, `error`, or
    `too_long` for a prompt the model's context cannot hold), what it cost."""

    text: str
    finish_reason: str = "stop"
    usage: dict[str, int] = field(default_factory=dict)


class Engine(ABC):
    """Rendered request → raw response."""

    about: dict[str, Any]
    """What `arhn.json` and the card say of an LLM behind this engine."""
    identity: dict[str, Any]
    """Engine kind, model identity, dtype, quantisation, sampling: whatever changes answers. Part of every request's key."""

    @abstractmethod
    def submit(self, request: Request) -> Future[Response]:
        """Queue one request; never blocks for long. A request the engine rejects resolves to a response with one of
        the finish reasons `NOT_KEPT`; a dead engine sets `EngineError` as the future's exception."""

    def fits(self, request: Request) -> bool:
        """Whether prompt and reply fit into the model's context; engines that cannot tell say yes."""
        return True

    def hangs_at(self, request: Request) -> str:
        """Where a person must look if this request never comes back: the model, the endpoint, the worker."""
        model = self.identity.get("model")
        return f"{self.identity.get('engine', 'engine')}{f' ({model})' if model else ''}"

    def is_away(self) -> bool:
        """Whether the engine knows why nothing comes and ends that by itself, as with a server that is waited for."""
        return False

    def close(self) -> None:  # noqa: B027 - an engine without threads has nothing to stop
        """Stop the engine's threads; futures that are still open are cancelled."""


def canonical(value: Any) -> bytes:
    """JSON bytes that are equal for equal values (sorted keys, UTF-8; lone surrogates escaped)."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


class KeyMaker:
    """sha256 over engine identity, request kind, attempt and payload: the name under which a raw response is kept."""

    def __init__(self, identity: dict[str, Any]) -> None:
        self._prefix = hashlib.sha256(canonical(identity) + b"\0")

    def key(self, request: Request) -> bytes:
        """32 bytes that name the request."""
        digest = self._prefix.copy()
        digest.update(f"{request.kind}\0{request.attempt}\0".encode())
        digest.update(canonical(request.payload))
        return digest.digest()
