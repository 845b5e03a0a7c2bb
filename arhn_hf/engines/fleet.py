"""Several workers as one engine: the least loaded one gets the next request, and a worker's death costs nothing but time.

Why it exists: several GPUs, or machines, are several engines, while a run has one queue and one store. All the scheduling
is here, the same for processes (`processes`) and for machines (`ray`), and knows nothing of either.

When a worker dies its requests go to the others and it is started again. A request that was there at several deaths is
marked as failed, and the run goes on; `line` sees to it that nobody is marked for a neighbour.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from arhn_hf import __version__
from arhn_hf.engines.base import Engine, EngineError, Request, Response
from arhn_hf.engines.chat import surely_fits
from arhn_hf.engines.line import DEATHS, Line, Seat, Task
from arhn_hf.engines.worker import FITS, YES, Facts, Link, Worker, WorkerDied
from arhn_hf.monitor import Interrupted
from arhn_hf.records import ArhnError, UsageError

FRUITLESS = 5
"""A worker that dies this many times in a row without having answered anything is given up: more often than one request
can be the reason."""
_GROUP = 256  # requests a message, at most
_PAUSE = 1.0  # seconds before a worker that did nothing is started again, doubled each time
_GRACE = 5.0  # seconds an engine gets to close
_POLL = 0.1  # seconds


@dataclass(slots=True, eq=False, kw_only=True)
class _Seat(Seat):
    """A worker's place in the fleet, and what it is at; `link` belongs to its present life."""

    worker: Worker
    link: Link | None = None
    given_up: bool = False
    lives: int = 0
    fruitless: int = 0
    answered: bool = False


