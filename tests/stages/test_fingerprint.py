"""The source's fingerprint: equal for equal values, whatever chunks or file hold them; another for any change."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.stages.fingerprint import Fingerprint

PASSAGE = pa.struct([("docid", pa.string()), ("title", pa.string()), ("text", pa.string())])
SCHEMA = pa.schema(
    [
        ("query", pa.string()), ("passages", pa.list_(PASSAGE)), ("score", pa.float64()), ("grade", pa.int32()),
        ("ok", pa.bool_()), ("raw", pa.binary()), ("pair", pa.list_(pa.float32(), 2)), ("day", pa.date32()),
        ("meta", pa.struct([("a", pa.large_string()), ("b", pa.list_(pa.int64()))])), ("nothing", pa.null()),
    ]
)  # fmt: skip


def digest(*tables: pa.Table) -> str:
    fingerprint = Fingerprint()
    for table in tables:
        fingerprint.update(table)
    return fingerprint.hexdigest()


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


TEXT = st.text(max_size=3)
PASSAGES = st.fixed_dictionaries({"docid": maybe(TEXT), "title": maybe(TEXT), "text": TEXT})
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "query": maybe(TEXT), "passages": maybe(st.lists(maybe(PASSAGES), max_size=3)),
            "score": maybe(st.floats(allow_nan=False)), "grade": maybe(st.integers(-5, 5)), "ok": maybe(st.booleans()),
            "raw": maybe(st.binary(max_size=3)), "pair": maybe(st.lists(st.floats(width=32), min_size=2, max_size=2)),
            "day": maybe(st.dates(date(2020, 1, 1), date(2030, 1, 1))),
            "meta": maybe(st.fixed_dictionaries({"a": maybe(TEXT),
            "b": maybe(st.lists(maybe(st.integers(0, 9)), max_size=2))})),
            "nothing": st.none(),
        }
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=50, deadline=None, database=None)
@given(ROWS, st.lists(st.integers(0, 8), max_size=4), st.booleans())
def test_chunks_and_batches_do_not_matter(rows: list[dict[str, Any]], cuts: list[int], sliced: bool) -> None:
    whole = table(rows)
    ends = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    spans = list(zip(ends, ends[1:], strict=False))
    parts = [whole.slice(a, b - a) if sliced else table(rows[a:b]) for a, b in spans]
    assert digest(*parts) == digest(whole)
    assert digest(pa.concat_tables(parts)) == digest(whole)


@settings(max_examples=25, deadline=None, database=None)
@given(ROWS)
def test_a_parquet_copy_is_the_same(rows: list[dict[str, Any]]) -> None:
    whole = table(rows)
    file = io.BytesIO()
    pq.write_table(whole, file, row_group_size=3)
    copy = pq.read_table(file)
    assert copy.schema.equals(SCHEMA)
    assert digest(copy) == digest(whole)


@settings(max_examples=50, deadline=None, database=None)
@given(ROWS, ROWS)
def test_other_values_another_fingerprint(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    same = repr(table(one).to_pylist()) == repr(table(other).to_pylist())
    assert (digest(table(one)) == digest(table(other))) == same


def test_datasets_batches() -> None:
    rows = [
        {"query": f"q{i}", "passages": [{"docid": None, "title": "", "text": "x" * (i % 5)}] * (i % 3)}
        for i in range(50)
    ]
    source = Dataset.from_list(rows).with_format("arrow")
    found = {digest(*source.iter(size)) for size in (1, 7, 50, 1000)}
    assert len(found) == 1
    assert digest(*source.select(range(10, 30)).iter(6)) == digest(
        *Dataset.from_list(rows[10:30]).with_format("arrow").iter(20)
    )
    assert digest(*source.select([3, 1, 2]).iter(2)) != digest(*source.select([1, 2, 3]).iter(2))


def test_json_and_parquet_of_the_same_values() -> None:
    lines = b'{"query": "a", "neg": ["x", ""], "n": 1}\n{"query": "", "neg": [], "n": 2}\n'
    read = pj.read_json(io.BytesIO(lines))
    file = io.BytesIO()
    pq.write_table(read, file)
    assert digest(pq.read_table(file)) == digest(read)
    wide = read.cast(
        pa.schema([("query", pa.large_string()), ("neg", pa.large_list(pa.large_string())), ("n", pa.int32())])
    )
    assert digest(wide) == digest(read)


CHANGES: list[tuple[str, Any, Any]] = [
    ("a character", ["ab"], ["ac"]),
    ("null and empty", [None], [""]),
    ("text moved between rows", ["ab", "c"], ["a", "bc"]),
    ("order", ["a", "b"], ["b", "a"]),
    ("a row more", ["a"], ["a", "a"]),
    ("an empty row more", [""], ["", ""]),
    ("null and empty list", [None, ["a"]], [[], ["a"]]),
    ("items moved between lists", [["a"], ["b"]], [["a", "b"], []]),
    ("null item", [["a", None]], [["a", ""]]),
    ("null struct and struct of nulls", [{"x": None}, None], [{"x": None}, {"x": None}]),
    ("numbers", [1, 2], [1, 3]),
    ("null and zero", [0, None], [None, 0]),
    ("truth values", [True, False], [False, True]),
    ("floats", [0.1], [0.1 + 1e-16 * 2]),
    ("decimals", [Decimal("1.0")], [Decimal("1.1")]),
]


@pytest.mark.parametrize(("name", "before", "after"), CHANGES, ids=[case[0] for case in CHANGES])
def test_a_change_shows(name: str, before: list[Any], after: list[Any]) -> None:
    kind = pa.array([*before, *after]).type
    one, other = (pa.table({"c": pa.array(values, kind)}) for values in (before, after))
    assert digest(one) == digest(pa.table({"c": pa.array(before, kind)}))
    assert digest(one) != digest(other)


def test_column_names_count_and_their_order_does_not() -> None:
    assert digest(pa.table({"a": ["x"]})) != digest(pa.table({"b": ["x"]}))
    assert digest(pa.table({"a": ["x"], "b": ["y"]})) == digest(pa.table({"b": ["y"], "a": ["x"]}))
    assert digest(pa.table({"a": ["x"], "b": ["y"]})) != digest(pa.table({"a": ["y"], "b": ["x"]}))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.list_(pa.string()), pa.binary(), pa.struct([("x", pa.string())])], ids=str
)
def test_columns_of_nulls_and_of_nothing(kind: pa.DataType) -> None:
    nulls = pa.table({"c": pa.array([None, None], kind)})
    assert digest(nulls) == digest(nulls.slice(0, 1), nulls.slice(1))
    assert digest(nulls.slice(0, 0)) == digest(pa.table({"c": pa.array([], kind)}))


def test_empty_texts_whatever_their_buffers() -> None:
    plain, cut = pa.array(["", ""]), pa.array(["abc", "", ""]).slice(1)
    bare = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0" * 12), pa.py_buffer(b""))
    file = io.BytesIO()
    pq.write_table(pa.table({"c": plain}), file)
    stored = pq.read_table(file)
    assert len({digest(pa.table({"c": one})) for one in (plain, cut, bare)} | {digest(stored)}) == 1


def test_dictionary_columns_are_their_values() -> None:
    plain = pa.array(["a", None, "b", "a"])
    coded = pa.table({"c": plain.dictionary_encode()})
    assert digest(coded.slice(0, 1), coded.slice(1)) == digest(coded) == digest(pa.table({"c": plain}))
