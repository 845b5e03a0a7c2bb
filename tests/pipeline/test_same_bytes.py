"""Same stored answers, same bytes: whatever the batches, limits, threads, the order of replies and of rows."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest
from durability import assert_kept, evidence, go, made_rows, write_source
from scripted import ScriptedEngine, folder_bytes, scripted_judge, scripted_reply

import arhn_hf
import arhn_hf.pipeline
from arhn_hf.engines.base import Request, Response
from arhn_hf.monitor import Monitor
from arhn_hf.prompts import template
from arhn_hf.stages import maps


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source.jsonl", made_rows(9, 4))


def shuffled_in_time(seed: int) -> Any:
    """Replies that come back in another order than they were asked for."""
    chooser = random.Random(seed)

    def reply(request: Request) -> Response:
        time.sleep(chooser.choice((0.0, 0.001, 0.006)))
        return scripted_reply(request)

    return reply


@pytest.mark.parametrize(
    ("asking", "pure", "limit", "threads"), [(1, 1, 1024, 8), (2, 5, 1, 1), (4, 2, 3, 16), (500, 1000, 7, 3)]
)
def test_batches_limits_threads_and_the_order_of_replies(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asking: int, pure: int, limit: int, threads: int
) -> None:
    go(source, tmp_path / "whole", ScriptedEngine(threads=1))
    monkeypatch.setattr(maps, "ASKING_BATCH", asking)
    monkeypatch.setattr(arhn_hf.pipeline, "ASKING_BATCH", asking)
    monkeypatch.setattr(maps, "PURE_BATCH", pure)
    monkeypatch.setitem(maps.Maps.map.__kwdefaults__, "batch", pure)
    engine = ScriptedEngine(shuffled_in_time(limit), threads=threads)
    go(source, tmp_path / "out", engine, max_in_flight=limit)
    assert len(engine.keys) == len(set(engine.keys))
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_no_more_requests_are_in_flight_than_allowed(source: Path, tmp_path: Path) -> None:
    flying, most = [0], [0]

    class Counting(ScriptedEngine):
        def submit(self, request: Request) -> Any:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
            return super().submit(request)

        def _answer(self, request: Request) -> Response:
            response = super()._answer(request)
            flying[0] -= 1
            return response

    go(source, tmp_path / "out", Counting(delay=0.002), max_in_flight=5)
    assert 1 < most[0] <= 5


def test_shuffled_rows_get_the_same_decisions_and_ask_nothing_new(tmp_path: Path) -> None:
    rows = made_rows(12, 4)
    store = str(tmp_path / "answers.sqlite")
    go(write_source(tmp_path / "source.jsonl", rows), tmp_path / "whole", store=store)
    random.Random(3).shuffle(rows)
    engine = ScriptedEngine()
    result = go(write_source(tmp_path / "shuffled.jsonl", rows), tmp_path / "out", engine, store=store)
    assert engine.count == 0
    assert result.requests["from_store"] > 0
    apart = ("row", "position")
    found = [
        {(e["query_id"], e["docid"]): {k: v for k, v in e.items() if k not in apart} for e in evidence(tmp_path / name)}
        for name in ("whole", "out")
    ]
    assert len(found[0]) == 12 * 5
    assert found[0] == found[1]
    assert_kept(tmp_path / "out")


def test_one_store_serves_two_folders(source: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "kept" / "answers.sqlite")
    go(source, tmp_path / "one", store=store)
    engine = ScriptedEngine()
    go(source, tmp_path / "two", engine, store=store)
    assert engine.count == 0
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")
    assert not (tmp_path / "two" / ".arhn" / "store.sqlite").exists()


def test_other_settings_in_the_same_folder_reuse_the_answers(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    go(source, output)
    stricter, monitor = ScriptedEngine(), Monitor()
    result = go(source, output, stricter, monitor, min_negatives=3)
    assert stricter.count == 0
    assert any("a finished run of other settings" in line and "kept" in line for line in monitor.notices)
    go(source, tmp_path / "fresh", min_negatives=3)
    assert folder_bytes(output) == folder_bytes(tmp_path / "fresh")

    claims = ScriptedEngine()
    result = go(source, output, claims, min_negatives=3, criterion=["beta=claim"])
    fresh = ScriptedEngine()
    go(source, tmp_path / "only", fresh, min_negatives=3, criterion=["beta=claim", "alpha=skip"])
    assert set(claims.keys) == set(fresh.keys), "another criterion for one subset asks for that subset alone"
    assert result.requests["from_store"] > 0
    back = ScriptedEngine()
    go(source, output, back, min_negatives=3)
    assert back.count == 0
    assert folder_bytes(output) == folder_bytes(tmp_path / "fresh")


def test_fewer_variants_leave_none_of_the_others_behind(source: Path, tmp_path: Path) -> None:
    go(source, tmp_path / "out")
    engine = ScriptedEngine()
    go(source, tmp_path / "out", engine, variants="filter")
    assert engine.count == 0
    assert not (tmp_path / "out" / "combined").exists()
    go(source, tmp_path / "only", variants="filter")
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "only")
    assert_kept(tmp_path / "out")


def test_fresh_deletes_outputs_first_and_keeps_answers(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    go(source, output)
    before = folder_bytes(output)
    (output / "combined" / "left-over.parquet").write_bytes(b"not ours")
    (output / "mine.txt").write_text("a person's own file")
    seen: list[bool] = []

    class Looking(Monitor):
        def begin(self, stage: str, *more: Any, **options: Any) -> None:
            if stage == "deciding":
                seen.extend((output / name).exists() for name in ("combined", "filter", "evidence", "arhn.json"))
            super().begin(stage, *more, **options)

    engine = ScriptedEngine()
    go(source, output, engine, Looking(), fresh=True)
    assert seen == [False] * 4
    assert engine.count == 0
    assert (output / "mine.txt").read_text() == "a person's own file"
    (output / "mine.txt").unlink()
    assert folder_bytes(output) == before


def test_a_changed_prompt_reuses_none(source: Path, tmp_path: Path) -> None:
    first = ScriptedEngine()
    go(source, tmp_path / "out", first)
    before = folder_bytes(tmp_path / "out")
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for name in ("answer", "ranking"):
        own = template(name).template
        (prompts / f"{name}.txt").write_text(f"Take care. {own}", encoding="utf-8")
    second = ScriptedEngine()
    result = go(source, tmp_path / "out", second, prompts=str(prompts), judge="vllm", model="me/model")
    assert result.requests["from_store"] == 0
    assert len(second.keys) == len(first.keys)
    assert not set(second.keys) & set(first.keys)
    third = ScriptedEngine()
    go(source, tmp_path / "out", third)
    assert third.count == 0
    assert folder_bytes(tmp_path / "out") == before


def test_another_model_reuses_none(source: Path, tmp_path: Path) -> None:
    go(source, tmp_path / "out")

    class Other(ScriptedEngine):
        def __init__(self) -> None:
            super().__init__()
            self.identity["model"] = "another"

    result = go(source, tmp_path / "out", Other())
    assert result.requests["from_store"] == 0


def test_refine_inside_a_running_event_loop(source: Path, tmp_path: Path) -> None:
    """What a notebook does."""

    async def cell(engine: ScriptedEngine) -> arhn_hf.RefineResult:
        await asyncio.sleep(0)
        result = arhn_hf.refine(
            str(source), judge=scripted_judge(engine), output=str(tmp_path / "out"), min_answerable=0.0
        )
        await asyncio.sleep(0)
        return result

    engine = ScriptedEngine()
    result = asyncio.run(cell(engine))
    assert result.exit_code == 0
    assert engine.count > 0
    go(source, tmp_path / "whole")
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")

    again = ScriptedEngine()
    asyncio.run(cell(again))
    assert again.count == 0
