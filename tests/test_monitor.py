"""Progress as others see it: ticks that a sleeping machine does not distort, a log that programs read, a failure that ends a run."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from arhn_hf import monitor as module
from arhn_hf.monitor import Counts, Monitor, run_in_thread
from arhn_hf.records import ArhnError

FIELDS = {
    "time", "utc", "event", "run_id", "stage", "done", "total", "seconds", "stage_seconds", "rows_per_second",
    "requests_per_second", "in_flight", "stage_seconds_left", "seconds_left", "requests",
}  # fmt: skip
REQUESTS = {
    "by_kind", "from_store", "joined", "sent", "answered", "retried", "tokens", "failed", "asking",
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ABANDONED", [])


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Clock:
    """`time.monotonic` by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)

    def tick(self, monitor: Monitor, seconds: float, step: float = 0.5) -> None:
        for _ in range(round(seconds / step)):
            self.now += step
            monitor.tick()


def test_the_log_has_a_line_at_both_ends_of_a_stage_and_every_half_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    monitor = Monitor(counts=Counts())
    monitor.open_log(tmp_path / "run.jsonl")
    monitor.begin("reading passages", 500, then="ranking")
    for _ in range(100):
        monitor.advance(1)
        clock.tick(monitor, 1.0)
    monitor.begin("ranking", 500)
    lines = events(tmp_path / "run.jsonl")
    assert [line["event"] for line in lines] == ["stage", "progress", "progress", "progress", "stage_end", "stage"]
    assert all(line.keys() >= FIELDS for line in lines)
    assert all(line["requests"].keys() == REQUESTS for line in lines)
    third = lines[3]
    assert (third["stage"], third["total"]) == ("reading passages", 500)
    assert third["done"] == pytest.approx(90, abs=2)
    assert third["stage_seconds"] == pytest.approx(90, abs=2)
    assert third["rows_per_second"] == pytest.approx(1, rel=0.05)
    assert third["stage_seconds_left"] == pytest.approx(410, abs=5)
    assert third["seconds_left"] is None, "ranking is still to come: the run's end cannot be told"
    assert third["utc"].endswith("Z")
    assert lines[4]["done"] == 100


def test_the_runs_end_is_told_where_nothing_else_asks_a_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monitor = Monitor(counts=Counts())
    monitor.begin("ranking", 100)
    for _ in range(20):
        monitor.advance(1)
        clock.tick(monitor, 1.0)
    assert monitor.progress()["seconds_left"] == monitor.progress()["stage_seconds_left"] == pytest.approx(80, abs=3)


def test_a_machine_that_sleeps_is_not_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monitor = Monitor()
    passed: list[float] = []
    monitor.on_tick.append(passed.append)
    monitor.begin("deciding", 1000)
    for second in range(200):
        monitor.advance(1)
        clock.tick(monitor, 1.0)
        if second == 150:
            clock.now += 8 * 3600
    assert monitor.seconds_left == pytest.approx(800, rel=0.1)
    assert max(passed) <= 5.0
    assert sum(passed) < 210


def test_a_failure_from_outside_ends_the_work(tmp_path: Path) -> None:
    monitor = Monitor()
    monitor.open_log(tmp_path / "run.jsonl")
    heard: list[ArhnError] = []
    monitor.on_failure.append(heard.append)

    def work() -> None:
        monitor.begin("deciding", 10)
        threading.Timer(0.2, lambda: monitor.fail(ArhnError("the judge hangs"))).start()
        while True:
            time.sleep(0.01)
            monitor.advance(0)

    with pytest.raises(ArhnError, match="the judge hangs") as raised:
        run_in_thread(work, monitor)
    assert heard == [raised.value]
    last = events(tmp_path / "run.jsonl")[-1]
    assert (last["event"], last["outcome"], last["error"]) == ("end", "failed", "the judge hangs")
    assert module.ABANDONED == []


def test_work_that_does_not_hear_of_a_failure_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.3)
    monitor, never = Monitor(), threading.Event()
    monitor.fail(ArhnError("the judge hangs"))
    began = time.monotonic()
    with pytest.raises(ArhnError, match="the judge hangs"):
        run_in_thread(never.wait, monitor)
    assert time.monotonic() - began < 5
    assert module.ABANDONED == ["the pipeline"]
    never.set()


def test_a_log_that_cannot_be_written_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monitor = Monitor()
    monitor.open_log(tmp_path / "run.jsonl")
    monitor.begin("deciding", 10)
    (tmp_path / "run.jsonl").unlink()
    (tmp_path / "run.jsonl").mkdir()
    clock.tick(monitor, 31.0)
    assert monitor.failure is not None
    with pytest.raises(ArhnError, match="directory"):
        monitor.check()


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    monitor = Monitor()

    def work() -> int:
        monitor.open_log(tmp_path / "run.jsonl")
        monitor.begin("deciding", 1)
        return 7

    assert run_in_thread(work, monitor) == 7
    last = events(tmp_path / "run.jsonl")[-1]
    assert (last["event"], last["outcome"], last["error"]) == ("end", "done", None)
