"""The server judge against a real `vllm serve` on loopback, killed and started again in mid-run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import tiny_model
from requiring import skip_or_fail

import arhn_hf
from arhn_hf.checks import check
from arhn_hf.monitor import Monitor

START = 240.0  # seconds a server may take to answer


@pytest.fixture(scope="module")
def tiny() -> Path:
    """The folder of the tiny model."""
    try:
        import vllm  # noqa: F401
    except ImportError:
        skip_or_fail("vllm", "vLLM is not installed")
    return tiny_model.cached()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(model: Path, port: int, log: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """The server of `vllm serve`, in a process group of its own.

    Started by its module: the `vllm` script asks for a distribution of that name, and the CPU build has another.
    """
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    words += ["--host", "127.0.0.1", "--port", str(port)]
    words += ["--served-model-name", "tiny", "--max-model-len", "1024", "--max-num-seqs", "16", *more]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("ab") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        until = time.monotonic() + START
        while not answers(port):
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < until, "vllm serve did not start"
            time.sleep(0.5)
        yield process
    finally:
        kill(process)


def answers(port: int) -> bool:
    """Whether the server is up."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def cores() -> set[bytes]:
    """Names of the engine replicas that run on this machine."""
    found: set[bytes] = set()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found |= set(re.findall(rb"EngineCore_(DP\d)", command.read_bytes()))
    return found


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of the server and all its processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def test_a_server_killed_and_restarted_in_mid_run_costs_nothing_but_time(tiny: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    outcome: dict[str, Any] = {}
    monitor = Monitor()

    def work() -> None:
        try:
            outcome["result"] = arhn_hf.refine(
                str(tiny / "source"), output=str(tmp_path / "out"), judge="server", base_url=f"http://127.0.0.1:{port}/v1",
                model="tiny", min_answerable=0.0, patience=600.0, concurrency=2, max_in_flight=2, monitor=monitor,
            )  # fmt: skip
        except BaseException as error:  # noqa: BLE001 - shown by the test
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    with serving(tiny, port, log) as first:
        thread.start()
        until = time.monotonic() + 120
        while monitor.counts is None or monitor.counts.sent < 25:
            assert time.monotonic() < until
            assert "error" not in outcome, outcome
            time.sleep(0.01)
        kill(first)
    assert thread.is_alive()
    with serving(tiny, port, log, "--data-parallel-size", "2"):  # it comes back larger: nobody here needs to know
        thread.join(200)
        replicas = cores()
    assert {b"DP0", b"DP1"} <= replicas
    assert "error" not in outcome, outcome
    result = outcome["result"]
    assert result.exit_code == 0
    assert result.failures["count"] == 0
    expected = json.loads((tiny / "expected.json").read_text(encoding="utf-8"))["decisions"]
    wanted = {action: sum(one["outcome"] == action for one in expected) for action in ("relabel", "filter", "keep")}
    assert all(abs(result.decisions[action] - n) <= 0.05 * len(expected) for action, n in wanted.items())
    assert check(tmp_path / "out")["exit_code"] == 0
