"""Which worker gets which request: the least loaded one the next, and a suspect one to itself. No threads, no I/O.

A request that was there at several deaths of a worker may be what killed them (out of memory, say). Before it is there
a last time it is tried alone, on a worker that is emptied for it, so that its death is its own and nobody else's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue

from arhn_hf.engines.base import Request, Response
from arhn_hf.engines.worker import FITS

DEATHS = 3
"""A request that was with a worker at this many deaths is not tried again; before the last one it is tried alone."""


@dataclass(slots=True, eq=False)
class Task:
    """One request, whoever has it at the moment; `sent` says whether its worker has it already."""

    number: int
    request: Request
    future: Future[Response]
    deaths: int = 0
    sent: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class Seat:
    """A worker's place: the tasks it has, and the outbox from which those of its present life are sent."""

    tasks: dict[int, Task] = field(default_factory=dict)
    outbox: SimpleQueue[Task | None] = field(default_factory=SimpleQueue)
    ready: bool = False


class Line:
    """The tasks that wait, before `seats` with `room` for so many tasks each. Whoever calls holds the fleet's lock."""

    def __init__(self, seats: Sequence[Seat], room: int) -> None:
        self._seats, self._room = seats, room
        self._waiting: deque[Task] = deque()
        self._suspects: deque[Task] = deque()  # one more death and they are not tried again
        self._cell: Seat | None = None  # where they are tried

    def add(self, task: Task) -> None:
        """To the end of the line."""
        self._waiting.append(task)
        self.move()

    def add_now(self, task: Task) -> None:
        """Past the line, whether there is room or not."""
        seat = min((one for one in self._seats if one.ready), key=_load, default=None)
        if seat is None:
            self._waiting.appendleft(task)
        else:
            _assign(task, seat)

    def move(self) -> None:
        """Give what waits to the least loaded seats that have room."""
        if self._suspects or self._cell is not None:
            self._try_a_suspect()
        free = [seat for seat in self._seats if seat.ready and seat is not self._cell and len(seat.tasks) < self._room]
        while self._waiting and free:
            seat = min(free, key=_load)
            _assign(self._waiting.popleft(), seat)
            if len(seat.tasks) >= self._room:
                free.remove(seat)

    def lose(self, seat: Seat) -> tuple[int, list[Task]]:
        """A seat's worker has died: its tasks go back in line, in front. How many, and those that are not tried again."""
        lost, seat.tasks, seat.ready = list(seat.tasks.values()), {}, False
        seat.outbox.put(None)
        if self._cell is seat:
            self._cell = None
        marked, again = [], []
        for task in lost:
            task.deaths += task.sent and task.request.kind != FITS  # to count tokens kills nobody
            if task.deaths >= DEATHS:
                marked.append(task)
            elif task.deaths == DEATHS - 1:
                self._suspects.append(task)
            else:
                again.append(task)
        self._waiting.extendleft(reversed(again))
        self.move()
        return len(lost), marked

    def clear(self) -> list[Task]:
        """Every task there is; none is left."""
        tasks = [*self._waiting, *self._suspects, *(task for seat in self._seats for task in seat.tasks.values())]
        self._waiting.clear()
        self._suspects.clear()
        for seat in self._seats:
            seat.tasks = {}
        return tasks

    def _try_a_suspect(self) -> None:
        """One seat is emptied for the suspects and gets them one by one; then it goes back to the others."""
        if self._cell is None:
            self._cell = min((seat for seat in self._seats if seat.ready), key=_load, default=None)
        if self._cell is None or self._cell.tasks:
            return
        if self._suspects:
            _assign(self._suspects.popleft(), self._cell)
        else:
            self._cell = None


def _assign(task: Task, seat: Seat) -> None:
    task.sent = False
    seat.tasks[task.number] = task
    seat.outbox.put(task)


def _load(seat: Seat) -> int:
    return len(seat.tasks)
