"""Which schema a dataset's columns are, and what is said when they are none."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, LargeList, List, Value
from datasets import Sequence as OldSequence

from arhn_hf.formats import FORMATS, TARGETS, detect
from arhn_hf.formats.n_tuple import NTuple
from arhn_hf.records import UsageError

S, I, F = Value("string"), Value("int64"), Value("float64")
PASSAGE = {"docid": S, "title": S, "text": S}
IDS = {"positive_document_ids": List(S), "negative_document_ids": List(S)}


def passages(positive: Any, negative: Any, **more: Any) -> dict[str, Any]:
    return {"query_id": S, "query": S, "positive_passages": positive, "negative_passages": negative, **more}


KNOWN = {
    "RLHN": (passages(List(PASSAGE), List(PASSAGE), subset=S), "tevatron"),
    "extra nested fields": (passages(List(PASSAGE | {"grade": I, "score": F}), List(PASSAGE | {"score": F})), "tevatron"),
    "no titles": (passages(List({"docid": S, "text": S}), List({"text": S})), "tevatron"),
    "integer docids": (passages(List({"docid": I, "text": S}), List({"docid": I, "text": S})), "tevatron"),
    "large lists": (passages(LargeList(PASSAGE), LargeList(PASSAGE)), "tevatron"),
    "old python lists": (passages([PASSAGE], [PASSAGE]), "tevatron"),
    "old sequences": (passages(OldSequence(PASSAGE), OldSequence(PASSAGE)), "tevatron"),
    "no negatives anywhere": (passages(List(PASSAGE), List(Value("null"))), "tevatron"),
    "passages and ids of another name": (
        passages(List(PASSAGE), List(PASSAGE), positive_passage_ids=List(S)),
        "tevatron",
    ),
    "flagembedding": ({"query": S, "pos": List(S), "neg": List(S)}, "flagembedding"),
    "flagembedding, all of it": (
        {"query": S, "pos": List(S), "neg": List(S), "pos_scores": List(F), "neg_scores": List(F), "prompt": S, "type": S},
        "flagembedding",
    ),
    "flagembedding, no negatives": ({"query": S, "pos": List(S), "neg": List(Value("null"))}, "flagembedding"),
    "triplet": ({"anchor": S, "positive": S, "negative": S}, "triplet"),
    "triplet, large strings": ({n: Value("large_string") for n in ("anchor", "positive", "negative")}, "triplet"),
    "triplet of questions": ({"question": S, "answer": S, "negative": S, "score": F}, "triplet"),
    "triplet with a label": ({"anchor": S, "positive": S, "negative": S, "label": I}, "triplet"),
    "triplet of pos and neg": ({"query": S, "pos": S, "neg": S}, "triplet"),
    "n-tuple": ({"query": S, "positive": S, "negative_1": S, "negative_2": S}, "n-tuple"),
    "n-tuple from 0": ({"query": S, "positive": S, "negative_0": S, "negative_1": S}, "n-tuple"),
    "n-tuple of one": ({"query": S, "positive": S, "negative_1": S}, "n-tuple"),
    "labeled pair": ({"sentence1": S, "sentence2": S, "label": I}, "labeled-pair"),
    "labeled pair, floats": ({"sentence_A": S, "sentence_B": S, "label": F}, "labeled-pair"),
    "labeled pair, booleans": ({"query": S, "passage": S, "label": Value("bool")}, "labeled-pair"),
    "labeled pair, class label": ({"query": S, "text": S, "label": ClassLabel(names=["no", "yes"])}, "labeled-pair"),
}


@pytest.mark.parametrize("columns, name", KNOWN.values(), ids=list(KNOWN))
def test_known_schemas(columns: dict[str, Any], name: str) -> None:
    assert detect(Features(columns)).name == name


UNKNOWN = {
    "nothing of ours": ({"text": S, "label": I}, "no known schema has the columns (text: string, label: int64)"),
    "passages without a text": (passages(List({"docid": S}), List({"docid": S})), "positive_passages: list<struct<docid>>"),
    "lists of fixed length": ({"query": S, "pos": List(S, length=2), "neg": List(S)}, "pos: list<string, 2>"),
    "texts that are numbers": ({"anchor": I, "positive": S, "negative": S}, "anchor: int64"),
    "a gap in the negatives": ({"anchor": S, "positive": S, "negative_1": S, "negative_3": S}, "no known schema"),
    "three classes": ({"query": S, "text": S, "label": ClassLabel(names=["a", "b", "c"])}, "label: ClassLabel"),
    "PyLate's distillation": ({"query_id": S, "document_ids": List(S), "scores": List(F)}, "no labels of positive and negative"),
    "two schemas at once": (passages(List(PASSAGE), List(PASSAGE)) | IDS, "fit tevatron and tevatron-ids"),
    "lists and texts": (
        {"query": S, "pos": List(S), "neg": List(S), "positive": S, "negative": S},
        "fit flagembedding and triplet",
    ),
    "ids without a corpus": ({"query_text": S} | IDS, "--corpus"),
}


@pytest.mark.parametrize("columns, said", UNKNOWN.values(), ids=list(UNKNOWN))
def test_refused_in_one_line(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        detect(Features(columns))
    line = str(caught.value)
    assert said in line and "\n" not in line
    assert caught.value.exit_code == 2


def test_an_unknown_schema_names_all_formats() -> None:
    with pytest.raises(UsageError) as caught:
        detect(Features({"a": S}))
    assert all(f"{form.name}: {form.columns}" in str(caught.value) for form in FORMATS.values())


def test_a_name_decides_between_several() -> None:
    columns = Features({"query": S, "pos": List(S), "neg": List(S), "positive": S, "negative": S})
    assert detect(columns, name="triplet").name == "triplet"
    assert detect(columns, name="flagembedding").name == "flagembedding"
    with pytest.raises(UsageError, match="no known schema"):
        detect(columns, name="n-tuple")
    with pytest.raises(UsageError, match="unknown format 'triplets'"):
        detect(columns, name="triplets")


def test_ids_are_bound_to_a_corpus() -> None:
    corpus = Dataset.from_dict({"docid": ["a"], "text": ["A"]})
    assert detect(Features({"query_text": S} | IDS), corpus).name == "tevatron-ids"


def test_class_attributes() -> None:
    grouped = {name for name, form in FORMATS.items() if form.grouped}
    assert grouped == {"triplet", "n-tuple", "labeled-pair"}
    assert {name for name, form in FORMATS.items() if form.file_type == "jsonl"} == {"flagembedding"}
    assert {name for name, form in FORMATS.items() if form.default_short_rows == "backfill"} == {"n-tuple"}
    assert list(TARGETS) == ["tevatron", "flagembedding", "triplet", "n-tuple", "labeled-pair"]
    tuple_of_3 = NTuple.detect(Features({"query": S, "positive": S, "negative": S, "negative_2": S, "negative_3": S}))
    assert tuple_of_3 is not None and tuple_of_3.negatives == 3
    assert tuple_of_3.negative_columns == ("negative", "negative_2", "negative_3")
