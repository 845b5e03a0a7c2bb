"""The schemas as real files have them: FlagEmbedding's own examples, real RLHN runs and TREC-DL 2019.

The files are not part of the project (their licences forbid some of it): without them these tests skip.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from format_helpers import place, shape, untouched

from arhn_hf.formats import detect
from arhn_hf.records import Cell
from arhn_hf.sources import load_source

SHARED = Path(os.environ.get("ARHN_SHARED") or Path(__file__).resolve().parents[2].parent / "shared") / "data"
FILES = {
    "flagembedding/embedder_example_data_retrieval_msmarco.jsonl": ("flagembedding", 10, 250),
    "flagembedding/embedder_example_data_retrieval_nq.jsonl": ("flagembedding", 10, 979),
    "flagembedding/reranker_example_data_normal_examples.jsonl": ("flagembedding", 10, None),
    "flagembedding/reranker_example_data_prompt_based_examples.jsonl": ("flagembedding", 10, None),
    "rlhn-logs/fiqa.stage_1.gpt-4o-mini.jsonl": ("tevatron", 25, None),
    "rlhn-logs/fiqa.stage_2.gpt-4o.jsonl": ("tevatron", 17, None),
    "rlhn-logs/msmarco_passage.stage_1.gpt-4o-mini.jsonl": ("tevatron", 25, None),
    "rlhn-logs/msmarco_passage.stage_2.gpt-4o.jsonl": ("tevatron", 19, None),
    "trec-dl-2019/hard_negatives.jsonl.gz": ("tevatron", 34, None),
}


@pytest.mark.parametrize("name", FILES)
def test_real_files(name: str, tmp_path: Path) -> None:
    path = SHARED / name
    if not path.exists():
        if "shared" in os.environ.get("ARHN_REQUIRE", "").split(","):
            pytest.fail(f"ARHN_REQUIRE names shared, but {path} is missing")
        pytest.skip("the shared data is not here")
    known, count, negatives = FILES[name]
    dataset = load_source(str(path), cache_dir=tmp_path).dataset
    table, form = dataset.data.table, detect(dataset.features)
    assert (form.name, dataset.num_rows) == (known, count)
    began = time.perf_counter()
    rows = form.read(table)
    assert time.perf_counter() - began < 1
    assert negatives in (None, sum(len(row.negatives) for row in rows))
    assert all(row.query and row.positives and all(d.text for d in row.positives + row.negatives) for row in rows)

    written = untouched(form, table)
    assert written.schema.equals(table.schema, check_metadata=True)
    assert written.to_pylist() == table.to_pylist()

    last = Cell(0, "negative", len(rows[0].negatives) - 1)
    moved = shape(form, table, [place(rows, [0], promote=[last])]).to_pylist()[0]
    sides = ("pos", "neg") if known == "flagembedding" else ("positive_passages", "negative_passages")
    source = table.to_pylist()[0]
    assert moved[sides[0]] == [*source[sides[0]], source[sides[1]][-1]]
    assert moved[sides[1]] == source[sides[1]][:-1]
