"""`--shard I/N`: how it is spelled, and which rows a part has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.config import RunConfig
from arhn_hf.formats import detect
from arhn_hf.publishing.folder import part_of
from arhn_hf.records import UsageError
from arhn_hf.shards import Shard, parse_shard
from arhn_hf.stages.index import Index, build_index


@pytest.mark.parametrize(
    ("text", "shard"), [("1/1", Shard(1, 1)), ("2/8", Shard(2, 8)), (" 8 / 8 ", Shard(8, 8)), ("03/010", Shard(3, 10))]
)
def test_spelled(text: str, shard: Shard) -> None:
    assert parse_shard(text) == shard
    assert RunConfig(shard=text).part == shard


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0/8", "--shard: 0/8 is out of range: parts are counted from 1/8 to 8/8. A Slurm array that fits is `--array=1-N`"),
        ("9/8", "--shard: 9/8 is out of range: parts are counted from 1/8 to 8/8"),
        ("1/0", "--shard: 1/0 is out of range: there must be at least one part"),
        ("8", "--shard: '8' is not I/N. Such as 2/8, the second of eight parts"),
        ("/8", "--shard: '/8' is not I/N. Such as 2/8, the second of eight parts"),
        ("-1/8", "--shard: '-1/8' is not I/N. Such as 2/8, the second of eight parts"),
        ("1/8/2", "--shard: '1/8/2' is not I/N. Such as 2/8, the second of eight parts"),
        ("", "--shard: '' is not I/N. Such as 2/8, the second of eight parts"),
    ],
)  # fmt: skip
def test_refused(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        RunConfig(shard=text)
    assert str(caught.value) == line


def test_a_part_cannot_be_pushed() -> None:
    with pytest.raises(UsageError) as caught:
        RunConfig(shard="1/2", push="me/data")
    assert str(caught.value).startswith("--push: goes with the whole, not with --shard. Merge the parts")


def index_of(queries: list[str]) -> Index:
    def passages(text: str) -> list[dict[str, str]]:
        return [{"docid": text, "title": "", "text": text}]

    rows: list[dict[str, Any]] = [
        {
            "query_id": str(i),
            "query": query,
            "positive_passages": passages(f"p{i}"),
            "negative_passages": passages("n"),
        }
        for i, query in enumerate(queries)
    ]
    source = Dataset.from_list(rows)
    return build_index(source, detect(source.features))


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(st.sampled_from(["a", "A ", "b", "c", "d", "e"]), min_size=1, max_size=16),
    st.integers(1, 5),
    st.integers(1, 16),
)
def test_every_row_is_in_one_part_and_a_query_in_one(queries: list[str], count: int, taken: int) -> None:
    index = index_of(queries)
    chosen = index.sample(taken, 7)
    parts = [list(index.part(chosen, Shard(i, count))) for i in range(1, count + 1)]
    assert sorted(row for part in parts for row in part) == list(chosen)
    assert all(part == sorted(part) for part in parts)
    places = [{queries[row].strip().lower() for row in part} for part in parts]
    assert sum(map(len, places)) == len(set.union(*places))


def test_rows_of_their_own_are_dealt_out() -> None:
    index = index_of([f"q{i}" for i in range(10)])
    parts = [list(index.part(range(10), Shard(i, 4))) for i in (1, 2, 3, 4)]
    assert parts == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]


def test_a_folder_says_which_part_it_holds(tmp_path: Path) -> None:
    assert part_of(tmp_path / "absent") is None
    memory = tmp_path / ".arhn"
    memory.mkdir()
    (memory / "state.json").write_text('{"settings": {"shard": "2/3"}, "status": "running"}')
    assert part_of(tmp_path) == Shard(2, 3)
    (tmp_path / "arhn.json").write_text('{"shard": {"index": 1, "count": 3}}')
    assert part_of(tmp_path) == Shard(1, 3)
    for broken in ("{", "[]", '{"shard": 3}', '{"shard": {"index": "x", "count": 3}}'):
        (tmp_path / "arhn.json").write_text(broken)
        assert part_of(tmp_path) is None
