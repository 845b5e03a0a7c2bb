"""Options that could only be ignored are refused: what a person asked for never goes missing in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_helpers import cli

VLLM = ("--judge", "vllm", "--model", "m")
SERVER = ("--judge", "server", "--model", "m", "--base-url")


@pytest.mark.parametrize(
    ("words", "where", "says"),
    [
        (("--tag", "v1"), "--tag", "goes with --push"),
        (("--private",), "--private", "goes with --push"),
        (("--create-pr",), "--create-pr", "goes with --push"),
        (("--push-revision", "dev"), "--push-revision", "goes with --push"),
        (("--into-existing",), "--into-existing", "goes with --push"),
        (("--commit-message", "x"), "--commit-message", "goes with --push"),
        (("--engine-arg", "a=1"), "--engine-arg", "goes with --judge vllm only"),
        (("--base-url", "http://h/v1"), "--base-url", "goes with --judge server only"),
        (("--thinking",), "--thinking", "goes with --judge vllm or server only"),
        (("--prompts", "p"), "--prompts", "goes with --judge vllm or server only"),
        (("--concurrency", "3"), "--concurrency", "goes with --judge server only"),
        (("--responses", "r.jsonl"), "--responses", "goes with --judge replay only"),
        (("--judge", "vllm", "--model", "m", "--similarity-model", "e"), "--similarity-model", "--judge reader only"),
        (("--cascade", "reader"), "--cascade", "goes with --judge vllm or server or replay only"),
        (("--cascade-low", "0.2"), "--cascade-low", "goes with --cascade reader"),
        (("--cascade-high", "0.8"), "--cascade-high", "goes with --cascade reader"),
        (
            (*SERVER, "http://h/v1", "--cascade", "reader", "--cascade-low", "0.8", "--cascade-high", "0.5"),
            "--cascade-low",
            "must not be above --cascade-high",
        ),
        (("--gpus", "2"), "--gpus", "goes with --judge vllm only"),
        (("--tensor-parallel", "2"), "--tensor-parallel", "goes with --judge vllm only"),
        ((*VLLM, "--gpus", "some"), "--gpus", "neither a number nor auto"),
        ((*VLLM, "--gpus", "0"), "--gpus", "neither a number nor auto"),
        ((*VLLM, "--gpus", "2", "--workers", "2"), "--workers", "does not go with --gpus"),
        ((*VLLM, "--gpus", "2", "--executor", "ray"), "--gpus", "goes with --executor local"),
        (
            (*VLLM, "--tensor-parallel", "2", "--engine-arg", "tensor-parallel-size=2"),
            "--engine-arg",
            "tensor_parallel_size does not go with",
        ),
        ((*VLLM, "--gpus", "2", "--engine-arg", "data_parallel_size=2"), "--engine-arg", "data_parallel_size does not"),
        (("--ray-address", "h:1"), "--ray-address", "goes with --executor ray"),
        ((*SERVER, "http://h/v1", "--workers", "2"), "--workers", "goes with --judge reader or vllm only"),
        ((*SERVER, "localhost:1"), "--base-url", "is no address"),
        ((*SERVER, "http://"), "--base-url", "is no address"),
        ((*SERVER, "http://[bad"), "--base-url", "is no address"),
    ],
)
@pytest.mark.parametrize("command", ["refine", "plan"])
def test_an_option_without_an_effect_is_refused(command: str, words: tuple[str, ...], where: str, says: str) -> None:
    done = cli(command, "anything", *words)
    assert done.code == 2
    assert done.error.startswith(f"Error: {where}: ")
    assert says in done.error


@pytest.mark.parametrize(
    ("words", "where", "says"),
    [
        (("--export", "new.csv", "--card"), "--card", "does not go with --export"),
        (("--export", "new.csv", "--verdicts", "a.csv"), "--verdicts", "does not go with --export"),
        (("--verdicts", "a.csv", "--png", "x.png"), "--png", "does not go with --verdicts"),
        (("--verdicts", "a.csv", "--gold", "g.jsonl"), "--gold", "does not go with --verdicts"),
        (("--verdicts", "absent.csv"), "--verdicts absent.csv", "no such file"),
        (("--gold", "g.jsonl", "--size", "5"), "--size", "goes with --export"),
        (("--gold", "g.jsonl", "--no-snippets"), "--snippets", "goes with --export"),
    ],
)
def test_an_audit_is_one_of_three_things(
    words: tuple[str, ...], where: str, says: str, refined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "g.jsonl"):
        (tmp_path / name).write_text("")
    done = cli("audit", refined, *words)
    assert done.code == 2
    assert done.error.startswith(f"Error: {where}: {says}")
    assert not (tmp_path / "new.csv").exists()


def test_labels_are_read_before_anything_is_judged(sample: Path, scripted: Any, tmp_path: Path) -> None:
    done = cli("audit", sample, "--grades", "typo", "--output", tmp_path / "out")
    assert done.code == 2
    assert "no field 'typo'" in done.error
    assert scripted.count == 0


def test_an_unfinished_folder_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "half" / ".arhn").mkdir(parents=True)
    done = cli("audit", tmp_path / "half", "--grades", "g")
    assert done.code == 2
    assert "holds an unfinished run" in done.error


def test_a_sheet_without_snippets_hints_at_nothing(refined: Path, tmp_path: Path) -> None:
    for name, words in (("with.csv", ()), ("without.csv", ("--no-snippets",))):
        assert cli("audit", refined, "--export", tmp_path / name, *words).code == 0
    columns = {
        name: [line.split(",")[4] for line in (tmp_path / name).read_text(encoding="utf-8-sig").splitlines()[1:]]
        for name in ("with.csv", "without.csv")
    }
    assert any(columns["with.csv"])
    assert (tmp_path / "with.csv").stat().st_size > (tmp_path / "without.csv").stat().st_size


def test_trying_recorded_answers_prints_what_was_asked_and_recorded(tmp_path: Path) -> None:
    source, recorded = tmp_path / "s.jsonl", tmp_path / "r.jsonl"
    source.write_text(
        '{"query_id": "q", "query": "who?", "positive_passages": [{"docid": "p", "title": "", "text": "It was Ada."}], '
        '"negative_passages": [{"docid": "n", "title": "", "text": "It was Grace."}]}\n'
    )
    recorded.write_text('{"query_id": "q", "docid": "p", "grade": 3}\n{"query_id": "q", "docid": "n", "grade": 2}\n')
    done = cli("try", source, "--row", 0, "--judge", "replay", "--responses", recorded)
    assert done.code == 0, done.err
    assert "docid: n" in done.out
    assert "filter (below_reference)" in done.out
