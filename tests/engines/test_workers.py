"""Which GPUs and cores each engine gets, and whole runs over several engines of the command line's own judge."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "pipeline"))
from durability import assert_kept, start, stored_keys, wait_until
from fleet_engines import Placed, alive
from scripted import folder_bytes

from arhn_hf.config import RunConfig
from arhn_hf.engines.gpus import shares, visible_gpus
from arhn_hf.judges.fleets import local_workers
from arhn_hf.records import UsageError

VLLM = {"judge": "vllm", "model": "m"}
two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


def environments(**options: object) -> list[dict[str, str]]:
    """What real worker processes find in their environment."""
    links = [one.start() for one in local_workers(RunConfig.from_mapping(options), Placed)]
    try:
        return [link.facts().identity for link in links]
    finally:
        for link in links:
            link.stop(1)


def test_each_engine_sees_its_own_gpus_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,GPU-7")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments(**VLLM, gpus="auto")] == ["4", "5", "6", "GPU-7"]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments(**VLLM, gpus="2")] == ["4", "5"]
    pairs = environments(**VLLM, gpus="auto", tensor_parallel=2)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in pairs] == ["4,5", "6,GPU-7"]


def test_each_engine_on_the_cpu_has_cores_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4})
    bound = [one["VLLM_CPU_OMP_THREADS_BIND"] for one in environments(**VLLM, workers=2)]
    assert bound == ["0,1", "2,3"]
    with pytest.raises(UsageError, match="this machine has 5 cores"):
        environments(**VLLM, workers=6)


def test_workers_without_a_device_are_not_for_machines_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UsageError, match="With GPUs it is --gpus N"):
        environments(**VLLM, workers=1)


@pytest.mark.parametrize(
    ("visible", "asked", "each", "says"),
    [
        ("", "auto", 1, "--gpus auto: this machine has no visible GPU. Leave it out"),
        ("-1", "2", 1, "no visible GPU"),
        ("0,1", "3", 1, "only 2 GPUs are visible"),
        ("0,1,2", "3", 2, "multiple of --tensor-parallel"),
        ("0", "auto", 2, "multiple of --tensor-parallel"),
    ],
)
def test_gpus_that_are_not_there_are_refused(
    monkeypatch: pytest.MonkeyPatch, visible: str, asked: str, each: int, says: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UsageError, match=says):
        shares(asked, each)


def test_auto_takes_as_many_as_engines_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,-1,3")
    assert visible_gpus() == ["0", "1", "2"], "CUDA stops at the first that is none"
    assert shares("auto", 2) == [["0", "1"]]


def test_the_drivers_tool_is_asked_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its output as a machine with two GPUs gives it; one without a driver fails, and then the device files count."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert len(visible_gpus()) == len(list(Path("/dev").glob("nvidia[0-9]*")))


def refine(sample: Path, output: Path, *words: str) -> object:
    return start("-m", "arhn_hf.cli.main", "refine", str(sample), "--sample", "12", "--output", str(output), *words)


@two_cores
def test_two_readers_decide_as_one(sample: Path, tmp_path: Path) -> None:
    one, two = refine(sample, tmp_path / "one"), refine(sample, tmp_path / "two", "--workers", "2")
    for process in (one, two):
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")
    assert_kept(tmp_path / "two")
    again = refine(sample, tmp_path / "two", "--json")
    answer, errors = again.communicate(timeout=200)
    assert '"sent": 0,' in answer
    assert "other settings" not in errors, "where it runs is no setting of the result"


@two_cores
def test_ctrl_c_ends_all_of_it_in_one_line(sample: Path, tmp_path: Path) -> None:
    store = tmp_path / "out" / ".arhn" / "store.sqlite"
    process = refine(sample, tmp_path / "out", "--workers", "2", "--max-in-flight", "2", "-q")
    wait_until(lambda: store.exists() and len(stored_keys(store)) >= 5, process)
    workers = below(process.pid)
    assert len(workers) == 2
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert [line for line in errors.splitlines() if line] == [
        "Error: interrupted. Run the same command again: it goes on where it stopped"
    ]
    end = time.monotonic() + 15
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < end
        time.sleep(0.05)


def below(pid: int) -> list[int]:
    """The worker processes of a run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"worker_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found
