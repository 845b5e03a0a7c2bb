"""Several engines as one, on real processes: everybody gets an answer once, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import fleet_engines as engines
import pytest
from fleet_engines import alive, lines

from arhn_hf.engines import fleet as fleet_module
from arhn_hf.engines.base import EngineError, Request, Response
from arhn_hf.engines.fleet import FRUITLESS, Fleet
from arhn_hf.engines.line import DEATHS
from arhn_hf.engines.processes import ProcessWorker
from arhn_hf.records import UsageError

Opener = Callable[..., Fleet]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Opens fleets of two processes, and closes them."""
    monkeypatch.setattr(fleet_module, "_PAUSE", 0.01)
    fleets: list[Fleet] = []

    def opener(build: Any, workers: int = 2, max_in_flight: int = 16, **options: Any) -> Fleet:
        made = [ProcessWorker(f"worker {n}", build, {"WORKER": str(n)}) for n in range(1, workers + 1)]
        fleets.append(Fleet(made, max_in_flight=max_in_flight, **options))
        return fleets[-1]

    yield opener
    for one in fleets:
        one.close()


def ask(fleet: Fleet, count: int, special: dict[int, dict[str, Any]] | None = None) -> list[Future[Response]]:
    return [fleet.submit(Request("answer", {"n": n, **(special or {}).get(n, {})})) for n in range(count)]


def check_all(futures: list[Future[Response]], marked: frozenset[int] = frozenset()) -> None:
    """Every request has its own answer, but for the marked ones."""
    for n, future in enumerate(futures):
        response = future.result(60)
        if n in marked:
            assert response.finish_reason == "error"
            assert f"died {DEATHS} times" in response.text
        else:
            assert response.finish_reason == "stop"
            assert response.text.split()[0] == str(n)


def test_every_request_is_answered_once_and_the_work_is_shared(opened: Opener, calls: Path) -> None:
    fleet = opened(partial(engines.Obedient, str(calls), delay=0.002))
    futures = ask(fleet, 400)
    check_all(futures)
    assert Counter(n for _, n in lines(calls)) == Counter(str(n) for n in range(400))
    shares = Counter(pid for pid, _ in lines(calls))
    assert len(shares) == 2
    assert min(shares.values()) > 100
    assert fleet.identity == {"engine": "obedient"}
    assert fleet.about["kind"] == "obedient"
    assert futures[0].result().usage == {"prompt": 1}


def test_no_more_than_max_in_flight_are_with_all_workers_together(opened: Opener, calls: Path) -> None:
    fleet = opened(partial(engines.Obedient, str(calls), delay=0.2, threads=100), max_in_flight=6)
    futures = ask(fleet, 30)
    time.sleep(0.15)
    assert len(lines(calls)) - sum(one.done() for one in futures) <= 6
    check_all(futures)


def test_kill_9_of_a_worker_loses_nothing_and_repeats_only_what_was_in_flight(opened: Opener, calls: Path) -> None:
    notices: list[str] = []
    fleet = opened(partial(engines.Obedient, str(calls), delay=0.01), notice=notices.append)
    futures = ask(fleet, 600)
    victims = []
    for share in (100, 300):
        while len(lines(calls)) < share:
            time.sleep(0.01)
        victims.append(int(lines(calls)[-1][0]))
        os.kill(victims[-1], signal.SIGKILL)
    check_all(futures)
    asked = Counter(n for _, n in lines(calls))
    assert set(asked) == {str(n) for n in range(600)}
    assert asked.total() - 600 <= 2 * 8
    assert len({pid for pid, _ in lines(calls)}) == 4, "each victim was started again"
    assert sum("SIGKILL" in line for line in notices) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_that_kills_its_engine_is_marked_and_the_run_goes_on(
    opened: Opener, calls: Path, workers: int
) -> None:
    """Nobody else is: before the last death it is tried alone."""
    notices: list[str] = []
    fleet = opened(partial(engines.Obedient, str(calls), delay=0.001), workers, notice=notices.append)
    futures = ask(fleet, 120, {50: {"die": True}, 51: {"die": True}})
    check_all(futures, frozenset({50, 51}))
    assert Counter(n for _, n in lines(calls))["50"] == DEATHS
    assert sum("marked as failed" in line for line in notices) == 2
    check_all(ask(fleet, 20))