class Fleet(Engine):
    """One engine over `workers`, all of which must be the same engine.

    At most `max_in_flight` requests are with them, shared evenly. `stop` breaks off the start. Raises `UsageError` for what
    an engine refuses, `EngineError` if a worker does not start or is another engine than the first.
    """

    def __init__(
        self, workers: Sequence[Worker], *, max_in_flight: int, notice: Callable[[str], None] = lambda text: None,
        stop: threading.Event | None = None, on_close: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._notice, self._on_close = notice, on_close
        self._lock = threading.Lock()
        self._numbers = 0
        self._facts: Facts | None = None
        self._failure: ArhnError | None = None
        self._closed = threading.Event()
        self._seats = [_Seat(worker=worker) for worker in workers]
        self._line = Line(self._seats, max(1, -(-max_in_flight // len(workers))))
        self._threads = [
            threading.Thread(target=self._live, args=(seat,), name=f"arhn-{seat.worker.name}", daemon=True)
            for seat in self._seats
        ]
        for thread in self._threads:
            thread.start()
        try:
            facts = self._wait_for_all(stop)
        except BaseException:
            self.close()
            raise
        self.identity = facts.identity
        if facts.about is not None:
            self.about = facts.about

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`."""
        return self._put(request)

    def fits(self, request: Request) -> bool:
        """See `Engine.fits`: a worker says, where the length alone does not."""
        facts = self._facts
        if facts is None or not facts.refuses:
            return True
        if facts.context_tokens is not None and surely_fits(request.payload, facts.context_tokens):
            return True
        asked = Request(FITS, {"kind": request.kind, "payload": request.payload})
        # Past the line: it costs a worker next to nothing, and the whole run waits for it.
        return self._put(asked, now=True).result().text == YES

    def is_away(self) -> bool:
        """See `Engine.is_away`: all workers are being started again, which ends by itself, one way or the other."""
        with self._lock:
            return not any(seat.ready for seat in self._seats)

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed.set()
        self._end(EngineError("the engine is closed"))
        with self._lock:
            links = [seat.link for seat in self._seats if seat.link is not None]
            for seat in self._seats:
                seat.outbox.put(None)
        stopping = [threading.Thread(target=link.stop, args=(_GRACE,), daemon=True) for link in links]
        for thread in stopping:
            thread.start()
        for thread in (*stopping, *self._threads):
            thread.join(2 * _GRACE + 1)
        self._on_close()

    def _put(self, request: Request, *, now: bool = False) -> Future[Response]:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._numbers += 1
            task = Task(self._numbers, request, Future())
            (self._line.add_now if now else self._line.add)(task)
        return task.future

    def _wait_for_all(self, stop: threading.Event | None) -> Facts:
        """The workers' facts, once all of them are ready."""
        while True:
            with self._lock:
                if self._failure is not None:
                    raise self._failure
                if self._facts is not None and all(seat.ready or seat.given_up for seat in self._seats):
                    return self._facts
            if stop is not None and stop.is_set():
                raise Interrupted
            self._closed.wait(_POLL)

    def _end(self, error: ArhnError) -> None:
        """Nobody waits any more, and nothing is taken."""
        with self._lock:
            failure = self._failure = self._failure or error
            tasks = self._line.clear()
        for task in tasks:
            if not (self._closed.is_set() and task.future.cancel()):
                task.future.set_exception(failure)

    # Threads: one a worker that starts it, takes its responses, and starts it again; one a life that sends.

    def _live(self, seat: _Seat) -> None:
        while not self._closed.is_set() and not seat.given_up and self._failure is None:
            try:
                link = seat.worker.start()
                with self._lock:
                    seat.link = link
                if self._closed.is_set():  # `close` may not have seen this one
                    link.stop(0)
                    return
                self._welcome(seat, link.facts())
                while True:
                    self._take(seat, link.receive())
            except WorkerDied as death:
                self._bury(seat, str(death))
            except ArhnError as error:
                if seat.lives and isinstance(error, UsageError):
                    self._bury(seat, str(error))  # it was accepted before: a GPU whose memory is not free yet
                else:
                    self._end(error)
            except Exception as error:  # noqa: BLE001 - nobody awaits this thread: those who wait must hear of it
                self._end(EngineError(f"{seat.worker.name} failed ({error.__class__.__name__}: {error})"))

    def _welcome(self, seat: _Seat, facts: Facts) -> None:
        """A worker is ready, if it is the engine that the others are."""
        with self._lock:
            reference = self._facts = self._facts or facts
            different = _difference(reference, facts)
            if different is not None:
                raise EngineError(
                    f"{seat.worker.name} is another engine than the first worker: {different}",
                    hint="All of them need the same model, revision and versions",
                )
            seat.lives += 1
            seat.answered, seat.ready, seat.outbox = False, True, SimpleQueue()
            link, outbox = seat.link, seat.outbox
            threading.Thread(target=self._send, args=(seat, link, outbox), name="arhn-send", daemon=True).start()
            self._line.move()

    def _send(self, seat: _Seat, link: Link, outbox: SimpleQueue[Task | None]) -> None:
        """Send what this life of a worker is given, in groups, until `None` comes."""
        while (task := outbox.get()) is not None:
            group: list[Task | None] = [task]
            try:
                while len(group) < _GROUP and group[-1] is not None:
                    group.append(outbox.get_nowait())
            except Empty:
                pass
            with self._lock:  # what has gone to another worker meanwhile stays there
                mine = [one for one in group if one is not None and seat.tasks.get(one.number) is one]
                for one in mine:
                    one.sent = True
            try:
                if mine:
                    link.send([(one.number, one.request) for one in mine])
            except WorkerDied:
                return  # whoever receives hears of it too
            except Exception as error:  # noqa: BLE001 - nobody awaits this thread: those who wait must hear of it
                self._end(EngineError(f"{seat.worker.name} cannot be sent to ({error.__class__.__name__}: {error})"))
                return
            if group[-1] is None:
                return

    def _take(self, seat: _Seat, done: list[tuple[int, Response]]) -> None:
        """Responses of a worker, which make room for others."""
        with self._lock:
            finished = [(seat.tasks.pop(number, None), response) for number, response in done]
            seat.answered, seat.fruitless = True, 0
            if self._failure is None:
                self._line.move()
        for task, response in finished:
            if task is not None:
                task.future.set_result(response)

    def _bury(self, seat: _Seat, reason: str) -> None:
        """A worker is dead: its requests go to others, and it is started again unless that is hopeless."""
        if seat.link is not None and not self._closed.is_set():
            seat.link.stop(0)
        with self._lock:
            if self._closed.is_set() or self._failure is not None:
                return
            seat.fruitless = 0 if seat.answered else seat.fruitless + 1
            seat.answered = False
            seat.given_up = seat.lives == 0 or seat.fruitless >= FRUITLESS
            lost, marked = self._line.lose(seat)
            nobody_left = all(one.given_up for one in self._seats)
        name = seat.worker.name
        for task in marked:
            task.future.set_result(
                Response(f"the engine died {DEATHS} times with this request, the last time alone: {reason}", "error")
            )
        if seat.lives == 0:
            self._end(EngineError(f"{name} did not start: {reason}"))
        elif nobody_left:
            hint = "Finished requests are kept: the same command goes on"
            self._end(EngineError(f"{name} died {FRUITLESS} times in a row: {reason}", hint=hint))
        else:
            then = "goes on without it" if seat.given_up else "starts it again"
            self._notice(f"{name} died ({reason}). The run {then}; requests it had: {lost}.")
            if marked:
                self._notice(f"A request was there when engines died {DEATHS} times: it is marked as failed.")
            self._closed.wait(_PAUSE * 2 ** (seat.fruitless - 1) if seat.fruitless else 0)


def _difference(first: Facts, other: Facts) -> str | None:
    """What tells two engines apart, in words; None for nothing. This package's version counts: it renders and reads."""
    pairs: list[tuple[str, Any, Any]] = [("arhn-hf", __version__, other.version)]
    for mine, theirs in ((first.identity, other.identity), (first.about or {}, other.about or {})):
        pairs += [(key, mine.get(key), theirs.get(key)) for key in sorted(mine.keys() | theirs.keys())]
    for key, one, two in pairs:
        if one != two:
            return f"{key} {two!r} and not {one!r}"
    return None
