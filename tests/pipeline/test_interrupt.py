"""Ctrl-C, SIGTERM and a second process on the same folder: said in one line, and nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from durability import (
    Said,
    assert_kept,
    assert_not_half_finished,
    command_line,
    go,
    lines,
    made_rows,
    start,
    start_scripted,
    stored_keys,
    wait_until,
    write_source,
)
from scripted import ScriptedEngine, folder_bytes


def refine(sample: Path, output: Path) -> subprocess.Popen[str]:
    return start(
        "-m", "arhn_hf.cli.main", "refine", str(sample), "--sample", "8", "--max-in-flight", "4",
        "--output", str(output),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    process = refine(sample, output)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_within_seconds_and_says_how_to_go_on(
    sample: Path, whole: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    output, store = tmp_path / "out", tmp_path / "out" / ".arhn" / "store.sqlite"
    process = refine(sample, output)
    wait_until(lambda: len(stored_keys(store)) >= 8, process)
    committed = stored_keys(store)
    sent = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - sent < 15
    said = Said(process.returncode, out, err)
    assert said.code == code, err
    said.assert_one_line("interrupted", "Run the same command again")
    assert out == ""
    assert not (output / ".arhn" / "pid").exists()
    assert not (output / "arhn.json").exists()
    assert stored_keys(store) >= committed

    process = refine(sample, output)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "Going on with an unfinished run" in err
    assert folder_bytes(output) == folder_bytes(whole)
    assert_kept(output)


def test_an_interrupt_stores_what_the_engine_has_answered(tmp_path: Path) -> None:
    """Stopped from inside, as a display's own button would: answers are on disk, nothing is sent afterwards."""
    from arhn_hf.monitor import Interrupted, Monitor

    source = write_source(tmp_path / "source.jsonl", made_rows(8, 4))
    undisturbed = ScriptedEngine()
    go(source, tmp_path / "whole", undisturbed)
    engine, monitor = ScriptedEngine(delay=0.005), Monitor()

    def watch(seen: Monitor) -> None:
        if engine.count >= 12:
            seen.interrupt()

    monitor.watch = watch
    with pytest.raises(Interrupted):
        go(source, tmp_path / "out", engine, monitor, max_in_flight=2)
    stopped_at = engine.count
    stored = stored_keys(tmp_path / "out" / ".arhn" / "store.sqlite")
    assert stopped_at - 2 <= len(stored) <= stopped_at
    rest = ScriptedEngine()
    go(source, tmp_path / "out", rest)
    assert set(rest.keys) == set(undisturbed.keys) - stored
    assert engine.count == stopped_at
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "source.jsonl")
    go(source, tmp_path / "whole")
    output, calls = tmp_path / "out", tmp_path / "calls"
    first = start_scripted(source, output, calls, delay=0.05, max_in_flight=4)
    wait_until(lambda: len(lines(calls)) >= 4, first)
    first.send_signal(signal.SIGSTOP)  # it holds the folder for as long as the second one tries
    engine = ScriptedEngine()
    try:
        said = command_line(engine, capsys, "refine", str(source), "--output", str(output))
        fresh = command_line(engine, capsys, "refine", str(source), "--output", str(output), "--fresh", "--sample", "2")
    finally:
        first.send_signal(signal.SIGCONT)
    assert said.code == 1
    said.assert_one_line(f"pid {first.pid}", str(output))
    assert fresh.code == 1
    assert engine.count == 0
    _, errors = first.communicate(timeout=100)
    assert first.returncode == 0, errors
    assert_not_half_finished(output, folder_bytes(tmp_path / "whole"))
    assert (output / "arhn.json").exists()


def test_two_runs_share_one_store_at_the_same_time(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl")
    go(source, tmp_path / "whole")
    store = str(tmp_path / "answers.sqlite")
    first = start_scripted(source, tmp_path / "one", tmp_path / "calls", delay=0.05, max_in_flight=4, store=store)
    wait_until(lambda: len(lines(tmp_path / "calls")) >= 4, first)
    go(source, tmp_path / "two", ScriptedEngine(delay=0.01), store=store)
    _, errors = first.communicate(timeout=100)
    assert first.returncode == 0, errors
    for name in ("one", "two"):
        assert folder_bytes(tmp_path / name) == folder_bytes(tmp_path / "whole")
