"""A whole audit of a finished folder: the same figures whatever form the labels come in, thresholds that keep their
word, and one line for what cannot be measured."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from scripted import folder_bytes

from arhn_hf.auditing.audit import LabelSource, audit
from arhn_hf.auditing.section import section_text, span, write_section
from arhn_hf.auditing.thresholds import save_threshold
from arhn_hf.config_file import read_yaml
from arhn_hf.publishing.card_text import AUDIT, BEGIN, END
from arhn_hf.records import ArhnError, UsageError

FIELD = LabelSource(grades="grade")


def quick(folder: Path, labels: LabelSource = FIELD, **options: Any) -> dict[str, Any]:
    """An audit without baselines, of few draws."""
    return audit(folder, labels, **{"with_baselines": False, "samples": 100, **options})


def gold_rows(desk: SimpleNamespace) -> list[dict[str, Any]]:
    """The labels of the negatives and positives of `labelled_rows`, as a gold file has them."""
    return [
        {"query_id": row["query_id"], "docid": one["docid"], "gold": one["grade"]}
        for row in desk.rows()
        for side in ("positive_passages", "negative_passages")
        for one in row[side]
        if one["grade"] is not None
    ]


def test_the_audit_of_a_run_whose_every_decision_is_known(judged: Path) -> None:
    found = quick(judged)
    lineage = json.loads((judged / "arhn.json").read_text())
    assert {name: found[name] for name in ("schema", "command", "status", "exit_code", "error")} == {
        "schema": "arhn-hf/1", "command": "audit", "status": "done", "exit_code": 0, "error": None
    }  # fmt: skip
    assert (found["folder"], found["run_id"], found["judges"]) == (str(judged), lineage["run_id"], lineage["judges"])
    assert found["labels"] == {
        "kind": "field",
        "name": "grade",
        "labels": 13,
        "unjoined": 0,
        "set_aside": 0,
        "examples": [],
    }
    assert (found["queries"], found["candidates"], found["relevant"], found["clean"], found["ambiguous"]) == (
        3,
        10,
        4,
        4,
        2,
    )
    assert found["left_out"] == {"duplicate": 1, "undecided: answer_failed": 1}
    assert (found["unlabelled"], found["scored_by"], found["baselines"], found["threshold"]) == (1, "score", {}, None)
    assert found["ranking"]["auroc"]["value"] == pytest.approx(20 / 24, abs=1e-6)
    assert found["ranking"]["auroc_without_ambiguous"]["value"] == pytest.approx(13 / 16)
    leaves = found["decisions"]["leaves"]
    assert (leaves["flagged"], leaves["precision"]["value"], leaves["recall"]["value"]) == (5, 0.6, 0.75)
    assert found["decisions"]["relabel"]["precision_as_good_as_the_positive"]["value"] == 0.0
    assert found["kappa"]["value"] == pytest.approx(0.4)
    assert list(found["subsets"]) == ["a", "b"]
    json.dumps(found, allow_nan=False)


def test_a_judge_without_scores_is_measured_by_its_decisions(scoreless: Path, judged: Path) -> None:
    found, scored = quick(scoreless), quick(judged)
    assert found["scored_by"] == "decision"
    assert found["ranking"]["auroc"]["value"] == pytest.approx(16.5 / 24)
    assert (found["decisions"], found["grades"], found["kappa"]) == (
        scored["decisions"],
        scored["grades"],
        scored["kappa"],
    )


@pytest.mark.parametrize("name", ["gold.jsonl", "gold.jsonl.gz"])
def test_a_gold_file_gives_the_figures_of_the_field(
    judged: Path, tmp_path: Path, desk: SimpleNamespace, name: str
) -> None:
    path = desk.write_jsonl(tmp_path / name, gold_rows(desk))
    by_file, by_field = quick(judged, LabelSource(gold=str(path))), quick(judged)
    assert by_file.pop("labels") == {
        "kind": "file",
        "name": name,
        "labels": 13,
        "unjoined": 0,
        "set_aside": 0,
        "examples": [],
    }
    del by_field["labels"]
    assert by_file == by_field


def test_a_second_dataset_labels_what_moved_and_what_stayed(
    judged: Path, tmp_path: Path, desk: SimpleNamespace
) -> None:
    rows = desk.rows()
    for row in rows:  # what people call relevant has moved, what they call ambiguous is gone
        negatives = row["negative_passages"]
        row["positive_passages"] += [one for one in negatives if one["grade"] == 2]
        row["negative_passages"] = [one for one in negatives if one["grade"] == 0]
    path = desk.write_jsonl(tmp_path / "after.jsonl", rows)
    found = quick(judged, LabelSource(labels=str(path)))
    assert (found["labels"]["kind"], found["labels"]["name"], found["labels"]["unjoined"]) == (
        "dataset",
        "after.jsonl",
        0,
    )
    assert (found["relevant"], found["clean"], found["ambiguous"], found["unlabelled"]) == (4, 4, 0, 3)
    assert found["ranking"]["auroc"]["value"] == pytest.approx(13 / 16)
    # Every positive is relevant there, and so is what was relabeled and moved:
    assert found["decisions"]["relabel"]["precision_as_good_as_the_positive"]["value"] == 0.5


def test_lists_beside_plain_texts(tmp_path: Path, desk: SimpleNamespace) -> None:
    rows = [
        {
            "query": row["query"], "pos": [one["text"] for one in row["positive_passages"]],
            "neg": [one["text"] for one in row["negative_passages"]],
            "pos_grade": [one["grade"] for one in row["positive_passages"]],
            "neg_grade": [one["grade"] for one in row["negative_passages"]],
        }
        for row in desk.rows()
    ]  # fmt: skip
    found = quick(desk.run(tmp_path, rows))
    assert (found["relevant"], found["clean"], found["ambiguous"], found["unlabelled"]) == (4, 4, 2, 1)
    assert found["kappa"]["value"] == pytest.approx(0.4)
    assert found["decisions"]["relabel"]["precision_as_good_as_the_positive"]["value"] == 0.0


def test_triplets_count_a_passage_of_one_query_once(triplets: Path, tmp_path: Path, desk: SimpleNamespace) -> None:
    with desk.opened(triplets) as (stored, _):
        evidence = stored.evidence.to_list()
    grades = {"relabel": 2, "keep": 0, "undecided": 2}
    negatives = {
        (one["query_id"], one["docid"]): grades[one["action"]] for one in evidence if one["label"] == "negative"
    }
    gold = [{"query_id": query, "docid": docid, "grade": grade} for (query, docid), grade in negatives.items()]
    found = quick(triplets, LabelSource(gold=str(desk.write_jsonl(tmp_path / "gold.jsonl", gold))))
    assert (found["labels"]["labels"], found["candidates"], found["queries"]) == (12, 4, 2)
    assert found["left_out"] == {"undecided: answer_failed": 2}
    assert found["decisions"]["leaves"]["precision"]["value"] == 1.0


def test_labels_of_rows_outside_the_sample_are_told_from_labels_of_nothing(
    tmp_path: Path, desk: SimpleNamespace
) -> None:
    folder = desk.run(tmp_path / "run", desk.rows(), sample=2)
    gold = [*gold_rows(desk), {"query_id": "q0", "docid": "typo", "gold": 2}]
    found = quick(folder, LabelSource(gold=str(desk.write_jsonl(tmp_path / "gold.jsonl", gold))))
    assert (found["labels"]["unjoined"], found["labels"]["examples"]) == (1, ["q0, typo"])


def test_an_audit_changes_nothing_in_the_folder(judged: Path) -> None:
    before = folder_bytes(judged)
    quick(judged)
    assert folder_bytes(judged) == before


def test_equal_audits_give_equal_figures_and_another_seed_other_intervals(judged: Path) -> None:
    assert quick(judged) == quick(judged)
    ours, theirs = quick(judged)["ranking"]["auroc"], quick(judged, seed=7)["ranking"]["auroc"]
    assert ours["value"] == theirs["value"]


def test_the_baselines_stand_beside_the_judge(judged: Path) -> None:
    found = quick(judged, with_baselines=True)
    assert list(found["baselines"]) == [
        "BM25, ratio to the positive", "cosine to the query", "TopK-PercPos 0.95", "TopK-MarginPos 0.05",
        "cosine to the labelled positive", "flag everything",
    ]  # fmt: skip
    for one in found["baselines"].values():
        difference = found["ranking"]["auroc"]["value"] - one["ranking"]["auroc"]["value"]
        assert one["auroc_judge_minus_this"]["value"] == pytest.approx(difference, abs=2e-6)
    json.dumps(found, allow_nan=False)


def test_a_source_that_moved_can_be_named(tmp_path: Path, judged: Path, desk: SimpleNamespace) -> None:
    folder = desk.run(tmp_path / "run", desk.rows())
    moved = (folder.parent / "source.jsonl").rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(UsageError, match="is not where it was"):
        quick(folder)
    found = quick(folder, source=str(moved))
    assert found["ranking"] == quick(judged)["ranking"]


def test_a_source_that_changed_is_refused(tmp_path: Path, desk: SimpleNamespace) -> None:
    folder = desk.run(tmp_path, desk.rows())
    rows = desk.rows()
    rows[0]["query"] += " now"
    desk.write_jsonl(folder.parent / "source.jsonl", rows)
    with pytest.raises(UsageError, match="the source has changed"):
        quick(folder)


def test_a_folder_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArhnError):
        quick(tmp_path)


@pytest.mark.parametrize(
    ("grade", "says"),
    [(2, "only relevant passages among the 10"), (0, "no relevant passage among the 10"), (None, "no label")],
)
def test_labels_of_one_class_only_are_refused(
    judged: Path, tmp_path: Path, desk: SimpleNamespace, grade: Any, says: str
) -> None:
    rows = gold_rows(desk)
    if grade is None:  # labels of the positives alone
        rows = [row for row in rows if "p" in row["docid"]]
    gold = [{**row, "gold": row["gold"] if grade is None else grade} for row in rows]
    with pytest.raises(UsageError, match=says):
        quick(judged, LabelSource(gold=str(desk.write_jsonl(tmp_path / "gold.jsonl", gold))))


@pytest.mark.parametrize(
    "places",
    [{}, {"grades": "grade", "gold": "x"}, {"gold": "x", "labels": "y"}, {"grades": "g", "gold": "x", "labels": "y"}],
)
def test_labels_come_from_exactly_one_place(places: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="needs labels, from one place. Give one of --grades, --gold, --labels"):
        LabelSource(**places)


# Thresholds


@pytest.mark.parametrize(
    ("wanted", "threshold", "recall", "precision", "touched"),
    [
        ("recall=0.5", 0.7, 0.5, 2 / 3, 0.25),
        ("recall=1", 0.3, 1.0, 4 / 6, 0.25),
        ("recall = 0.6", 0.65, 0.75, 0.75, 0.25),
        ("precision=0.7", 0.65, 0.75, 0.75, 0.25),
        ("precision=1", 0.9, 0.25, 1.0, 0.0),
        ("max_clean=0", 0.9, 0.25, 1.0, 0.0),
        ("max-clean=0.25", 0.3, 1.0, 4 / 6, 0.25),
        ("max_clean=1", 0.05, 1.0, 0.4, 1.0),
    ],
)
def test_a_threshold_for_a_target_on_these_labels(
    judged: Path, wanted: str, threshold: float, recall: float, precision: float, touched: float
) -> None:
    found = quick(judged, thresholds=wanted)["threshold"]
    assert found["target"] == wanted
    assert found["answer_threshold"] == pytest.approx(threshold)
    assert (found["recall"], found["precision"], found["clean_touched"]) == pytest.approx((recall, precision, touched))


@pytest.mark.parametrize(
    "wanted",
    ["", "recall", "recall=", "recall=much", "recall=1.2", "recall=-0.1", "recall=nan", "f1=0.5", "=0.5", "recall=0"],
)
def test_a_target_that_is_none_is_refused(judged: Path, wanted: str) -> None:
    with pytest.raises(UsageError) as raised:
        quick(judged, thresholds=wanted)
    assert raised.value.where == "--thresholds"


def test_a_target_that_no_score_reaches_says_what_is_the_best(tmp_path: Path, desk: SimpleNamespace) -> None:
    rows = desk.rows()
    rows[1]["negative_passages"][0] = desk.passage("q1n0", "relabel", 0.99, grade=0)
    folder = desk.run(tmp_path, rows)
    for wanted, says in (("precision=0.9", "the best is 0.75"), ("max_clean=0", "the least is 0.25")):
        with pytest.raises(UsageError, match=f"cannot be reached: {says}") as raised:
            quick(folder, thresholds=wanted)
        assert raised.value.where == "--thresholds"


def test_a_judge_without_scores_has_no_threshold(scoreless: Path) -> None:
    with pytest.raises(UsageError, match="this judge gives no score to set a threshold on"):
        quick(scoreless, thresholds="recall=0.5")


def test_a_saved_threshold_is_a_config_that_says_where_it_comes_from(judged: Path, tmp_path: Path) -> None:
    report, path = quick(judged, thresholds="recall=0.5"), tmp_path / "threshold.yaml"
    save_threshold(path, report)
    assert read_yaml(str(path)) == {"answer_threshold": report["threshold"]["answer_threshold"]}
    comment = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    assert "recall=0.5 on 10 negatives of 3 queries" in comment[0]
    assert f"labels: grade, run {report['run_id']}" in comment[1]
    assert "recall 0.500, precision 0.667, of the clean 0.250" in comment[2]


def test_saving_never_overwrites(judged: Path, tmp_path: Path) -> None:
    report, path = quick(judged, thresholds="recall=0.5"), tmp_path / "threshold.yaml"
    path.write_text("mine: 1\n")
    with pytest.raises(UsageError, match="exists already. Choose another name"):
        save_threshold(path, report)
    assert path.read_text() == "mine: 1\n"
    with pytest.raises(UsageError, match="cannot be written"):
        save_threshold(tmp_path / "absent" / "threshold.yaml", report)


def test_a_label_name_with_line_breaks_stays_a_comment(judged: Path, tmp_path: Path) -> None:
    report, path = quick(judged, thresholds="recall=0.5"), tmp_path / "threshold.yaml"
    report["labels"]["name"] = "gold\njudge: vllm\r\nmodel: x"
    save_threshold(path, report)
    assert list(yaml.safe_load(path.read_text())) == ["answer_threshold"]


@pytest.mark.parametrize("wanted", ["recall=0.5", "recall=0.75", "recall=1", "precision=1"])
def test_a_run_with_the_fitted_threshold_does_what_was_promised(
    judged: Path, tmp_path: Path, desk: SimpleNamespace, wanted: str
) -> None:
    """Also at the border: the evidence holds scores of 32 bits, the judge compares its own of 64."""
    rows = desk.rows()
    rows[0]["negative_passages"][1] = desk.passage("q0n1", "filter", 0.73, grade=2)  # 32 bits: above .73
    found = quick(desk.run(tmp_path / "first", rows), thresholds=wanted)["threshold"]
    judge = desk.judge(threshold=found["answer_threshold"])
    again = quick(desk.run(tmp_path / "second", rows, judge=judge))["decisions"]["leaves"]
    assert again["recall"]["value"] == pytest.approx(found["recall"], abs=1e-6)
    assert again["precision"]["value"] == pytest.approx(found["precision"], abs=1e-6)
    assert again["clean_touched"]["value"] == pytest.approx(found["clean_touched"], abs=1e-6)


def test_a_threshold_that_no_run_would_accept_is_not_saved(tmp_path: Path, desk: SimpleNamespace) -> None:
    """Scores are on the judge's own scale; --answer-threshold goes from 0 to 1."""
    rows = desk.rows()
    rows[0]["negative_passages"][0] = desk.passage("q0n0", "relabel", 3.5, grade=2)
    with pytest.raises(UsageError):
        save_threshold(tmp_path / "threshold.yaml", quick(desk.run(tmp_path, rows), thresholds="precision=1"))


