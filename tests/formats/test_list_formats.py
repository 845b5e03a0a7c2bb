"""What happens to nested fields, scores and ids when passages of a list schema move, leave or come from another row."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, Features, List, Value
from format_helpers import place, shape, table_of

from arhn_hf.formats import detect
from arhn_hf.records import Cell, Document, UsageError

TEXT, INT, FLOAT = Value("string"), Value("int64"), Value("float64")


def neg(row: int, position: int) -> Cell:
    return Cell(row, "negative", position)


def passage(key: str, **more: Any) -> dict[str, Any]:
    return {"docid": key, "title": f"title {key}", "text": f"text {key}", **more}


def refine(rows: list[dict[str, Any]], features: Features | None = None, **decided: Any) -> list[dict[str, Any]]:
    """Row 0 refined as decided; the others are only there to lend donors."""
    table = table_of(rows, features)
    form = detect(Features.from_arrow_schema(table.schema))
    written = shape(form, table, [place(form.read(table), [0], **decided)])
    written.validate(full=True)
    assert written.schema.equals(table.schema, check_metadata=True)
    return list(written.to_pylist())


def test_tevatron_reads_every_column_it_knows() -> None:
    rows: list[dict[str, Any]] = [
        {"query_id": 7, "query": "q", "subset": "nq", "positive_passages": [passage("p")], "negative_passages": []},
        {
            "query_id": None,
            "query": None,
            "subset": None,
            "positive_passages": None,
            "negative_passages": [passage("n")],
        },
    ]
    table = table_of(rows)
    first, second = detect(Features.from_arrow_schema(table.schema)).read(table)
    assert (first.query_id, first.query, first.subset, first.instruction) == ("7", "q", "nq", None)
    assert (first.positives, first.negatives) == ([Document("p", "title p", "text p")], [])
    assert (second.query_id, second.query, second.subset, second.positives) == (None, None, None, [])


def test_tevatron_nested_fields_move_along() -> None:
    row = {
        "query": "q",
        "positive_passages": [passage("p", grade=3, tags=["a"])],
        "negative_passages": [
            passage("n0", grade=0, tags=[]),
            passage("n1", grade=2, tags=None),
            passage("n2", grade=1, tags=[]),
        ],
        "kept": "as it is",
    }
    other = {
        "query": "r",
        "positive_passages": [],
        "negative_passages": [passage("d", grade=9, tags=["b"])],
        "kept": "not",
    }
    [out] = refine([row, other], promote=[neg(0, 1)], remove=[neg(0, 2)], donors=[neg(1, 0)])
    assert out["positive_passages"] == [row["positive_passages"][0], row["negative_passages"][1]]
    assert out["negative_passages"] == [row["negative_passages"][0], other["negative_passages"][0]]
    assert out["kept"] == "as it is"
    assert out["query"] == "q"


def test_tevatron_fields_are_matched_by_name() -> None:
    features = Features(
        {
            "query": TEXT,
            "positive_passages": List(
                {"text": Value("large_string"), "docid": TEXT, "rank": INT, "meta": {"a": INT, "b": TEXT}}
            ),
            "negative_passages": List(
                {"docid": INT, "score": FLOAT, "meta": {"b": TEXT, "c": TEXT}, "rank": TEXT, "text": TEXT}
            ),
        }
    )
    negatives = [
        {"docid": 4, "score": 0.5, "meta": {"b": "x", "c": "y"}, "rank": "7", "text": "n0"},
        {"docid": 5, "score": 0.5, "meta": None, "rank": "seven", "text": "n1"},
    ]
    row = {"query": "q", "positive_passages": [], "negative_passages": negatives}
    [out] = refine([row], features, promote=[neg(0, 0), neg(0, 1)])
    assert out["positive_passages"] == [
        {"text": "n0", "docid": "4", "rank": 7, "meta": {"a": None, "b": "x"}},
        {"text": "n1", "docid": "5", "rank": None, "meta": None},
    ]
    assert out["negative_passages"] == []


def test_tevatron_old_layout_moves_every_list() -> None:
    nested = {name: List(feature) for name, feature in {"docid": TEXT, "text": TEXT, "score": FLOAT}.items()}
    features = Features({"query": TEXT, "positive_passages": nested, "negative_passages": nested})
    row = {
        "query": "q",
        "positive_passages": {"docid": ["p"], "text": ["P"], "score": [1.0]},
        "negative_passages": {"docid": ["a", "b"], "text": ["A", "B"], "score": None},
    }
    [out] = refine([row], features, promote=[neg(0, 1)])
    assert out["positive_passages"] == {"docid": ["p", "b"], "text": ["P", "B"], "score": [1.0, None]}
    assert out["negative_passages"] == {"docid": ["a"], "text": ["A"], "score": None}


def test_an_emptied_list_is_empty_and_a_null_one_can_be_filled() -> None:
    full = {"query": "q", "positive_passages": [passage("p")], "negative_passages": [passage("n")]}
    assert refine([full], remove=[neg(0, 0)])[0]["negative_passages"] == []
    null = {"query": "q", "positive_passages": [passage("p")], "negative_passages": None}
    assert refine([null, full], donors=[neg(1, 0)])[0]["negative_passages"] == [passage("n")]


def test_flagembedding_scores_follow_their_passages() -> None:
    row = {
        "query": "q", "pos": ["p"], "neg": ["a", "b", "c"], "pos_scores": [0.9], "neg_scores": [0.1, 0.2, 0.3],
        "pos_id": ["i"], "neg_id": ["ia", "ib", "ic"], "prompt": "Find it", "type": "normal",
    }  # fmt: skip
    other = row | {"neg": ["d"], "neg_scores": [0.4], "neg_id": ["id"]}
    [out] = refine([row, other], promote=[neg(0, 2)], remove=[neg(0, 0)], donors=[neg(1, 0)])
    assert (out["pos"], out["pos_scores"], out["pos_id"]) == (["p", "c"], [0.9, 0.3], ["i", "ic"])
    # The donor keeps its id; its score was for another query.
    assert (out["neg"], out["neg_scores"], out["neg_id"]) == (["b", "d"], [0.2, None], ["ib", "id"])
    assert (out["prompt"], out["type"]) == ("Find it", "normal")


SCORES = {
    "null lists stay null": (None, None, None, None),
    "positives without scores": (None, [0.1, 0.2], None, [0.1]),
    "negatives without scores": ([0.9], None, [0.9, None], None),
    "too few scores": ([], [0.1], [], [0.1]),
}


@pytest.mark.parametrize(("pos_scores", "neg_scores", "new_pos", "new_neg"), SCORES.values(), ids=list(SCORES))
def test_flagembedding_with_some_scores(pos_scores: Any, neg_scores: Any, new_pos: Any, new_neg: Any) -> None:
    full = {"query": "r", "pos": ["r"], "neg": ["s"], "pos_scores": [0.5], "neg_scores": [0.5]}
    row = {"query": "q", "pos": ["p"], "neg": ["a", "b"], "pos_scores": pos_scores, "neg_scores": neg_scores}
    [out] = refine([row, full], promote=[neg(0, 1)])
    assert (out["pos"], out["neg"]) == (["p", "b"], ["a"])
    assert (out["pos_scores"], out["neg_scores"]) == (new_pos, new_neg)


def test_flagembedding_with_one_column_of_scores() -> None:
    row = {"query": "q", "pos": ["p"], "neg": ["a", "b"]}
    [out] = refine([row | {"neg_scores": [0.1, 0.2]}], promote=[neg(0, 0)])
    assert out == {"query": "q", "pos": ["p", "a"], "neg": ["b"], "neg_scores": [0.2]}
    [out] = refine([row | {"pos_scores": [0.9]}], promote=[neg(0, 0)])
    assert out == {"query": "q", "pos": ["p", "a"], "neg": ["b"], "pos_scores": [0.9, None]}


def test_flagembedding_reads_prompt_and_ids() -> None:
    rows = [{"query": "q", "pos": ["p"], "neg": [None, "b"], "prompt": "Find it", "pos_id": [1], "neg_id": [2, 3]}]
    table = table_of(rows)
    [row] = detect(Features.from_arrow_schema(table.schema)).read(table)
    assert row.instruction == "Find it"
    assert row.positives == [Document("1", None, "p")]
    assert row.negatives == [Document("2", None, None), Document("3", None, "b")]


def test_ids_are_read_from_the_corpus_and_written_as_ids() -> None:
    corpus = Dataset.from_dict({"docid": ["a", "b", "c"], "title": ["A", None, ""], "text": ["ta", "tb", "tc"]})
    row = {
        "query_id": "1", "query_text": "q", "positive_document_ids": ["a"], "negative_document_ids": ["b", "lost", "c"],
        "source": "s",
    }  # fmt: skip
    table = table_of([row])
    form = detect(Features.from_arrow_schema(table.schema), corpus)
    [read] = form.read(table)
    assert read.positives == [Document("a", "A", "ta")]
    assert read.negatives == [Document("b", None, "tb"), Document("lost", None, None), Document("c", "", "tc")]
    written = shape(form, table, [place([read], [0], promote=[neg(0, 2)], remove=[neg(0, 0)])])
    assert written.to_pylist() == [row | {"positive_document_ids": ["a", "c"], "negative_document_ids": ["lost"]}]


def test_ids_without_a_corpus_cannot_be_read() -> None:
    table = table_of([{"query": "q", "positive_document_ids": ["a"], "negative_document_ids": ["b"]}])
    form = detect(Features.from_arrow_schema(table.schema), Dataset.from_dict({"docid": ["a"], "text": ["A"]}))
    unbound = type(form).detect(Features.from_arrow_schema(table.schema))
    assert unbound is not None
    with pytest.raises(UsageError, match="--corpus"):
        unbound.read(table)
