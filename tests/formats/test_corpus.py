"""Looking documents up by id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.formats import Corpus, corpus
from arhn_hf.records import Document, UsageError


@pytest.mark.parametrize("id_name", ["docid", "document_id", "_id", "id"])
@pytest.mark.parametrize("text_name", ["text", "document"])
def test_column_names(id_name: str, text_name: str) -> None:
    found = Corpus(Dataset.from_dict({"other": [1.5], id_name: ["a"], text_name: ["A"]}))
    assert found.documents(["a", "b"]) == [Document("a", None, "A"), Document("b", None, None)]
    assert len(found) == 1


@pytest.mark.parametrize("columns", [{"text": ["A"]}, {"docid": ["a"]}, {"docid": [1.5], "text": ["A"]}])
def test_missing_columns_are_named(columns: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"--corpus: the corpus has the columns {', '.join(columns)}"):
        Corpus(Dataset.from_dict(columns))


def test_the_last_of_a_repeated_id_wins_in_any_order() -> None:
    made = Dataset.from_dict({"docid": ["a", "b", "a"], "title": ["1", "2", None], "text": ["x", "y", "z"]})
    assert Corpus(made).documents(["a"]) == [Document("a", None, "z")]
    assert Corpus(made.select([2, 1, 0])).documents(["a"]) == [Document("a", "1", "x")]


def test_integers_and_texts_are_one() -> None:
    made = Corpus(Dataset.from_dict({"docid": [7, 8], "text": ["x", "y"]}))
    assert made.documents(["8", "08", None]) == [
        Document("8", None, "y"),
        Document("08", None, None),
        Document(None, None, None),
    ]


@pytest.mark.parametrize("hashed", [None, lambda key: len(key or "")])  # the second: nearly every id collides
@settings(max_examples=20, deadline=None)
@given(
    ids=st.lists(st.text(max_size=3), max_size=12),
    asked=st.lists(st.text(max_size=3), max_size=12),
    cut=st.integers(0, 12),
)
def test_equals_a_dict(hashed: Callable[[str | None], int] | None, ids: list[str], asked: list[str], cut: int) -> None:
    texts = [f"text {i}" for i in range(len(ids))]
    parts = [(ids[:cut], texts[:cut]), (ids[cut:], texts[cut:])]
    schema = pa.schema({"docid": pa.string(), "text": pa.string()})
    tables = [Dataset(pa.table({"docid": keys, "text": values}, schema=schema)) for keys, values in parts]
    expected = dict(zip(ids, texts, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        if hashed is not None:
            patch.setattr(corpus, "_hash", hashed)
        found = Corpus(concatenate_datasets(tables)).documents(asked + ids)
    assert [d.text for d in found] == [expected.get(key) for key in asked + ids]
    assert [d.docid for d in found] == asked + ids
