"""Which schema a dataset's columns are, and what is said when they are none."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, LargeList, List, Value
from datasets import Sequence as OldSequence

from arhn_hf.formats import FORMATS, TARGETS, detect
from arhn_hf.formats.n_tuple import NTuple
from arhn_hf.records import UsageError

TEXT, INT, FLOAT = Value("string"), Value("int64"), Value("float64")
PASSAGE = {"docid": TEXT, "title": TEXT, "text": TEXT}
IDS = {"positive_document_ids": List(TEXT), "negative_document_ids": List(TEXT)}


def passages(positive: Any, negative: Any, **more: Any) -> dict[str, Any]:
    return {"query_id": TEXT, "query": TEXT, "positive_passages": positive, "negative_passages": negative, **more}


KNOWN = {
    "RLHN": (passages(List(PASSAGE), List(PASSAGE), subset=TEXT), "tevatron"),
    "extra nested fields": (
        passages(List(PASSAGE | {"grade": INT, "score": FLOAT}), List(PASSAGE | {"score": FLOAT})),
        "tevatron",
    ),
    "no titles": (passages(List({"docid": TEXT, "text": TEXT}), List({"text": TEXT})), "tevatron"),
    "integer docids": (passages(List({"docid": INT, "text": TEXT}), List({"docid": INT, "text": TEXT})), "tevatron"),
    "large lists": (passages(LargeList(PASSAGE), LargeList(PASSAGE)), "tevatron"),
    "old python lists": (passages([PASSAGE], [PASSAGE]), "tevatron"),
    "old sequences": (passages(OldSequence(PASSAGE), OldSequence(PASSAGE)), "tevatron"),
    "no negatives anywhere": (passages(List(PASSAGE), List(Value("null"))), "tevatron"),
    "passages and ids of another name": (
        passages(List(PASSAGE), List(PASSAGE), positive_passage_ids=List(TEXT)),
        "tevatron",
    ),
    "flagembedding": ({"query": TEXT, "pos": List(TEXT), "neg": List(TEXT)}, "flagembedding"),
    "flagembedding, all of it": (
        {
            "query": TEXT,
            "pos": List(TEXT),
            "neg": List(TEXT),
            "pos_scores": List(FLOAT),
            "neg_scores": List(FLOAT),
            "prompt": TEXT,
            "type": TEXT,
        },
        "flagembedding",
    ),
    "flagembedding, no negatives": ({"query": TEXT, "pos": List(TEXT), "neg": List(Value("null"))}, "flagembedding"),
    "triplet": ({"anchor": TEXT, "positive": TEXT, "negative": TEXT}, "triplet"),
    "triplet, large strings": ({n: Value("large_string") for n in ("anchor", "positive", "negative")}, "triplet"),
    "triplet of questions": ({"question": TEXT, "answer": TEXT, "negative": TEXT, "score": FLOAT}, "triplet"),
    "triplet with a label": ({"anchor": TEXT, "positive": TEXT, "negative": TEXT, "label": INT}, "triplet"),
    "triplet of pos and neg": ({"query": TEXT, "pos": TEXT, "neg": TEXT}, "triplet"),
    "n-tuple": ({"query": TEXT, "positive": TEXT, "negative_1": TEXT, "negative_2": TEXT}, "n-tuple"),
    "n-tuple from 0": ({"query": TEXT, "positive": TEXT, "negative_0": TEXT, "negative_1": TEXT}, "n-tuple"),
    "n-tuple of one": ({"query": TEXT, "positive": TEXT, "negative_1": TEXT}, "n-tuple"),
    "labeled pair": ({"sentence1": TEXT, "sentence2": TEXT, "label": INT}, "labeled-pair"),
    "labeled pair, floats": ({"sentence_A": TEXT, "sentence_B": TEXT, "label": FLOAT}, "labeled-pair"),
    "labeled pair, booleans": ({"query": TEXT, "passage": TEXT, "label": Value("bool")}, "labeled-pair"),
    "labeled pair, class label": (
        {"query": TEXT, "text": TEXT, "label": ClassLabel(names=["no", "yes"])},
        "labeled-pair",
    ),
}


@pytest.mark.parametrize(("columns", "name"), KNOWN.values(), ids=list(KNOWN))
def test_known_schemas(columns: dict[str, Any], name: str) -> None:
    assert detect(Features(columns)).name == name


UNKNOWN = {
    "nothing of ours": ({"text": TEXT, "label": INT}, "no known schema has the columns (text: string, label: int64)"),
    "passages without a text": (
        passages(List({"docid": TEXT}), List({"docid": TEXT})),
        "positive_passages: list<struct<docid>>",
    ),
    "lists of fixed length": ({"query": TEXT, "pos": List(TEXT, length=2), "neg": List(TEXT)}, "pos: list<string, 2>"),
    "texts that are numbers": ({"anchor": INT, "positive": TEXT, "negative": TEXT}, "anchor: int64"),
    "a gap in the negatives": (
        {"anchor": TEXT, "positive": TEXT, "negative_1": TEXT, "negative_3": TEXT},
        "no known schema",
    ),
    "three classes": ({"query": TEXT, "text": TEXT, "label": ClassLabel(names=["a", "b", "c"])}, "label: ClassLabel"),
    "PyLate's distillation": (
        {"query_id": TEXT, "document_ids": List(TEXT), "scores": List(FLOAT)},
        "no labels of positive and negative",
    ),
    "two schemas at once": (passages(List(PASSAGE), List(PASSAGE)) | IDS, "fit tevatron and tevatron-ids"),
    "lists and texts": (
        {"query": TEXT, "pos": List(TEXT), "neg": List(TEXT), "positive": TEXT, "negative": TEXT},
        "fit flagembedding and triplet",
    ),
    "ids without a corpus": ({"query_text": TEXT} | IDS, "--corpus"),
}


@pytest.mark.parametrize(("columns", "said"), UNKNOWN.values(), ids=list(UNKNOWN))
def test_refused_in_one_line(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        detect(Features(columns))
    line = str(caught.value)
    assert said in line
    assert "\n" not in line
    assert caught.value.exit_code == 2


def test_an_unknown_schema_names_all_formats() -> None:
    with pytest.raises(UsageError) as caught:
        detect(Features({"a": TEXT}))
    assert all(f"{form.name}: {form.columns}" in str(caught.value) for form in FORMATS.values())


def test_a_name_decides_between_several() -> None:
    columns = Features({"query": TEXT, "pos": List(TEXT), "neg": List(TEXT), "positive": TEXT, "negative": TEXT})
    assert detect(columns, name="triplet").name == "triplet"
    assert detect(columns, name="flagembedding").name == "flagembedding"
    with pytest.raises(UsageError, match="no known schema"):
        detect(columns, name="n-tuple")
    with pytest.raises(UsageError, match="unknown format 'triplets'"):
        detect(columns, name="triplets")


def test_ids_are_bound_to_a_corpus() -> None:
    corpus = Dataset.from_dict({"docid": ["a"], "text": ["A"]})
    assert detect(Features({"query_text": TEXT} | IDS), corpus).name == "tevatron-ids"


def test_class_attributes() -> None:
    grouped = {name for name, form in FORMATS.items() if form.grouped}
    assert grouped == {"triplet", "n-tuple", "labeled-pair"}
    assert {name for name, form in FORMATS.items() if form.file_type == "jsonl"} == {"flagembedding"}
    assert {name for name, form in FORMATS.items() if form.default_short_rows == "backfill"} == {"n-tuple"}
    assert list(TARGETS) == ["tevatron", "flagembedding", "triplet", "n-tuple", "labeled-pair"]
    tuple_of_3 = NTuple.detect(
        Features({"query": TEXT, "positive": TEXT, "negative": TEXT, "negative_2": TEXT, "negative_3": TEXT})
    )
    assert tuple_of_3 is not None
    assert tuple_of_3.negatives == 3
    assert tuple_of_3.negative_columns == ("negative", "negative_2", "negative_3")
