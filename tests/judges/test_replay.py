"""Recorded answers as a judge: what was recorded decides, what was not is a failed judgement and never a clean negative."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import arhn_hf
from arhn_hf.checks import check
from arhn_hf.engines.replay import ReplayEngine
from arhn_hf.records import UsageError

ROWS = [
    {
        "query_id": f"q{q}", "query": f"who is number {q}",
        "positive_passages": [{"docid": f"q{q}p", "title": "", "text": f"Number {q} is Ada Lovelace, they say."}],
        "negative_passages": [
            {"docid": f"q{q}n{i}", "title": "", "text": f"Story {i} of house {q} tells of {word} and nobody else."}
            for i, word in enumerate(("apples", "bridges", "clocks", "doors"))
        ],
    }
    for q in range(4)
]  # fmt: skip


def written(path: Path, items: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(tmp_path / "source.jsonl", ROWS)


def grades(values: list[float | None], positive: float = 2) -> list[dict[str, Any]]:
    """The same grades for the negatives of every query; `None` was not recorded."""
    items = [{"query_id": row["query_id"], "docid": f"{row['query_id']}p", "grade": positive} for row in ROWS]
    return items + [
        {"query_id": row["query_id"], "docid": f"{row['query_id']}n{i}", "grade": grade}
        for row in ROWS
        for i, grade in enumerate(values)
        if grade is not None
    ]


def run(source: Path, output: Path, responses: Path, **more: Any) -> tuple[Any, dict[str, list[str]]]:
    """A replayed run, and the actions of the negatives by docid's end."""
    result = arhn_hf.refine(str(source), output=str(output), judge="replay", responses=str(responses), **more)
    actions: dict[str, list[str]] = {}
    for item in pq.read_table(next((output / "evidence").glob("*.parquet"))).to_pylist():
        if item["label"] == "negative":
            actions.setdefault(item["docid"][-2:], []).append(item["action"])
    return result, actions


def test_grades_filter_and_relabel_and_a_tie_relabels_nothing(source: Path, tmp_path: Path) -> None:
    result, actions = run(source, tmp_path / "out", written(tmp_path / "r.jsonl", grades([3, 2, 1, 0])))
    assert result.exit_code == 0
    assert {key: set(values) for key, values in actions.items()} == {
        "n0": {"relabel"}, "n1": {"filter"}, "n2": {"keep"}, "n3": {"keep"},
    }  # fmt: skip
    assert check(tmp_path / "out")["exit_code"] == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Judged by recorded grades" in card
    assert "--judge replay --responses r.jsonl" in card


def test_pairs_that_were_not_recorded_are_failures(source: Path, tmp_path: Path) -> None:
    result, actions = run(source, tmp_path / "out", written(tmp_path / "r.jsonl", grades([3, None, 0, None])))
    assert result.exit_code == 3
    assert result.failures["by_status"] == {"engine_error": 8}
    assert set(actions["n1"]) == {"undecided"}


def test_raw_replies_and_rankings(source: Path, tmp_path: Path) -> None:
    replies = {"p": "Ada Lovelace", "n0": "apples", "n1": "bridges", "n2": None, "n3": "not in it at all, I am afraid"}
    items: list[dict[str, Any]] = [
        {"query_id": row["query_id"], "docid": row["query_id"] + end, "response": json.dumps({"answer": said})}
        for row in ROWS
        for end, said in replies.items()
    ]
    items += [
        {"query_id": row["query_id"], "ranking": [f"{row['query_id']}{end}" for end in ("n0", "p", "n1")]}
        for row in ROWS
    ]
    result, actions = run(source, tmp_path / "out", written(tmp_path / "r.jsonl", items), max_ungrounded=1.0)
    assert {key: set(values) for key, values in actions.items()} == {
        "n0": {"relabel"}, "n1": {"filter"}, "n2": {"keep"}, "n3": {"undecided"},
    }  # fmt: skip
    assert result.failures["by_status"] == {"ungrounded": 4}


def test_what_the_ranking_leaves_out_is_undecided(source: Path, tmp_path: Path) -> None:
    items: list[dict[str, Any]] = [
        {
            "query_id": row["query_id"],
            "docid": passage["docid"],
            "response": json.dumps({"answer": passage["text"][:8]}),
        }
        for row in ROWS
        for passage in (*row["positive_passages"], *row["negative_passages"])  # type: ignore[misc]
    ]
    items += [{"query_id": "q0", "ranking": ["q0p", "q0n0"]}]
    _, actions = run(source, tmp_path / "out", written(tmp_path / "r.jsonl", items), max_failures=1.0)
    assert actions["n0"][0] == "filter"
    assert actions["n1"] == ["undecided"] * 4


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not an object with a query_id"),
        ('{"docid": "d", "grade": 1}', "is not an object with a query_id"),
        ('{"query_id": "q", "grade": 1}', "needs docid and grade"),
        ('{"query_id": "q", "docid": "d"}', "needs docid and grade"),
        ('{"query_id": "q", "docid": "d", "grade": 1, "response": "x"}', "needs docid and grade"),
        ('{"query_id": "q", "docid": "d", "grade": "high"}', "is no grade"),
        ('{"query_id": "q", "docid": "d", "grade": NaN}', "is no grade"),
        ('{"query_id": "q", "docid": "d", "grade": true}', "is no grade"),
        ('{"query_id": "q", "ranking": "d"}', "is not a list"),
        ('{"query_id": "a", "docid": "b", "grade": 3}', "something else than an earlier line"),
    ],
)
def test_a_line_that_says_nothing_clear_is_refused_by_its_number(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f'{{"query_id": "a", "docid": "b", "grade": 1}}\n{line}\n')
    with pytest.raises(UsageError, match=says) as caught:
        ReplayEngine(str(path))
    assert caught.value.where == f"{path}, line 2"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe"])
def test_a_file_without_responses_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="responses|cannot be read"):
        ReplayEngine(str(path))


def test_the_option_and_the_judge_need_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a file"):
        arhn_hf.refine("x", judge="replay")
    with pytest.raises(UsageError, match="replay only"):
        arhn_hf.refine("x", responses="r.jsonl")
    with pytest.raises(UsageError, match="cannot be read"):
        arhn_hf.refine(
            str(written(tmp_path / "s.jsonl", ROWS)), output=str(tmp_path / "o"), judge="replay", responses="absent"
        )
