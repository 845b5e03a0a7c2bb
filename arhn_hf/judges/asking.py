"""Ask an engine through the durable store: look up, join identical requests in flight, send, wait until it is on disk.

It sits between the judges (which render and parse) and the engines (which answer), and is the only place where a request is
counted, so that `requests{from_store, sent}` cannot disagree with what happened.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from arhn_hf.engines.base import Engine, EngineError, KeyMaker, Request, Response
from arhn_hf.monitor import Counts, Interrupted
from arhn_hf.records import ArhnError
from arhn_hf.store import Store


class Asker:
    """`await ask(requests)` → raw responses, each of them on disk before it is returned.

    One asker serves a whole run; its bookkeeping belongs to whichever event loop is running (`Dataset.map` makes a new one per
    call). At most `max_in_flight` requests are with the engine or waiting for their commit.
    """

    def __init__(self, engine: Engine, store: Store, *, max_in_flight: int, stop: threading.Event) -> None:
        self.engine, self.store, self.stop = engine, store, stop
        self.counts = Counts()
        self._limit = max_in_flight
        self._keys = KeyMaker(engine.identity)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[bytes, asyncio.Future[Response]] = {}
        self._places = asyncio.Semaphore(max_in_flight)

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Responses in the order of `requests`. Raises `EngineError`, `StoreError` or `Interrupted`; those end the run."""
        if self.stop.is_set():
            raise Interrupted
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._waiting, self._places = loop, {}, asyncio.Semaphore(self._limit)
        keys = [self._keys.key(request) for request in requests]
        for request in requests:
            self.counts.by_kind[request.kind] = self.counts.by_kind.get(request.kind, 0) + 1
        stored = self.store.get([key for key in keys if key not in self._waiting])
        self.counts.from_store += len(stored)
        mine: dict[bytes, asyncio.Future[Response]] = {}
        unsent: list[tuple[bytes, Request]] = []
        # Every key is known as waiting before the first await: identical requests join it instead of being sent again.
        for key, request in zip(keys, requests, strict=True):
            if key in stored or key in mine:
                continue
            if key in self._waiting:
                self.counts.joined += 1
            else:
                self._waiting[key] = loop.create_future()
                unsent.append((key, request))
            mine[key] = self._waiting[key]
        for key, request in unsent:
            await self._places.acquire()
            if self.stop.is_set():
                raise Interrupted
            self._send(key, request)
        return [stored[key] if key in stored else await asyncio.shield(mine[key]) for key in keys]

    def _send(self, key: bytes, request: Request) -> None:
        self.counts.sent += 1
        if request.attempt > 1:
            self.counts.retried += 1
        sent = self.engine.submit(request)
        sent.add_done_callback(lambda answered: self._answered(key, answered))

    def _answered(self, key: bytes, answered: Future[Response]) -> None:
        """In an engine's thread: hand the response to the store; a request that failed is not stored, so a later run asks again."""
        error = answered.exception() if not answered.cancelled() else EngineError("the engine stopped")
        if error is not None:
            self._call([(key, None, _as_engine_error(error))])
            return
        response = answered.result()
        if response.finish_reason == "error":
            self._call([(key, response, None)])
        else:
            self.store.put(key, response, self._committed, (key, response))

    def _committed(self, group: list[Any]) -> None:
        """In the store's thread, once per committed group."""
        failure = self.store.failure
        self._call([(key, None if failure else response, failure) for key, response in group])

    def _call(self, outcomes: list[tuple[bytes, Response | None, ArhnError | None]]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._resolve, outcomes)

    def _resolve(self, outcomes: list[tuple[bytes, Response | None, ArhnError | None]]) -> None:
        """In the event loop: wake whoever waits. A dead engine or store wakes everybody."""
        for key, response, error in outcomes:
            waiting = self._waiting.pop(key, None)
            if waiting is None:
                continue
            self._places.release()
            if error is not None:
                _fail(waiting, error)
            elif response is not None and not waiting.done():
                for name, count in response.usage.items():
                    self.counts.tokens[name] = self.counts.tokens.get(name, 0) + count
                waiting.set_result(response)

    def interrupt(self) -> None:
        """From any thread: everything that waits stops waiting."""
        self.stop.set()
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._release_all)

    def _release_all(self) -> None:
        for waiting in self._waiting.values():
            _fail(waiting, Interrupted())
        self._waiting.clear()
        for _ in range(self._limit):
            self._places.release()


def _fail(waiting: asyncio.Future[Response], error: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(error)
        waiting.exception()  # seen: a waiter that was cancelled leaves no warning behind


def _as_engine_error(error: BaseException) -> ArhnError:
    if isinstance(error, ArhnError):
        return error
    return EngineError(f"the engine failed ({error.__class__.__name__}: {error})")
