"""`arhn-hf derive`: other rules over the same judgements give the bytes that a fresh run under them would."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import Asked, cli, evidence, six_rows, use_reply, write_jsonl
from datasets import load_dataset
from scripted import ScriptedEngine, folder_bytes, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine


def derive(folder: Path, output: Path, *words: Any, checked: bool = True) -> dict[str, Any]:
    """The report of a derive that must work, and whose folder `check` must find good."""
    done = cli("derive", folder, "--output", output, "--json", *words)
    assert done.code == 0, done.out
    if checked:
        proved = cli("check", output, "--json")
        assert proved.code == 0, proved.out
    return done.json


def actions(folder: Path) -> Counter[tuple[str, str]]:
    """(action, reason) of the negatives."""
    return Counter((row["action"], row["reason"]) for row in evidence(folder) if row["label"] == "negative")


def test_nothing_changed_gives_the_same_bytes(refined: Path, tmp_path: Path) -> None:
    derive(refined, tmp_path / "same")
    assert folder_bytes(tmp_path / "same") == folder_bytes(refined)


OPTIONS: list[dict[str, Any]] = [
    {"relabel": False},
    {"min_answerable": 0.4},
    {"reference": "worst"},
    {"no_answer_in_positives": "leave"},
    {"filter_scope": "below"},
    {"max_new_positives": 0},
    {"ambiguous_above": 1, "max_new_positives": 1},
    {"min_negatives": 6, "short_rows": "backfill"},
    {"min_negatives": 7, "short_rows": "drop"},
    {"min_negatives": 7, "short_rows": "keep"},
    {"train_max_length": 20},
    {"near_duplicate": 0.95, "undecided": "remove"},
    {"variants": "relabel,filter"},
    {"filter_only": ("facts", "howto")},
    {"criterion": ("claims=skip",)},
    {"to": "triplet"},
    {"to": "n-tuple", "negatives": 3},
    {"seed": 42, "to": "flagembedding"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_as_a_fresh_run_with_these_options(
    options: dict[str, Any], refined: Path, sample: Path, tmp_path: Path
) -> None:
    words: list[Any] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is False:
            words.append(f"--no-{flag[2:]}")
        else:
            words += [word for one in (value if isinstance(value, tuple) else (value,)) for word in (flag, one)]
    if "near_duplicate" in options:  # clusters that fall apart hold passages nobody read
        done = cli("derive", refined, "--output", tmp_path / "derived", *words)
        if done.code == 2:
            assert "would have to be read" in done.error
            return
    derived = derive(refined, tmp_path / "derived", *words, checked=False)
    config = RunConfig.from_mapping(
        {
            "source": str(sample),
            "output": str(tmp_path / "fresh"),
            "min_answerable": 0.0,
            "store": str(tmp_path / "store.sqlite"),
            **options,
        }
    )
    fresh = run_refine(config, Monitor(), scripted_judge(ScriptedEngine()))
    ours, theirs = folder_bytes(tmp_path / "derived"), folder_bytes(tmp_path / "fresh")
    assert ours.keys() == theirs.keys()
    for name in ours:
        if not name.startswith("evidence") and name not in ("arhn.json", "README.md"):
            assert ours[name] == theirs[name], name
    # Negatives only: rankings that the fresh run did not need may make another of several positives the reference.
    ours_rows, theirs_rows = (
        [r for r in evidence(tmp_path / n) if r["label"] == "negative"] for n in ("derived", "fresh")
    )
    decided = ("row", "label", "position", "action", "reason", "in_combined", "in_relabel", "in_filter")
    assert [[row[key] for key in decided] for row in ours_rows] == [
        [row[key] for key in decided] for row in theirs_rows
    ]
    assert derived["variants"] == json.loads(json.dumps(fresh.report["variants"]))
    assert derived["decisions"] == fresh.report["decisions"]


def test_a_derive_of_a_derive(refined: Path, tmp_path: Path) -> None:
    derive(refined, tmp_path / "a", "--no-relabel", "--min-negatives", 6, "--short-rows", "backfill")
    derive(tmp_path / "a", tmp_path / "b", "--relabel", "--min-negatives", 1, "--short-rows", "drop")
    assert folder_bytes(tmp_path / "b") == folder_bytes(refined)
    derive(tmp_path / "b", tmp_path / "c", "--no-relabel", "--min-negatives", 6, "--short-rows", "backfill")
    assert folder_bytes(tmp_path / "c") == folder_bytes(tmp_path / "a")


def test_rules_say_what_happens(refined: Path, tmp_path: Path) -> None:
    before = actions(refined)
    assert before["relabel", "above_reference"] > 0
    derive(refined, tmp_path / "off", "--no-relabel", checked=False)
    off = actions(tmp_path / "off")
    assert off["relabel", "above_reference"] == 0
    assert off["filter", "relabel_off"] > before["relabel", "above_reference"]
    relabel = load_dataset(str(tmp_path / "off"), "relabel", split="train")
    source = load_dataset(str(Path(__file__).parents[2] / "examples" / "hard-negatives"), split="train")
    for row, original in zip(relabel, source, strict=True):
        assert row["positive_passages"] == original["positive_passages"]
    derive(refined, tmp_path / "cap", "--max-new-positives", 0, checked=False)
    capped = actions(tmp_path / "cap")
    assert capped["relabel", "above_reference"] == 0
    assert capped["filter", "over_cap"] > 0
    derive(refined, tmp_path / "skip", "--criterion", "facts=skip", "--filter-only", "how_to")
    rows = evidence(tmp_path / "skip")
    assert {(row["action"], row["reason"]) for row in rows if row["subset"] == "facts"} == {
        ("skipped", "criterion_skip")
    }
    assert not any(row["action"] == "relabel" for row in rows if row["subset"] == "howto")
    assert any(row["action"] == "relabel" for row in rows if row["subset"] == "numbers")
    derive(refined, tmp_path / "long", "--min-negatives", 10, "--short-rows", "backfill")
    for name in ("combined", "relabel", "filter"):
        assert (
            min(len(row["negative_passages"]) for row in load_dataset(str(tmp_path / "long"), name, split="train"))
            >= 10
        )


@pytest.mark.parametrize("target", ["tevatron", "flagembedding", "triplet", "n-tuple", "labeled-pair"])
def test_every_target_loads(target: str, refined: Path, tmp_path: Path) -> None:
    report = derive(refined, tmp_path / "out", "--to", target)
    columns = {
        "tevatron": {"query_id", "query", "positive_passages", "negative_passages"},
        "flagembedding": {"query", "pos", "neg"},
        "triplet": {"anchor", "positive", "negative"},
        "n-tuple": {"anchor", "positive", *(f"negative_{i}" for i in range(1, 8))},
        "labeled-pair": {"label"},
    }[target]
    for variant in ("combined", "relabel", "filter"):
        loaded = load_dataset(str(tmp_path / "out"), variant, split="train")
        assert len(loaded) == report["variants"][variant]["rows"] > 0
        assert columns <= set(loaded.column_names)
    if target != "flagembedding":
        load_dataset(str(tmp_path / "out"), "evidence", split="train")


def test_n_tuples_of_a_given_width(refined: Path, tmp_path: Path) -> None:
    derive(refined, tmp_path / "out", "--to", "n-tuple", "--negatives", 2, "--variants", "combined")
    loaded = load_dataset(str(tmp_path / "out"), split="train")
    assert loaded.column_names[-2:] == ["negative_1", "negative_2"]
    derive(tmp_path / "out", tmp_path / "again", "--variants", "combined")
    assert folder_bytes(tmp_path / "again") == folder_bytes(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--criterion", "facts"], "--criterion: 'facts' is not SUBSET=question, claim or skip"),
        (["--criterion", "facts=perhaps"], "--criterion: 'facts=perhaps' is not SUBSET=question"),
        (["--criterion", "facts=claim"], "subset 'facts' was judged by the criterion question, not claim"),
        (["--variants", "all"], "--variants: 'all': choose from"),
        (["--to", "csv"], "--to: 'csv' is not one of"),
        (["--min-negatives", "-1"], "--min-negatives: -1 is not in the range"),
        (["--orders", "3"], "No such option '--orders'"),
        (["--rank-input", "both"], "No such option '--rank-input'"),
        (["--to", "n-tuple", "--short-rows", "keep"], "--short-rows: keep is impossible for n-tuples"),
    ],
)
def test_wrong_options(words: list[str], message: str, refined: Path, tmp_path: Path) -> None:
    done = cli("derive", refined, "--output", tmp_path / "out", *words)
    assert done.code == 2
    assert message in done.error
    assert not (tmp_path / "out" / "arhn.json").exists()


def test_judgements_that_were_never_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_reply(monkeypatch)
    source = write_jsonl(tmp_path / "s.jsonl", six_rows(subset="plain"))
    base = ("refine", source, "--min-answerable", 0)
    assert cli(*base, "--output", tmp_path / "filter", "--variants", "filter").code == 0
    assert cli(*base, "--output", tmp_path / "skipped", "--criterion", "plain=skip").code == 0
    assert cli(*base, "--output", tmp_path / "few", "--max-negatives", 2).code == 0
    assert cli(*base, "--output", tmp_path / "filtering", "--no-relabel").code == 0
    for folder, words, what in (
        ("filter", ["--variants", "combined,filter"], "rows ranked"),
        ("skipped", ["--criterion", "plain=question"], "passages would have to be read"),
        ("few", ["--max-negatives", "4"], "passages would have to be read"),
        ("filtering", ["--relabel"], "rows ranked"),
    ):
        done = cli("derive", tmp_path / folder, "--output", tmp_path / "derived", *words)
        assert done.code == 2, folder
        assert what in done.error, folder
        assert "Run `arhn-hf refine` with these options: it asks for those only" in done.error
    assert cli("derive", tmp_path / "few", "--output", tmp_path / "derived", "--no-relabel").code == 0


def test_a_failed_derive_leaves_the_target_as_it_was(refined: Path, copied: Path, tmp_path: Path) -> None:
    before = folder_bytes(copied)
    assert cli("derive", refined, "--output", copied, "--criterion", "facts=claim").code == 2
    assert cli("derive", tmp_path, "--output", copied).code == 2
    assert folder_bytes(copied) == before
    assert cli("check", copied).code == 0, "it still knows where its source is"


def test_another_seed_of_a_sample_is_refused(scripted: Asked, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "s.jsonl", six_rows())
    assert cli("refine", source, "--sample", 3, "--output", tmp_path / "out", "--min-answerable", 0).code == 0
    done = cli("derive", tmp_path / "out", "--output", tmp_path / "d", "--seed", 1)
    assert done.code == 2
    assert "--seed: the sample was chosen by another seed" in done.error
    report = derive(tmp_path / "out", tmp_path / "d", "--to", "triplet")
    assert report["rows"]["sampled"] == 3
