"""A judge that hangs ends the run with one line that names what hangs; what is slow, away or asleep does not."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from durability import ROOT, Said, go, lines, made_rows, start, stored_keys, wait_until, write_source
from scripted import ScriptedEngine, folder_bytes, scripted_judge

from arhn_hf import monitor as monitor_module
from arhn_hf.config import RunConfig
from arhn_hf.engines import closing
from arhn_hf.engines.base import EngineError, Request, Response
from arhn_hf.judges.stalling import Stall, stall_limit
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine

HANG_AFTER = 25


class Hanging(ScriptedEngine):
    """Answers `HANG_AFTER` requests, then nothing until `released`; its threads cannot be stopped."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.released = threading.Event()

    def _answer(self, request: Request) -> Response:
        if self.count > HANG_AFTER:
            self.released.wait(60)
        return super()._answer(request)


@pytest.fixture(autouse=True)
def nothing_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of what hangs is the process's, and tests share one."""
    monkeypatch.setattr(monitor_module, "ABANDONED", [])
    monkeypatch.setattr(closing, "ABANDONED", monitor_module.ABANDONED)
    monkeypatch.setattr(closing, "AFTER_FAILURE", 0.5)


def test_a_judge_that_hangs_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    source, output = write_source(tmp_path / "source.jsonl", made_rows(8, 4)), tmp_path / "out"
    undisturbed = ScriptedEngine()
    go(source, tmp_path / "whole", undisturbed)
    hanging = Hanging(threads=4)
    began = time.monotonic()
    with pytest.raises(EngineError) as caught:
        go(source, output, hanging, stall_timeout=1.0, max_in_flight=4)
    hanging.released.set()
    assert time.monotonic() - began < 20
    said = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in said
    for part in (
        "no request has finished for",
        "scripted hangs with 4 in flight",
        "of kind answer of row",
        "--stall-timeout",
    ):
        assert part in said, said
    assert monitor_module.ABANDONED == ["the engine"]
    assert not (output / ".arhn" / "pid").exists(), "the folder is free again"
    kept = stored_keys(output / ".arhn" / "store.sqlite")
    assert len(kept) >= HANG_AFTER - 4
    rest = ScriptedEngine()
    go(source, output, rest, stall_timeout=30.0)
    assert set(rest.keys) == set(undisturbed.keys) - kept
    assert folder_bytes(output) == folder_bytes(tmp_path / "whole")


def test_an_engine_that_blocks_the_event_loop_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "_GRACE", 0.5)
    released = threading.Event()

    class Blocking(ScriptedEngine):
        def submit(self, request: Request) -> Any:
            if self.count == HANG_AFTER:
                released.wait(60)
            return super().submit(request)

    began = time.monotonic()
    with pytest.raises(EngineError, match="no request has finished"):
        go(write_source(tmp_path / "source.jsonl"), tmp_path / "out", Blocking(), stall_timeout=1.0)
    assert time.monotonic() - began < 20
    assert monitor_module.ABANDONED == ["the pipeline"]
    released.set()


def test_slow_work_that_comes_is_no_stall(tmp_path: Path) -> None:
    """One request after the other, together far longer than the limit."""
    engine = ScriptedEngine(delay=0.12, threads=1)
    result = go(write_source(tmp_path / "source.jsonl", made_rows(3, 3)), tmp_path / "out", engine, stall_timeout=1.0)
    assert result.exit_code == 0
    assert engine.count * 0.12 > 1.0


def test_a_model_that_loads_is_no_stall(tmp_path: Path) -> None:
    class Loading(ScriptedEngine):
        def __init__(self) -> None:
            time.sleep(1.5)
            super().__init__()

    config = RunConfig(
        source=str(write_source(tmp_path / "source.jsonl")),
        output=str(tmp_path / "out"),
        min_answerable=0.0,
        stall_timeout=0.5,
    )

    def factory(*given: Any) -> Any:
        return scripted_judge(Loading())(*given)

    result = run_refine(config, Monitor(), factory)
    assert result.exit_code == 0