def test_an_engine_that_fails_is_started_again(opened: Opener, calls: Path) -> None:
    notices: list[str] = []
    fleet = opened(partial(engines.Obedient, str(calls)), notice=notices.append)
    futures = ask(fleet, 60, {30: {"fail": True}})
    check_all(futures, frozenset({30}))
    assert any("the GPU is gone" in line for line in notices)


def test_what_an_engine_refuses_comes_back_as_it_was_said(opened: Opener) -> None:
    with pytest.raises(UsageError, match="--model x: knows no such model. Take another one"):
        opened(engines.Refusing)


def test_a_worker_that_does_not_start_is_named_with_the_reason(opened: Opener) -> None:
    with pytest.raises(EngineError, match=r"worker [12] did not start: .*code 7"):
        opened(engines.Crashing)


def test_an_engine_that_always_dies_ends_the_run_with_its_reason(opened: Opener, calls: Path) -> None:
    fleet = opened(partial(engines.Doomed, str(calls)))
    futures = ask(fleet, 50)
    with pytest.raises(EngineError, match=rf"worker [12] died {FRUITLESS} times in a row: .*SIGKILL"):
        futures[-1].result(60)
    with pytest.raises(EngineError, match="in a row"):
        fleet.submit(Request("answer", {"n": 1}))
    assert len({pid for pid, _ in lines(calls)}) <= 2 * FRUITLESS


def test_the_run_goes_on_without_a_worker_that_is_past_hope(opened: Opener, calls: Path, tmp_path: Path) -> None:
    notices: list[str] = []
    build = partial(engines.OnceOnly, str(calls), str(tmp_path / "mark"), delay=0.01)
    fleet = opened(build, notice=notices.append)
    futures = ask(fleet, 300)
    while len(lines(calls)) < 60:
        time.sleep(0.01)
    os.kill(int(lines(calls)[-1][0]), signal.SIGKILL)
    check_all(futures)
    while not any("goes on without it" in line for line in notices):
        time.sleep(0.01)
    assert any("fell off the bus" in line for line in notices)


def test_workers_that_are_different_engines_are_refused(opened: Opener, calls: Path) -> None:
    with pytest.raises(EngineError, match=r"worker [12] is another engine than the first worker: engine 'engine \d+'"):
        opened(partial(engines.Differing, str(calls)))


def test_a_worker_says_what_fits(opened: Opener, calls: Path) -> None:
    fleet = opened(partial(engines.Narrow, str(calls), delay=0.2), max_in_flight=2)
    busy = ask(fleet, 4)
    assert fleet.fits(Request("answer", {"n": 3}))
    assert not fleet.fits(Request("answer", {"n": 4}))
    check_all(busy)
    assert len(lines(calls)) == 4, "to say so is no request"


def test_nothing_is_left_behind_by_close(opened: Opener, calls: Path) -> None:
    fleet = opened(partial(engines.Parental, str(calls), delay=5.0))
    futures = ask(fleet, 4)
    while len(lines(calls)) < 6:
        time.sleep(0.01)
    fleet.close()
    assert all(one.cancelled() for one in futures)
    wait_for_the_end_of({int(pid) for pid, _ in lines(calls)})


def test_nothing_is_left_behind_by_kill_9_of_the_run(calls: Path) -> None:
    """Neither the workers nor what their engines have started."""
    script = Path(engines.__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen([sys.executable, str(script), str(calls)], env=environment)
    while len(lines(calls)) < 40:
        assert run.poll() is None
        time.sleep(0.02)
    pids = {int(pid) for pid, _ in lines(calls)}
    assert len(pids) == 4
    assert all(alive(pid) for pid in pids)
    run.kill()
    run.wait()
    wait_for_the_end_of(pids)


def wait_for_the_end_of(pids: set[int]) -> None:
    end = time.monotonic() + 15
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.05)
