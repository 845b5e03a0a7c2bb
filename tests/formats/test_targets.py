"""What `--to` writes: columns and rows of each target schema."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, Features

from arhn_hf.formats import TARGETS, detect
from arhn_hf.records import Document, SourceRow
from arhn_hf.text import text_sha256

QUERY = SourceRow("q", [], [], query_id="7", subset="nq", instruction="Find it")
BARE = SourceRow("q", [], [])
P, R = Document("p", "Title", "P"), Document(None, None, "R")
A, B, C = (Document(None, None, text) for text in "ABC")
EVERYTHING = {"query_id": True, "subset": True, "instruction": True}


def built(name: str, query: SourceRow, source: dict[str, Any], count: int | None = None) -> list[dict[str, Any]]:
    target = TARGETS[name]()
    rows = target.build(query, [P, R], [A, B, C], count)
    features = target.features(source)
    written = Dataset.from_list(rows, features=features)  # fails if rows and features disagree
    assert all(set(row) <= set(features) for row in rows)
    return list(written.to_list())


def test_tevatron() -> None:
    passage = [{"docid": text_sha256(None, d.text), "title": "", "text": d.text} for d in (R, A, B, C)]
    expected = {
        "query_id": "7",
        "query": "q",
        "positive_passages": [{"docid": "p", "title": "Title", "text": "P"}, passage[0]],
        "negative_passages": passage[1:],
    }
    assert built("tevatron", QUERY, EVERYTHING) == [expected | {"subset": "nq"}]
    assert built("tevatron", BARE, {}) == [expected | {"query_id": text_sha256(None, "q")}]


def test_flagembedding() -> None:
    expected = {"query": "q", "pos": ["Title P", "R"], "neg": ["A", "B", "C"]}
    assert built("flagembedding", QUERY, EVERYTHING) == [expected | {"prompt": "Find it"}]
    assert built("flagembedding", BARE, {}) == [expected]
    assert TARGETS["flagembedding"].file_type == "jsonl"


def test_triplet_has_the_positives_outside() -> None:
    rows = built("triplet", QUERY, EVERYTHING)
    assert [tuple(row.values()) for row in rows] == [("q", p, n) for p in ("Title P", "R") for n in "ABC"]
    assert list(rows[0]) == ["anchor", "positive", "negative"]
    assert TARGETS["triplet"]().build(QUERY, [P], [], None) == []


def test_n_tuple_has_one_row_per_positive() -> None:
    rows = built("n-tuple", QUERY, {"negatives": 2}, 2)
    assert [tuple(row.values()) for row in rows] == [("q", "Title P", "A", "B"), ("q", "R", "A", "B")]
    assert list(rows[0]) == ["anchor", "positive", "negative_1", "negative_2"]
    target = TARGETS["n-tuple"]()
    assert target.build(QUERY, [P], [A, B, C], 4) == []
    assert target.build(QUERY, [P], [A, B, C], None) == []
    assert len(target.features({})) == 2 + 7
    assert target.needs_negatives
    assert target.default_short_rows == "backfill"


def test_labeled_pair_has_one_row_per_passage() -> None:
    rows = built("labeled-pair", QUERY, EVERYTHING)
    assert [tuple(row.values()) for row in rows] == [
        ("q", "Title P", 1), ("q", "R", 1), ("q", "A", 0), ("q", "B", 0), ("q", "C", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_written_is_recognised(name: str) -> None:
    features: Features = TARGETS[name]().features(EVERYTHING | {"negatives": 3})
    assert detect(features).name == name
