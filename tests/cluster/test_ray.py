"""On Ray, whatever dies: a worker, a machine or the run itself; nothing is lost, and the result is that of a local run."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import fleet_engines as engines
import pytest
from durability import assert_kept, kill, start, stored_keys, wait_until
from fleet_engines import alive, lines
from scripted import folder_bytes

from arhn_hf.engines import ray as ray_module
from arhn_hf.engines.base import Request, Response
from arhn_hf.engines.fleet import Fleet
from arhn_hf.records import UsageError

REQUESTS = 600


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def fleet(head: Any, second: Any, calls: Path, notices: list[str]) -> Iterator[Fleet]:
    """An engine on each of the two nodes, as one."""
    cluster = ray_module.Cluster(head.address)
    workers = cluster.workers(partial(engines.Obedient, str(calls), delay=0.02, threads=4), None, gpus=0)
    assert len(workers) == 2, "as many as there is room for"
    made = Fleet(workers, max_in_flight=16, notice=notices.append, on_close=cluster.close)
    yield made
    made.close()


def ask(fleet: Fleet) -> list[Future[Response]]:
    return [fleet.submit(Request("answer", {"n": n})) for n in range(REQUESTS)]


def check_all(futures: list[Future[Response]], calls: Path) -> None:
    """Everybody has an answer, and only what one worker had in flight was asked for twice."""
    for n, future in enumerate(futures):
        assert future.result(100).text.split()[0] == str(n)
    asked = Counter(n for _, n in lines(calls))
    assert set(asked) == {str(n) for n in range(REQUESTS)}
    assert asked.total() - REQUESTS <= 8


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("victim", ["engine", "actor"])
def test_a_killed_worker_is_started_again(fleet: Fleet, calls: Path, notices: list[str], victim: str) -> None:
    futures = ask(fleet)
    wait_until(lambda: len(lines(calls)) >= 100)
    engine = int(lines(calls)[-1][0])
    os.kill(engine if victim == "engine" else parent(engine), signal.SIGKILL)
    check_all(futures, calls)
    wait_until(lambda: not alive(engine))
    assert sum("died" in line for line in notices) == 1
    wait_until(lambda: len({pid for pid, _ in lines(calls)}) == 3 or all(one.done() for one in futures))


def test_a_killed_machine_is_done_without(
    fleet: Fleet, head: Any, second: Any, calls: Path, notices: list[str]
) -> None:
    futures = ask(fleet)
    wait_until(lambda: len(lines(calls)) >= 100)
    pids = {int(pid) for pid, _ in lines(calls)}
    head.remove_node(second, allow_graceful=False)
    check_all(futures, calls)
    assert sum("died" in line for line in notices) == 1
    wait_until(lambda: sum(alive(pid) for pid in pids) == 1)


def refine(sample: Path, output: Path, *words: str) -> Any:
    """The command line in a process of its own."""
    return start(
        "-m", "arhn_hf.cli.main", "refine", str(sample), "--output", str(output), "--max-in-flight", "4", "--json",
        "--sample", "12", *words,
    )  # fmt: skip


def test_after_kill_9_of_the_run_the_same_command_finishes_as_a_local_run_does(
    head: Any, second: Any, sample: Path, tmp_path: Path
) -> None:
    local = refine(sample, tmp_path / "local")
    on_ray = ("--executor", "ray", "--ray-address", head.address, "--workers", "2")
    store = tmp_path / "out" / ".arhn" / "store.sqlite"
    killed = refine(sample, tmp_path / "out", *on_ray)
    wait_until(lambda: store.exists() and len(stored_keys(store)) >= 20, killed)
    assert kill(killed), "the run ended before it could be killed"
    committed = stored_keys(store)
    _, errors = local.communicate(timeout=100)
    assert local.returncode == 0, errors
    keys = stored_keys(tmp_path / "local" / ".arhn" / "store.sqlite")
    assert committed < keys

    again = refine(sample, tmp_path / "out", *on_ray)
    answer, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    assert f'"sent": {len(keys) - len(committed)},' in answer
    assert stored_keys(store) == keys
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "local")
    assert_kept(tmp_path / "out")


def test_too_many_workers_are_refused(head: Any) -> None:
    cluster = ray_module.Cluster(head.address)
    try:
        with pytest.raises(UsageError, match="--workers 9: the cluster has CPUs for [12] engines"):
            cluster.workers(engines.Crashing, 9, gpus=0)
    finally:
        cluster.close()


@pytest.mark.parametrize("listens", [True, False])
def test_an_address_that_does_not_answer_is_an_error_within_bounds(
    installed: None, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setattr(ray_module, "ANSWERS_WITHIN", 6.0)
    began = time.monotonic()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if listens:
            mute.listen()
        with pytest.raises(UsageError, match="answers there"):
            ray_module.Cluster(f"127.0.0.1:{mute.getsockname()[1]}")
    assert time.monotonic() - began < 15
