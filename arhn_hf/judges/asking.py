"""Ask an engine through the durable store: look up, join identical requests in flight, send, wait until it is on disk.

It sits between the judges (which render and parse) and the engines (which answer), and is the only place where a request is
counted, so that `requests{from_store, sent}` cannot disagree with what happened.

Requests of all rows stand in one line. Whenever there are free places the line moves: a group is looked up in the store with one
query, and what is neither stored nor in flight is sent. That costs a tenth of a look-up and a semaphore per row.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from arhn_hf.engines.base import Engine, EngineError, KeyMaker, Request, Response
from arhn_hf.monitor import Counts, Interrupted
from arhn_hf.records import ArhnError
from arhn_hf.store import Store

_LOOK_UP = 512  # requests looked up in the store with one query, at most


@dataclass(slots=True)
class _Asked:
    """One call of `ask`: its responses as they come, how many are missing, and the future that ends when none is."""

    responses: list[Any]
    missing: int
    done: asyncio.Future[None]

    def receive(self, index: int, response: Response) -> None:
        self.responses[index] = response
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # seen: a waiter that was cancelled leaves no warning behind


class _Wanted(NamedTuple):
    """One request in line: whose it is, and which of that call's requests."""

    key: bytes
    request: Request
    asked: _Asked
    index: int


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
        self._line: deque[_Wanted] = deque()
        self._in_flight: dict[bytes, list[_Wanted]] = {}  # by key, everybody who waits for that response
        self._moving = False

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Responses in the order of `requests`. Raises `EngineError`, `StoreError` or `Interrupted`; those end the run."""
        if self.stop.is_set():
            raise Interrupted
        if not requests:
            return []
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._line, self._in_flight, self._moving = loop, deque(), {}, False
        asked = _Asked([None] * len(requests), len(requests), loop.create_future())
        for index, request in enumerate(requests):
            self.counts.by_kind[request.kind] = self.counts.by_kind.get(request.kind, 0) + 1
            self._line.append(_Wanted(self._keys.key(request), request, asked, index))
        if not self._moving:  # once for all the rows that ask in this turn of the loop
            self._moving = True
            loop.call_soon(self._move)
        await asked.done
        return asked.responses

    def _move(self) -> None:
        """In the event loop: let the line move while there are free places."""
        self._moving = False
        try:
            while self._line and len(self._in_flight) < self._limit:
                if self.stop.is_set():
                    raise Interrupted
                count = min(len(self._line), self._limit - len(self._in_flight), _LOOK_UP)
                self._serve([self._line.popleft() for _ in range(count)])
        except Exception as error:  # noqa: BLE001 - nobody awaits this call: whoever waits for a response must hear of it
            self._release_all(error)

    def _serve(self, group: list[_Wanted]) -> None:
        stored = self.store.get([wanted.key for wanted in group if wanted.key not in self._in_flight])
        for wanted in group:
            if wanted.key in stored:
                self.counts.from_store += 1
                wanted.asked.receive(wanted.index, stored[wanted.key])
            elif wanted.key in self._in_flight:
                self.counts.joined += 1
                self._in_flight[wanted.key].append(wanted)
            else:
                self._in_flight[wanted.key] = [wanted]
                self._send(wanted.key, wanted.request)

    def _send(self, key: bytes, request: Request) -> None:
        self.counts.sent += 1
        if request.attempt > 1:
            self.counts.retried += 1
        try:
            sent = self.engine.submit(request)
        except Exception as error:  # whatever it is, everybody who waits must hear of it
            raise _as_engine_error(error) from error
        sent.add_done_callback(partial(self._answered, key))

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
        """In the event loop: wake whoever waits, then let the line move. A dead engine or store wakes everybody."""
        for key, response, error in outcomes:
            waiting = self._in_flight.pop(key, ())
            if response is not None and waiting:
                for name, count in response.usage.items():
                    self.counts.tokens[name] = self.counts.tokens.get(name, 0) + count
            for wanted in waiting:
                if error is not None:
                    wanted.asked.fail(error)
                elif response is not None:
                    wanted.asked.receive(wanted.index, response)
        self._move()

    def interrupt(self) -> None:
        """From any thread: everything that waits stops waiting."""
        self.stop.set()
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._release_all, Interrupted())

    def _release_all(self, error: Exception) -> None:
        for wanted in (*self._line, *(one for waiting in self._in_flight.values() for one in waiting)):
            wanted.asked.fail(error)
        self._line.clear()
        self._in_flight.clear()


def _as_engine_error(error: BaseException) -> ArhnError:
    if isinstance(error, ArhnError):
        return error
    return EngineError(f"the engine failed ({error.__class__.__name__}: {error})")
