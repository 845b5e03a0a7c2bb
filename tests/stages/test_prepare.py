"""Judged rows hold their own passages, however the rows of a query are spread over the source."""

from __future__ import annotations

import itertools

import pytest
from datasets import Dataset

from arhn_hf.config import RunConfig
from arhn_hf.criteria import Criteria
from arhn_hf.formats import detect
from arhn_hf.stages.index import build_index
from arhn_hf.stages.prepare import make_prepare


@pytest.mark.parametrize("order", sorted(set(itertools.permutations("aabb"))) + [tuple("abab"), tuple("abcabc")])
def test_scattered_rows_of_a_query(order: tuple[str, ...]) -> None:
    rows = [
        {"anchor": q, "positive": f"{q} positive {i}", "negative": f"{q} negative {i}"} for i, q in enumerate(order)
    ]
    source = Dataset.from_list(rows)
    form = detect(source.features)
    index = build_index(source, form)
    prepare = make_prepare(source, form, index, RunConfig(), Criteria(), english_only=False)
    table = index.dataset(range(len(index))).with_format("arrow")[:]
    found = prepare(table).to_pylist()
    assert [value["query"] for value in found] == list(dict.fromkeys(order))
    for value in found:
        own = [i for i, query in enumerate(order) if query == value["query"]]
        assert value["rows"] == own
        assert [p["text"] for p in value["positives"]] == [f"{value['query']} positive {i}" for i in own]
        assert [p["text"] for p in value["negatives"]] == [f"{value['query']} negative {i}" for i in own]
