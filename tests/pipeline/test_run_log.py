"""`run.jsonl` of whole runs: both ends of every stage, the end of the work, requests that add up, and no half line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from durability import go, made_rows, write_source
from scripted import ScriptedEngine

from arhn_hf.engines.base import EngineError, Request, Response
from arhn_hf.monitor import Monitor


def log_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / ".arhn" / "run.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_writes_down_its_stages_and_its_end(tmp_path: Path) -> None:
    source, output, engine = (
        write_source(tmp_path / "source.jsonl", made_rows(8, 4)),
        tmp_path / "out",
        ScriptedEngine(),
    )
    result = go(source, output, engine)
    log = log_of(output)
    begun = [line["stage"] for line in log if line["event"] == "stage"]
    assert begun.index("reading passages") < begun.index("ranking") < begun.index("writing evidence")
    ended = [line["stage"] for line in log if line["event"] == "stage_end"]
    assert ended == ["indexing the source", *begun[:-1]], "the folder is opened, and the log begun, during the first"
    last = log[-1]
    assert (last["event"], last["outcome"], last["error"], last["run_id"]) == ("end", "done", None, result.run_id)
    requests = last["requests"]
    assert requests["sent"] == requests["answered"] == engine.count
    assert requests["asking"] == 0
    assert requests["tokens"] == {"prompt": 10 * engine.count, "completion": 2 * engine.count}
    reading = next(line for line in log if line["event"] == "stage_end" and line["stage"] == "reading passages")
    assert reading["done"] == reading["total"] == 8


def test_a_run_that_goes_on_writes_below_and_takes_a_half_line_away(tmp_path: Path) -> None:
    source, output = write_source(tmp_path / "source.jsonl", made_rows(4, 3)), tmp_path / "out"
    go(source, output)
    before = len(log_of(output))
    with (output / ".arhn" / "run.jsonl").open("a") as file:
        file.write('{"time": 1')
    engine = ScriptedEngine()
    go(source, output, engine)
    log = log_of(output)
    assert len(log) > before
    assert engine.count == 0
    assert log[-1]["requests"]["from_store"] > 0
    assert log[-1]["requests"]["sent"] == 0


def test_answers_that_are_none_are_counted_by_their_reason(tmp_path: Path) -> None:
    rows = made_rows(4, 3)
    rows[0]["negative_passages"][0]["text"] = "BROKEN " + rows[0]["negative_passages"][0]["text"]
    rows[1]["negative_passages"][0]["text"] = "CUT " + rows[1]["negative_passages"][0]["text"]

    class Failing(ScriptedEngine):
        def _answer(self, request: Request) -> Response:
            if request.kind == "answer" and "BROKEN" in str(request.payload):
                return Response("", "error")
            if request.kind == "answer" and "CUT" in str(request.payload):
                return Response("{", "length")
            return super()._answer(request)

    go(write_source(tmp_path / "source.jsonl", rows), tmp_path / "out", Failing(), max_failures=1.0)
    assert log_of(tmp_path / "out")[-1]["requests"]["failed"] == {"error": 1, "length": 1}


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    class Dead(ScriptedEngine):
        def submit(self, request: Request) -> Any:
            raise EngineError("the GPU is gone")

    with pytest.raises(EngineError):
        go(write_source(tmp_path / "source.jsonl"), tmp_path / "out", Dead())
    last = log_of(tmp_path / "out")[-1]
    assert (last["event"], last["outcome"], last["error"]) == ("end", "failed", "the GPU is gone")
    assert last["stage"] == "reading passages"


def test_the_display_of_a_run_that_is_judged_gets_a_rate_and_a_time(tmp_path: Path) -> None:
    """The time left, told while a slow engine works, is about the time that it then takes."""
    told: list[tuple[float, float]] = []

    def watch(monitor: Monitor) -> None:
        if monitor.stage == "reading passages" and monitor.seconds_left:
            told.append((monitor.awake, monitor.seconds_left))

    monitor = Monitor(watch=watch)
    engine = ScriptedEngine(delay=0.2, threads=4)  # 20 requests a second
    go(write_source(tmp_path / "source.jsonl", made_rows(60, 4)), tmp_path / "out", engine, monitor, max_in_flight=8)
    assert told, "300 requests take 15 seconds"
    ended = max(at for at, _ in told)
    first_at, first = told[0]
    assert first == pytest.approx(ended - first_at, rel=0.5)