def test_without_a_limit_a_run_waits(tmp_path: Path) -> None:
    hanging = Hanging()
    threading.Timer(2.5, hanging.released.set).start()
    began = time.monotonic()
    go(write_source(tmp_path / "source.jsonl"), tmp_path / "out", hanging, stall_timeout=0.0)
    assert time.monotonic() - began > 2


def test_only_waiting_for_something_counts() -> None:
    stall = Stall(10.0)
    assert not any(stall.see(1.0, finished=0, in_flight=0, away=False) for _ in range(100)), "nothing is in flight"
    assert not any(stall.see(1.0, finished=0, in_flight=5, away=True) for _ in range(100)), "a server is waited for"
    assert not any(stall.see(1.0, finished=n // 9, in_flight=5, away=False) for n in range(100)), "some finish"
    assert not any(stall.see(1.0, finished=11, in_flight=5, away=False) for _ in range(10))
    assert stall.see(1.0, finished=11, in_flight=5, away=False)
    never = Stall(0.0)
    assert not any(never.see(1e6, finished=0, in_flight=5, away=False) for _ in range(3))


def test_who_allows_long_requests_waits_longer() -> None:
    server: dict[str, Any] = {"source": "x", "judge": "server", "model": "m", "base_url": "http://h/v1"}
    assert stall_limit(RunConfig(source="x")) == 1800
    assert stall_limit(RunConfig(**server, request_timeout=3600.0)) == 7200
    assert stall_limit(RunConfig(**server, request_timeout=3600.0, stall_timeout=60.0)) == 60


SCRIPT = """
import sys, threading
sys.path.insert(0, {tests!r})
import scripted
from arhn_hf import pushing
from arhn_hf.cli.main import run
from arhn_hf.pipeline import run_refine

class Hanging(scripted.ScriptedEngine):
    def _answer(self, request):
        if self.count > 25:
            threading.Event().wait()
        return super()._answer(request)

pushing.run_refine = lambda config, monitor, *_: run_refine(config, monitor, scripted.scripted_judge(Hanging(calls={calls!r})))
run()
"""


def hanging_command(source: Path, output: Path, calls: Path, *options: str) -> subprocess.Popen[str]:
    """`arhn-hf refine` in a process of its own, whose engine's threads never end."""
    script = SCRIPT.format(tests=str(ROOT / "tests"), calls=str(calls))
    return start("-c", script, "refine", str(source), "--output", str(output), "--max-in-flight", "4", *options)


def test_the_command_ends_although_the_engines_threads_do_not(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl", made_rows(8, 4))
    process = hanging_command(source, tmp_path / "out", tmp_path / "calls", "--stall-timeout", "1")
    out, err = process.communicate(timeout=60)
    said = Said(process.returncode, out, err)
    assert said.code == 1
    said.assert_one_line("no request has finished", "run the same command again")
    events = [json.loads(line) for line in lines(tmp_path / "out" / ".arhn" / "run.jsonl")]
    assert events[-1]["outcome"] == "failed"
    assert "no request has finished" in events[-1]["error"]


def test_ctrl_c_ends_a_command_whose_engine_hangs(tmp_path: Path) -> None:
    source, calls = write_source(tmp_path / "source.jsonl", made_rows(8, 4)), tmp_path / "calls"
    process = hanging_command(source, tmp_path / "out", calls)
    wait_until(lambda: len(lines(calls)) > HANG_AFTER, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    said = Said(process.returncode, out, err)
    assert said.code == 130
    said.assert_one_line("interrupted", "Run the same command again")


def test_a_run_that_was_stopped_for_a_while_goes_on(tmp_path: Path) -> None:
    """SIGSTOP is to this process what a suspended machine is: the clock goes on, nothing else does."""
    source, calls, output = (
        write_source(tmp_path / "source.jsonl", made_rows(8, 4)),
        tmp_path / "calls",
        tmp_path / "out",
    )
    process = start(
        str(ROOT / "tests" / "scripted.py"), str(source), str(output), str(calls), "min_answerable=0.0", "delay=0.05",
        "max_in_flight=4", "stall_timeout=7.0",
    )  # fmt: skip
    wait_until(lambda: len(lines(calls)) > 8, process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(9)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
