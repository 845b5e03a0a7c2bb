"""Ask an engine through the durable store: look up, join identical requests in flight, send, wait until it is on disk.

It sits between the judges (which render and parse) and the engines (which answer), and is the only place where a
request is counted, so that `requests{from_store, sent}` cannot disagree with what happened.

The requests of all rows stand in one line. While fewer than `max_in_flight` are in flight the line moves: a group is
looked up in the store with one query, and what is neither stored nor in flight is sent. A look-up and a semaphore for
every row, as one would write it first, cost more time than everything else in a stage.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from arhn_hf.engines.base import NOT_KEPT, Engine, EngineError, KeyMaker, Request, Response
from arhn_hf.monitor import Counts, Interrupted
from arhn_hf.records import ArhnError
from arhn_hf.store import Store

_LOOK_UP = 512  # requests looked up in the store with one query, at most

ROW: ContextVar[int | None] = ContextVar("row", default=None)
"""The source row that the running task judges; stages set it, so that a request that hangs can be named."""


@dataclass(slots=True)
class _Asked:
    """One call of `ask`: its responses as they come, how many are missing, and the future that ends when none is."""

    responses: list[Any]
    missing: int
    done: asyncio.Future[None]
    row: int | None = None

    def receive(self, place: int, response: Response) -> None:
        self.responses[place] = response
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
    place: int


@dataclass(slots=True)
class Oldest:
    """The request that has been in flight for longest: `age` in seconds, `place` of `of` requests of its row, `stored`
    if only its commit is missing."""

    request: Request
    age: float
    row: int | None
    place: int
    of: int
    stored: bool


class Asker:
    """`await ask(requests)` → raw responses, each of them on disk before it is returned.

    One asker serves a whole run; its bookkeeping belongs to whichever event loop is running (`Dataset.map` makes a new
    one per call). At most `max_in_flight` requests are with the engine or waiting for their commit.
    """

    def __init__(self, engine: Engine, store: Store, *, max_in_flight: int, stop: threading.Event) -> None:
        self.engine, self.store, self.stop = engine, store, stop
        self.counts = Counts()
        self._limit = max_in_flight
        self._keys = KeyMaker(engine.identity)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._line: deque[_Wanted] = deque()
        self._in_flight: dict[bytes, list[_Wanted]] = {}  # by key, everybody who waits for that response
        self._since: dict[bytes, float] = {}  # by key, oldest first: when it was sent
        self._to_store: set[bytes] = set()  # answered, and not yet committed
        self.finished = 0  # responses resolved: what a stall is measured by
        self._moving = False
        self._ended: Exception | None = None  # what ended the run: nothing is sent after it
        self.beside: list[Asker] = []  # askers of judges that work with this one's: stopped and closed with it

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Responses in the order of `requests`. Raises `EngineError`, `StoreError` or `Interrupted`: the run ends."""
        if self.stop.is_set():
            raise Interrupted
        if self._ended is not None:
            raise self._ended
        if not requests:
            return []
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._line, self._in_flight, self._moving = loop, deque(), {}, False
            self._since, self._to_store = {}, set()
        asked = _Asked([None] * len(requests), len(requests), loop.create_future(), ROW.get())
        for place, request in enumerate(requests):
            self.counts.by_kind[request.kind] = self.counts.by_kind.get(request.kind, 0) + 1
            self._line.append(_Wanted(self._keys.key(request), request, asked, place))
        if not self._moving:  # once for all the rows that ask in this turn of the loop
            self._moving = True
            loop.call_soon(self._move)
        self.counts.asking += 1
        try:
            await asked.done
        finally:
            self.counts.asking -= 1
        return asked.responses

    def _move(self) -> None:
        """In the event loop: let the line move while there are free places."""
        self._moving = False
        try:
            while self._line and len(self._in_flight) < self._limit:
                if self.stop.is_set():
                    raise Interrupted
                self._serve(min(len(self._line), self._limit - len(self._in_flight), _LOOK_UP))
        except Exception as error:  # noqa: BLE001 - nobody awaits this call: those who wait must hear of it
            self._end(error)

    def _serve(self, count: int) -> None:
        """The first `count` in line: answered from the store, joined to an identical request in flight, or sent."""
        group = list(islice(self._line, count))
        stored = self.store.get([wanted.key for wanted in group if wanted.key not in self._in_flight])
        for wanted in group:
            if wanted.key in stored:
                self.counts.from_store += 1
                wanted.asked.receive(wanted.place, stored[wanted.key])
            elif wanted.key in self._in_flight:
                self.counts.joined += 1
                self._in_flight[wanted.key].append(wanted)
            else:
                self._in_flight[wanted.key] = [wanted]
                self._since[wanted.key] = time.monotonic()
                self._send(wanted.key, wanted.request)
            self._line.popleft()

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
        """In an engine's thread: hand the response to the store. What failed is not stored: a later run asks again."""
        error = answered.exception() if not answered.cancelled() else EngineError("the engine stopped")
        if error is not None:
            self._call([(key, None, _as_engine_error(error))])
            return
        try:
            response = _storable(answered.result())
        except Exception as broken:  # noqa: BLE001 - an engine that breaks its contract: nobody must wait for ever
            self._call([(key, None, _as_engine_error(broken))])
            return
        if response.finish_reason in NOT_KEPT:
            self._call([(key, response, None)])
        else:
            self._to_store.add(key)
            self.store.put(key, response, self._committed, (key, response))

    def _committed(self, group: list[Any]) -> None:
        """In the store's thread, once per committed group."""
        failure = self.store.failure
        self._call([(key, None if failure else response, failure) for key, response in group])

    def _call(self, outcomes: list[tuple[bytes, Response | None, ArhnError | None]]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the run has ended and nobody waits
                loop.call_soon_threadsafe(self._resolve, outcomes)

    def _resolve(self, outcomes: list[tuple[bytes, Response | None, ArhnError | None]]) -> None:
        """In the event loop: wake whoever waits, then let the line move. A dead engine or store wakes everybody."""
        for key, response, error in outcomes:
            if error is not None:
                self._end(error)
                return
            waiting = self._in_flight.pop(key, ())
            self._since.pop(key, None)
            self._to_store.discard(key)
            self.finished += 1
            if response is None or not waiting:
                continue
            self.counts.answered += 1
            if response.finish_reason != "stop":
                self.counts.failed[response.finish_reason] = self.counts.failed.get(response.finish_reason, 0) + 1
            for name, count in response.usage.items():
                self.counts.tokens[name] = self.counts.tokens.get(name, 0) + count
            for wanted in waiting:
                wanted.asked.receive(wanted.place, response)
        self._move()

    @property
    def everyone(self) -> list[Asker]:
        """This asker and those beside it."""
        return [self, *self.beside]

    def interrupt(self) -> None:
        """From any thread: everything that waits stops waiting."""
        self.stop.set()
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._end, Interrupted())

    def fail(self, error: ArhnError) -> None:
        """From any thread: the run has failed, and everything that waits hears so."""
        self._ended = error
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._end, error)

    def in_flight(self) -> int:
        """From any thread: requests sent and not yet stored."""
        return len(self._in_flight)

    def oldest(self) -> Oldest | None:
        """From any thread: the request that has been in flight for longest."""
        while True:
            try:
                key, since = next(iter(self._since.items()))
                wanted = self._in_flight[key][0]
            except StopIteration:
                return None
            except (KeyError, RuntimeError):  # it came back this very moment
                continue
            age, asked = time.monotonic() - since, wanted.asked
            return Oldest(wanted.request, age, asked.row, wanted.place + 1, len(asked.responses), key in self._to_store)

    def _end(self, error: Exception) -> None:
        """In the event loop: nothing is sent any more, and whoever waits or asks hears why."""
        self._ended = error
        for wanted in (*self._line, *(one for waiting in self._in_flight.values() for one in waiting)):
            wanted.asked.fail(error)
        self._line.clear()
        self._in_flight.clear()
        self._since.clear()
        self._to_store.clear()


def _as_engine_error(error: BaseException) -> ArhnError:
    if isinstance(error, ArhnError):
        return error
    return EngineError(f"the engine failed ({error.__class__.__name__}: {error})")


def _storable(response: Response) -> Response:
    """The response as the store can keep it: lone surrogates, which SQLite refuses, become question marks.

    Raises `EngineError` for a response that breaks the engine's contract.
    """
    if not isinstance(response.text, str) or not all(isinstance(count, int) for count in response.usage.values()):
        raise EngineError("the engine gave a response without a text, or with a usage that is not made of numbers")
    if response.text.isascii():
        return response
    return replace(response, text=response.text.encode("utf-8", "replace").decode())
