"""`try` shows what was asked, what came back, and what follows from it, and touches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import cli
from scripted import ScriptedEngine, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.records import UsageError
from arhn_hf.trying import row_of_texts, try_row


def test_every_request_reply_vote_and_decision_is_there(sample: Path) -> None:
    engine = ScriptedEngine()
    report = try_row(RunConfig(source=str(sample)), 0, None, Monitor(), scripted_judge(engine))
    assert len(report["exchanges"]) == engine.count
    kinds = [one["kind"] for one in report["exchanges"]]
    assert kinds.count("answer") > 5
    assert kinds.count("rank") == 2
    assert all(one["request"]["messages"] and one["response"] for one in report["exchanges"])
    decisions = [one["decision"] for one in report["passages"]]
    assert sum(one["action"] == "reference" for one in decisions) == 1
    assert any(one["votes"] == 2 for one in decisions)


def test_texts_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--query", "who painted the night watch", "--passage", "Rembrandt painted The Night Watch."]
    done = cli("try", *words, "--passage", "It hangs in Amsterdam.", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [one["label"] for one in report["passages"]] == ["positive", "negative"]
    assert len(report["exchanges"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x"], "--row"),
        ([], "SOURCE"),
        (["--query", " ", "--passage", "x"], "--query"),
        (["--query", "x"], "--passage"),
        (["missing.jsonl", "--row", "1"], "no such file"),
        (["x", "--row", "0", "--judge", "vllm"], "--model"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str) -> None:
    done = cli("try", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_row_that_is_not_there(sample: Path) -> None:
    with pytest.raises(UsageError, match="66 rows"):
        try_row(RunConfig(source=str(sample)), 66, None, Monitor(), scripted_judge(ScriptedEngine()))


def test_without_a_positive_the_first_passage_is_one() -> None:
    row = row_of_texts("q", [], ["a", "b"])
    assert ([p.text for p in row.positives], [p.text for p in row.negatives]) == (["a"], ["b"])
