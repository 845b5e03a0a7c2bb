"""Two real vLLM engines on the CPU backend, pinned to a core each, as one: one of them is killed in mid-run."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from test_vllm import ENGINE_ARGS, agreement, tiny

import arhn_hf
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import RefineResult

__all__ = ["tiny"]
IN_FLIGHT = 8


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def command(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def workers() -> list[int]:
    return [pid for pid in children(os.getpid()) if "worker_main" in command(pid)]


def cores() -> list[int]:
    """Processes of vLLM's engines, below the workers."""
    return [pid for worker in workers() for pid in children(worker) if "EngineCore" in command(pid)]


def refined(tiny: Path, output: Path, monitor: Monitor, **options: Any) -> RefineResult:
    return arhn_hf.refine(
        str(tiny / "source"), output=str(output), monitor=monitor, judge="vllm", model=str(tiny), min_answerable=0.0,
        engine_arg=[f"{key}={value}" for key, value in ENGINE_ARGS.items()], max_in_flight=IN_FLIGHT, **options,
    )  # fmt: skip


@pytest.mark.parametrize("victim", ["worker", "engine core"])
def test_a_killed_engine_costs_its_requests_in_flight_and_nothing_else(tiny: Path, tmp_path: Path, victim: str) -> None:
    monitor = Monitor()
    seen: set[int] = set()

    def kill() -> None:
        while monitor.counts is None or monitor.counts.answered < 20:
            time.sleep(0.01)
        seen.update(workers(), cores())
        os.kill((workers() if victim == "worker" else cores())[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    result = refined(tiny, tmp_path / "out", monitor, workers=2)
    assert len(seen) == 4, "two workers, an engine core each"
    assert result.exit_code == 0
    assert result.failures["count"] == 0
    assert agreement(tiny, tmp_path / "out") >= 0.95
    (died,) = [line for line in monitor.notices if "died" in line]
    assert re.search("SIGKILL" if victim == "worker" else "engine died", died)
    assert int(re.search(r"requests it had: (\d+)", died)[1]) <= IN_FLIGHT // 2
    again = refined(tiny, tmp_path / "out", Monitor(), workers=1)
    assert again.requests["sent"] == 0
    end = time.monotonic() + 15
    while left := [pid for pid in seen if "worker_main" in command(pid) or "EngineCore" in command(pid)]:
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.05)
