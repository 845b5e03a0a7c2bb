"""Who gets which request, without any worker: innocents are never marked, and nobody waits for ever."""

from __future__ import annotations

import random
from concurrent.futures import Future
from queue import SimpleQueue

import pytest

from arhn_hf.engines.base import Request
from arhn_hf.engines.line import DEATHS, Line, Seat, Task
from arhn_hf.engines.worker import FITS


def tasks(count: int) -> list[Task]:
    return [Task(n, Request("answer", {"n": n}), Future()) for n in range(count)]


def seats(count: int) -> list[Seat]:
    return [Seat(ready=True) for _ in range(count)]


def send(seat: Seat) -> None:
    """What is in the outbox is with the worker."""
    for task in seat.tasks.values():
        task.sent = True


def revive(seat: Seat) -> None:
    seat.ready, seat.outbox = True, SimpleQueue()


def test_the_least_loaded_gets_the_next_and_nobody_more_than_there_is_room() -> None:
    places = seats(3)
    places[2].ready = False
    line = Line(places, 2)
    for task in tasks(6):
        line.add(task)
    assert [sorted(seat.tasks) for seat in places] == [[0, 2], [1, 3], []]
    del places[1].tasks[1]
    line.move()
    assert [sorted(seat.tasks) for seat in places] == [[0, 2], [3, 4], []]
    revive(places[2])
    line.move()
    assert sorted(places[2].tasks) == [5]


def test_what_is_asked_now_waits_for_no_room() -> None:
    places = seats(1)
    line = Line(places, 1)
    first, second, third = tasks(3)
    line.add(first)
    line.add(second)
    line.add_now(third)
    assert sorted(places[0].tasks) == [0, 2]


def test_a_death_counts_only_for_what_was_sent_and_could_have_caused_it() -> None:
    places = seats(1)
    line = Line(places, 10)
    sent, unsent = tasks(2)
    question = Task(9, Request(FITS, {}), Future(), sent=True)
    for task in (sent, unsent, question):
        line.add(task)
    sent.sent = question.sent = True
    assert line.lose(places[0]) == (3, [])
    assert (sent.deaths, unsent.deaths, question.deaths) == (1, 0, 0)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("seed", range(8))
def test_only_those_that_kill_are_marked(workers: int, seed: int) -> None:
    """Workers finish some of what they have, in any order, unless they have a killer: then most of the time they die."""
    chooser = random.Random(seed)
    places, everybody = seats(workers), tasks(200)
    killers = set(chooser.sample(range(200), 6))
    line, finished, marked = Line(places, 16), [], []
    for task in everybody:
        line.add(task)
    for _ in range(20_000):
        seat = chooser.choice(places)
        if not seat.ready:
            revive(seat)
            line.move()
            continue
        send(seat)
        if killers & seat.tasks.keys() and chooser.random() < 0.7:
            marked += line.lose(seat)[1]
            continue
        done = set(chooser.sample(sorted(seat.tasks), min(len(seat.tasks), 4))) - killers
        finished.extend(seat.tasks.pop(number).number for number in sorted(done))
        line.move()
        if len(finished) + len(marked) == 200:
            break
    assert sorted(task.number for task in marked) == sorted(killers)
    assert all(task.deaths == DEATHS for task in marked)
    assert sorted(finished) == sorted(set(range(200)) - killers)
    assert line.clear() == []
