"""Identical (query, passage) pairs are asked once, wherever in the source they stand: what a repeated pair costs is nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted import ScriptedEngine, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine

QUERY = "who painted the night watch"
POSITIVE = "The Night Watch was painted by Rembrandt for a company of the civic guard."
NEGATIVES = [
    "The museum opens at nine and closes at five on every day of the year.",
    "Vermeer lived in Delft, where he painted few and quiet pictures.",
    "A civic guard kept watch at night over the gates of the city.",
]


def told(text: str) -> dict[str, str]:
    return {"docid": str(len(text)), "title": "", "text": text}


def tevatron(numbers: list[int], query: str = QUERY) -> dict[str, Any]:
    return {
        "query_id": "q", "query": query, "positive_passages": [told(POSITIVE)],
        "negative_passages": [told(NEGATIVES[i]) for i in numbers],
    }  # fmt: skip


REPEATED = [tevatron([0, 1]), tevatron([1, 2]), tevatron([0, 1, 2])]
TRIPLETS = [{"anchor": QUERY, "positive": POSITIVE, "negative": text} for text in [*NEGATIVES, *NEGATIVES]]


@pytest.mark.parametrize("rows", [REPEATED, TRIPLETS], ids=["repeated rows", "triplets"])
@pytest.mark.parametrize("in_flight", [1, 64])
def test_a_pair_is_asked_once(rows: list[dict[str, Any]], in_flight: int, tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    engine = ScriptedEngine(delay=0.01)  # slow enough for the same pair to be asked again meanwhile
    settings: dict[str, Any] = {"min_answerable": 0.0, "variants": "filter", "short_rows": "keep"}
    config = RunConfig(source=str(source), output=str(tmp_path / "out"), max_in_flight=in_flight, **settings)
    result = run_refine(config, Monitor(), scripted_judge(engine))
    assert engine.count == len(set(engine.keys)) == result.requests["sent"] == 1 + len(NEGATIVES)
    statuses: dict[str, set[str]] = {}
    for item in pq.read_table(next((tmp_path / "out" / "evidence").glob("*.parquet"))).to_pylist():
        statuses.setdefault(item["text_sha256"], set()).add(item["answer_status"])
    assert all(len(found) == 1 for found in statuses.values()), "equal pairs have equal answers"


def test_the_same_passage_of_another_query_is_another_pair(tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    rows = [tevatron([0]), tevatron([0], "who painted the girl with a pearl earring")]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    engine = ScriptedEngine()
    config = RunConfig(source=str(source), output=str(tmp_path / "out"), min_answerable=0.0, variants="filter")
    run_refine(config, Monitor(), scripted_judge(engine))
    assert engine.count == 4