# The section of the card


def test_the_section_says_what_was_measured(judged: Path) -> None:
    report = quick(judged)
    words = section_text(report)
    assert "10 negatives of 3 queries with labels from grade: 4 relevant, 2 ambiguous, 4 not relevant" in words
    assert f"| either | 5 | {span(report['decisions']['leaves']['precision'])} | " in words
    assert f"| **this judge** | {span(report['ranking']['auroc'])} | " in words
    rows = [line for line in words.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5, 6}


def test_numbers_as_the_card_writes_them() -> None:
    assert span({"value": 0.774, "low": 0.68, "high": 1.0}) == ".77 [.68–1.00]"
    assert span({"value": -0.05, "low": -0.5, "high": 0.0}) == "-.05 [-.50–.00]"
    assert span({"value": 0.5, "low": None, "high": None}) == ".50"
    assert span({"value": None, "low": None, "high": None}) == "–"


def test_a_section_stands_between_its_marks_and_replaces_an_older_one(judged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(judged, tmp_path / "copy"))
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nA word of mine.\n")
    before = card.read_text()
    report = quick(judged)
    write_section(folder, report)
    first = card.read_text()
    assert f"{AUDIT[0]}\n{section_text(report)}\n{AUDIT[1]}" in first
    assert first.index(END) < first.index(AUDIT[0]) < first.index(AUDIT[1]) < first.index("A word of mine.")
    assert first[: first.index(END)] == before[: before.index(END)]
    write_section(folder, report)
    assert card.read_text() == first
    write_section(folder, {**report, "candidates": 4321})
    second = card.read_text()
    assert second == first.replace("Measured on 10 negatives", "Measured on 4,321 negatives")
    assert (second.count(AUDIT[0]), second.count(AUDIT[1]), second.count(BEGIN)) == (1, 1, 1)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in judged.iterdir())


def test_the_name_of_the_labels_is_only_text_in_the_card(judged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(judged, tmp_path / "copy"))
    report = quick(judged)
    report["labels"]["name"] = f"<b>{AUDIT[1]}|{END}\n# Heading"
    write_section(folder, report)
    card = (folder / "README.md").read_text()
    assert (card.count(AUDIT[0]), card.count(AUDIT[1]), card.count(END)) == (1, 1, 1)
    assert "<b>" not in card
    assert "\n# Heading" not in card.split(AUDIT[0])[1]


def test_a_folder_without_a_card_is_told_so(judged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(judged, tmp_path / "copy"))
    (folder / "README.md").unlink()
    with pytest.raises((ArhnError, OSError)) as raised:
        write_section(folder, quick(judged))
    assert "README.md" in str(raised.value)


def test_options_are_what_the_command_line_has() -> None:
    names = {item.name for item in dataclasses.fields(LabelSource)}
    assert names == {"grades", "gold", "labels", "labels_split", "labels_revision"}
