"""What we write trains elsewhere: each library that people train retrieval models with reads every row of it, by itself.

The second half shows that these checks can fail, and records why some defaults of ours are what they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ST = ("trainers", "sentence_transformers_step.py")
FLAG = ("trainers", "flagembedding_iterate.py")
TEVATRON = ("tevatron", "tevatron_iterate.py")


def rows_in(folder: Path) -> int:
    """The rows of a variant, counted without any of the libraries."""
    files = sorted(folder.glob("train-*"))
    assert files, f"{folder} holds no data"
    lines = [path.read_text(encoding="utf-8").splitlines() for path in files if path.suffix == ".jsonl"]
    parquet = [pq.read_metadata(path).num_rows for path in files if path.suffix == ".parquet"]
    return sum(map(len, lines)) + sum(parquet)


@pytest.mark.parametrize("kind", ["triplet", "n-tuple", "labeled-pair"])
def test_sentence_transformers_makes_a_step(consume, refined_folders, kind):
    folder = refined_folders[kind]
    verdict = consume(*ST, folder, "--kind", kind)
    assert verdict["ok"], verdict
    assert verdict["rows"] == rows_in(folder / "combined") > 0
    assert verdict["weights_changed"] > 0


def test_flagembedding_reads_every_row_and_keeps_each_score(consume, refined_folders, flagembedding_source):
    folder = refined_folders["flagembedding"] / "combined"
    verdict = consume(*FLAG, folder, "--source", flagembedding_source)
    assert verdict["ok"], verdict
    assert verdict["rows"] == verdict["rows_with_scores"] == rows_in(folder) > 0
    assert verdict["compared_with_source"]


def test_tevatron_reads_every_row(consume, refined_folders):
    folder = refined_folders["tevatron"]
    verdict = consume(*TEVATRON, folder)
    assert verdict["ok"], verdict
    assert verdict["rows"] == rows_in(folder / "combined") > 0


# -- the checks can fail ----------------------------------------------------------------------------------------------


def jsonl(folder: Path, *shards: list[dict]) -> Path:
    """Write one jsonl file for each list of rows."""
    for number, rows in enumerate(shards):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"train-{number:05}-of-{len(shards):05}.jsonl").write_text(text, encoding="utf-8")
    return folder


def flag_row(number: int, **changes) -> dict:
    return {"query": f"query {number}", "pos": [f"positive {number}"], "neg": ["one negative", "another"]} | changes


def tevatron_row(number: int, **changes) -> dict:
    passages = [{"docid": f"d{number}-{i}", "title": "", "text": f"passage {number} {i}"} for i in range(3)]
    row = {"query_id": f"q{number}", "query": f"query {number}"}
    return row | {"positive_passages": passages[:1], "negative_passages": passages[1:]} | changes


def test_a_row_without_negatives_crashes_flagembedding(consume, tmp_path):
    """Why short rows are dropped by default: one such row, drawn hours into a run, ends it."""
    verdict = consume(*FLAG, jsonl(tmp_path, [flag_row(1), flag_row(2, neg=[])]))
    assert (verdict["ok"], verdict["error"], verdict["inside_library"]) == (False, "ZeroDivisionError", True)


def test_a_row_without_negatives_crashes_tevatron(consume, tmp_path):
    """Why short rows are dropped by default."""
    verdict = consume(*TEVATRON, jsonl(tmp_path, [tevatron_row(1), tevatron_row(2, negative_passages=[])]))
    assert (verdict["ok"], verdict["error"], verdict["inside_library"]) == (False, "IndexError", True)


def test_a_single_negative_is_enough_for_both(consume, tmp_path):
    """Drawn with replacement: few negatives cost variety, not the run. Why the default minimum is 1."""
    (tmp_path / "flag").mkdir()
    (tmp_path / "tevatron").mkdir()
    one = tevatron_row(1)["negative_passages"][:1]
    flag = consume(*FLAG, jsonl(tmp_path / "flag", [flag_row(1, neg=["the only one"])]))
    tevatron = consume(*TEVATRON, jsonl(tmp_path / "tevatron", [tevatron_row(1, negative_passages=one)]))
    assert (flag["ok"], tevatron["ok"]) == (True, True), (flag, tevatron)


def test_a_null_title_crashes_tevatron(consume, tmp_path):
    """A passage without a title has an empty one, or the schema has no title at all."""
    passage = {"docid": "d", "title": None, "text": "no title"}
    verdict = consume(*TEVATRON, jsonl(tmp_path, [tevatron_row(1), tevatron_row(2, negative_passages=[passage])]))
    assert (verdict["ok"], verdict["error"], verdict["inside_library"]) == (False, "TypeError", True)


def test_a_score_left_behind_by_its_passage_is_found(consume, tmp_path):
    """Promoting a negative and not its score shifts every score after it: the lengths agree, the loader is content."""
    source, refined = tmp_path / "source", tmp_path / "refined"
    source.mkdir()
    refined.mkdir()
    row = flag_row(1, neg=["a", "b", "c"], pos_scores=[0.9], neg_scores=[0.1, 0.2, 0.3])
    jsonl(source, [row])
    moved = row | {"pos": [*row["pos"], "a"], "neg": ["b", "c"], "pos_scores": [0.9, 0.2], "neg_scores": [0.1, 0.3]}
    verdict = consume(*FLAG, jsonl(refined, [moved]), "--source", source)
    assert not verdict["ok"]
    assert "in the source" in verdict["message"]


def test_scores_that_are_whole_numbers_in_one_file_crash_flagembedding(consume, tmp_path):
    """Every file is typed by itself, then they are concatenated: a float is written as a float, 1.0 and not 1."""
    whole = flag_row(1, pos_scores=[1], neg_scores=[0, 0])
    fraction = flag_row(2, pos_scores=[0.5], neg_scores=[0.25, 0.125])
    verdict = consume(*FLAG, jsonl(tmp_path, [whole], [fraction]))
    assert (verdict["ok"], verdict["inside_library"]) == (False, True)
    assert "pos_scores" in verdict["message"]


def test_a_missing_instruction_is_read_as_the_word_none(consume, tmp_path):
    """`prompt` in some rows only becomes null in the others, and FlagEmbedding trains on "None" before the query."""
    verdict = consume(*FLAG, jsonl(tmp_path, [flag_row(1, prompt="Find it: "), flag_row(2)]))
    assert not verdict["ok"]
    assert "Nonequery 2" in verdict["message"]


def test_an_extra_column_would_be_an_input_of_sentence_transformers(consume, tmp_path):
    row = {"anchor": "q", "positive": "p", "negative": "n", "query_id": "q1"}
    verdict = consume(*ST, jsonl(tmp_path, [row]), "--kind", "triplet")
    assert not verdict["ok"]
    assert "query_id" in verdict["message"]


def test_a_missing_negative_stops_sentence_transformers(consume, tmp_path):
    """An n-tuple row cannot be padded with nulls: rows with too few negatives have to leave."""
    full = {"anchor": "q", "positive": "p", "negative_1": "n", "negative_2": "m"}
    verdict = consume(*ST, jsonl(tmp_path, [full, full | {"negative_2": None}]), "--kind", "n-tuple")
    assert (verdict["ok"], verdict["inside_library"]) == (False, True), verdict
