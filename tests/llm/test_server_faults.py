"""A request that is itself at fault is marked, a server that is at fault is waited for: over real HTTP, with the real client."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer, Fault, error

import arhn_hf
from arhn_hf.engines import server as engine_module
from arhn_hf.engines.base import EngineError
from arhn_hf.pipeline import RefineResult


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(engine_module, "_LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(engine_module, "_PROBE_TIMEOUT", 0.3)


def go(fake: FakeServer, source: Path, output: Path, **options: Any) -> RefineResult:
    values = {
        "base_url": fake.url, "model": "me/model", "min_answerable": 0.0, "sample": 5, "max_failures": 1.0, **options,
    }  # fmt: skip
    return arhn_hf.refine(str(source), output=str(output), judge="server", **values)


def statuses(folder: Path) -> list[str]:
    return [
        item["answer_status"]
        for file in (folder / "evidence").glob("*.parquet")
        for item in pq.read_table(file).to_pylist()
    ]


class Poisoned:
    """The first request seen, whenever it comes, gets `fault`; all others are answered."""

    def __init__(self, fault: Fault | None, *, sleep: float = 0.0) -> None:
        self.fault, self.sleep = fault, sleep
        self.messages: Any = None
        self.tries = 0
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Fault | None:
        with self._lock:
            if self.messages is None:
                self.messages = body["messages"]
            mine = body["messages"] == self.messages
            self.tries += mine
        if mine:
            time.sleep(self.sleep)
            return self.fault
        return None


@pytest.mark.parametrize("status", [500, 502])
@pytest.mark.parametrize(("concurrency", "patience"), [(8, 300.0), (1, 300.0), (8, 0.2)])
def test_one_request_that_a_server_cannot_do_is_marked(
    sample: Path, tmp_path: Path, status: int, concurrency: int, patience: float
) -> None:
    """Beside others, alone at the front of a line of one, and when it is the last and patience runs out."""
    with FakeServer().running() as fake:
        first = go(fake, sample, tmp_path / "whole", sample=1)  # how many requests a row is
        fake.always = poisoned = Poisoned(error(status, "CUDA out of memory"))
        store = str(tmp_path / "whole" / ".arhn" / "store.sqlite")
        result = go(fake, sample, tmp_path / "out", concurrency=concurrency, patience=patience, store=store)
    assert first.exit_code == result.exit_code == 0
    assert result.failures["by_status"] == {"engine_error": 1} or result.failures["count"] == 0, "a positive, perhaps"
    assert statuses(tmp_path / "out").count("engine_error") == 1
    assert 8 <= poisoned.tries <= 20


def test_the_marked_request_is_asked_again_by_the_next_run(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        fake.always = Poisoned(error(500))
        go(fake, sample, tmp_path / "out", concurrency=8)
        fake.always = lambda body: None
        before = len(fake.seen)
        go(fake, sample, tmp_path / "out", concurrency=8)
    assert "engine_error" not in statuses(tmp_path / "out")
    assert len(fake.seen) - before < 10


def test_a_request_that_never_ends_is_marked(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        fake.always = poisoned = Poisoned(None, sleep=1.6)
        go(fake, sample, tmp_path / "out", concurrency=8, request_timeout=1.0, sample=2)
    assert statuses(tmp_path / "out").count("engine_error") == 1
    assert 3 <= poisoned.tries <= 8


def test_overload_is_never_one_requests_fault(sample: Path, tmp_path: Path) -> None:
    """30 times 503 for one request while all others are answered: it is tried until it is answered."""
    with FakeServer().running() as fake:
        poisoned = Poisoned(error(503))

        def overloaded(body: dict[str, Any]) -> Fault | None:
            return poisoned(body) if poisoned.tries < 30 else None

        fake.always = overloaded
        result = go(fake, sample, tmp_path / "out", concurrency=8)
    assert result.failures["count"] == 0
    assert "engine_error" not in statuses(tmp_path / "out")


def test_a_server_that_fails_everybody_is_away(sample: Path, tmp_path: Path) -> None:
    """Not 60 requests at fault: the run ends, and nothing is marked."""
    with FakeServer().running() as fake:
        fake.always = lambda body: error(500) if len(fake.seen) > 20 else None
        with pytest.raises(EngineError, match="away"):
            go(fake, sample, tmp_path / "out", patience=1.0, concurrency=8)
        assert not (tmp_path / "out" / "arhn.json").exists()


def test_a_server_that_fails_everybody_for_a_while_is_waited_for(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        until: list[float] = []

        def outage(body: dict[str, Any]) -> Fault | None:
            if len(fake.seen) == 20:
                until.append(time.monotonic() + 1.5)
            return error(500) if until and time.monotonic() < until[0] else None

        fake.always = outage
        result = go(fake, sample, tmp_path / "out", concurrency=8)
    assert result.failures["count"] == 0
    assert "engine_error" not in statuses(tmp_path / "out")


def test_an_endpoint_that_holds_connections_open_is_named(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        released = threading.Event()

        def hold(body: dict[str, Any]) -> None:
            if len(fake.seen) > 20:
                released.wait(30)

        fake.always = hold
        with pytest.raises(EngineError, match="no request has finished") as caught:
            go(fake, sample, tmp_path / "out", concurrency=4, stall_timeout=1.0)
        released.set()
        assert f"http://127.0.0.1:{fake.port}/v1 (me/model) hangs with" in str(caught.value)
        fake.always = lambda body: None
        assert go(fake, sample, tmp_path / "out", stall_timeout=30.0).requests["from_store"] == 20


def test_a_server_that_is_away_is_no_stall(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        until = time.monotonic() + 2.5
        fake.always = lambda body: error(503) if time.monotonic() < until else None
        result = go(fake, sample, tmp_path / "out", stall_timeout=1.0)
    assert result.exit_code == 0
    assert time.monotonic() > until


def test_a_password_in_the_address_is_not_printed() -> None:
    engine = engine_module.ServerEngine("http://me:secret@localhost:8000/v1/", "m")
    from arhn_hf.engines.base import Request

    assert engine.hangs_at(Request("answer", {})) == "http://localhost:8000/v1 (m)"
    engine.close()
