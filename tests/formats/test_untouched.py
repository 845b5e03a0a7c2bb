"""A row that nothing happened to is written as it was: value by value, feature by feature, for every schema."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, Features, LargeList, List, Value
from format_helpers import place, shape, table_of, untouched
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.formats import Format, detect
from arhn_hf.records import Cell

TEXT, INT, FLOAT = Value("string"), Value("int64"), Value("float64")
STRUCT = {
    "docid": TEXT,
    "title": TEXT,
    "text": TEXT,
    "grade": INT,
    "tags": List(TEXT),
    "meta": {"rank": INT, "by": TEXT},
}
OLD = {name: List(feature) for name, feature in {"docid": TEXT, "title": TEXT, "text": TEXT, "score": FLOAT}.items()}
IDS = {"positive_document_ids": List(TEXT), "negative_document_ids": List(TEXT)}

texts = st.one_of(st.none(), st.text(max_size=6))


def _values(feature: Any) -> st.SearchStrategy[Any]:
    """Values of a feature, nulls included at every level."""
    if isinstance(feature, List | LargeList):
        return st.one_of(st.none(), st.lists(_values(feature.feature), max_size=3))
    if isinstance(feature, dict):
        return st.one_of(st.none(), st.fixed_dictionaries({name: _values(child) for name, child in feature.items()}))
    if feature.dtype == "null":
        return st.none()
    scalar = {"string": texts, "large_string": texts, "int64": st.integers(-9, 9), "bool": st.booleans()}
    floats = st.floats(allow_nan=False, width=32)
    return st.one_of(st.none(), scalar.get(feature.dtype, floats))


SCHEMAS: dict[str, Features] = {
    "tevatron": Features(
        {
            "query_id": TEXT,
            "query": TEXT,
            "positive_passages": List(STRUCT),
            "negative_passages": List(STRUCT),
            "subset": TEXT,
            "x": FLOAT,
        }
    ),
    "tevatron, other order": Features(
        {
            "n": INT,
            "negative_passages": List(dict(reversed(STRUCT.items()))),
            "positive_passages": List(STRUCT),
            "query": TEXT,
        }
    ),
    "tevatron, large": Features(
        {"query": TEXT, "positive_passages": LargeList(STRUCT), "negative_passages": LargeList(STRUCT)}
    ),
    "tevatron, old": Features({"query": TEXT, "positive_passages": OLD, "negative_passages": OLD}),
    "tevatron, no negatives": Features(
        {"query": TEXT, "positive_passages": List({"text": TEXT}), "negative_passages": List(Value("null"))}
    ),
    "tevatron-ids": Features({"query_text": TEXT, **IDS, "answer": TEXT, "source": TEXT}),
    "tevatron-ids, integers": Features(
        {"query": TEXT, "positive_document_ids": List(INT), "negative_document_ids": List(INT)}
    ),
    "flagembedding": Features(
        {
            "query": TEXT,
            "pos": List(TEXT),
            "neg": List(TEXT),
            "pos_scores": List(FLOAT),
            "neg_scores": List(FLOAT),
            "prompt": TEXT,
            "type": TEXT,
            "pos_id": List(INT),
            "neg_id": List(INT),
        }
    ),
    "flagembedding, half the scores": Features(
        {"neg_scores": List(FLOAT), "query": TEXT, "pos": LargeList(TEXT), "neg": LargeList(TEXT)}
    ),
    "triplet": Features({"anchor": TEXT, "positive": TEXT, "negative": TEXT, "score": FLOAT, "more": List(INT)}),
    "triplet, mixed strings": Features({"negative": TEXT, "query": TEXT, "pos": Value("large_string")}),
    "n-tuple": Features(
        {"query": TEXT, "positive": TEXT, "negative_1": TEXT, "negative_2": Value("large_string"), "id": INT}
    ),
}


def bound(features: Features) -> Format:
    """The format, with a corpus where it needs one."""
    return detect(features, Dataset.from_dict({"docid": ["a", "b"], "text": ["A", "B"]}))


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_untouched_rows_are_equal(name: str, data: st.DataObject) -> None:
    features = SCHEMAS[name]
    rows = data.draw(
        st.lists(st.fixed_dictionaries({n: _values(f) for n, f in features.items()}), min_size=1, max_size=4)
    )
    table = table_of(rows, features)
    written = untouched(bound(features), table)
    written.validate(full=True)
    assert written.schema.equals(table.schema, check_metadata=True)
    assert written.to_pylist() == table.to_pylist()
    assert Features.from_arrow_schema(written.schema) == features


@pytest.mark.parametrize(("kind", "values"), [("int64", [0, 1]), ("float32", [-0.0, 1.0]), ("bool", [False, True])])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_untouched_labeled_pairs_are_equal(kind: str, values: list[Any], data: st.DataObject) -> None:
    features = Features({"extra": INT, "label": Value(kind), "query": TEXT, "passage": TEXT})
    row = st.fixed_dictionaries(
        {"extra": st.integers(0, 9), "label": st.sampled_from(values), "query": texts, "passage": texts}
    )
    table = table_of(data.draw(st.lists(row, min_size=1, max_size=5)), features)
    written = untouched(bound(features), table)
    assert written.schema.equals(table.schema, check_metadata=True)
    assert str(written.to_pylist()) == str(table.to_pylist())  # as text: -0.0 == 0.0


@pytest.mark.parametrize("name", ["triplet", "n-tuple"])
def test_an_untouched_group_is_equal(name: str) -> None:
    columns = ["negative"] if name == "triplet" else ["negative_1", "negative_2"]
    rows = [
        {"anchor": "q", "positive": p, **dict.fromkeys(columns, n)} for p, n in [("p", "n"), ("p", "n"), ("r", "m")]
    ]
    table = table_of(rows)
    form = detect(Features.from_arrow_schema(table.schema))
    placed = place(form.read(table), [0, 1, 2])
    assert len(placed.positives) == 2
    assert len(placed.negatives) == 2
    assert shape(form, table, [placed]).to_pylist() == rows


@pytest.mark.parametrize("name", ["tevatron", "tevatron, old", "flagembedding"])
def test_a_slice_of_chunks_reads_and_writes_like_a_table(name: str) -> None:
    features = SCHEMAS[name]
    passages = {"tevatron": [{"text": "a"}, None], "tevatron, old": {"text": ["a", "b"], "title": ["t"]}}.get(
        name, ["a"]
    )
    rows = [
        {n: passages if n in ("positive_passages", "negative_passages", "pos", "neg") else None for n in features}
    ] * 3
    rows = [row | {"query": f"q{i}"} for i, row in enumerate(rows)]
    whole = table_of(rows, features)
    parts = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2)]).slice(1)
    form = bound(features)
    assert form.read(parts) == form.read(whole)[1:]
    assert untouched(form, parts).to_pylist() == whole.slice(1).to_pylist()
    assert form.write(whole, []).schema == whole.schema
    assert form.read(whole.slice(0, 0)) == []


def test_a_cell_that_does_not_exist_is_an_error() -> None:
    table = table_of([{"query": "q", "pos": ["p"], "neg": ["n"]}])
    form = detect(Features.from_arrow_schema(table.schema))
    placed = place(form.read(table), [0])
    placed.negatives.append(Cell(0, "negative", 7))
    with pytest.raises(IndexError, match="no negative 7 in row 0"):
        shape(form, table, [placed])
