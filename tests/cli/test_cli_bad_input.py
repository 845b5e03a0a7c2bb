"""Input that cannot be refined: exit 2 and one line of what, where and what to do, before anything is judged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import Asked, cli, evidence, six_rows, sources_of_every_schema, tevatron_row, texts, write_jsonl
from datasets import load_dataset

GOOD = six_rows()


def refuse(*words: Any, engine: Asked, output: Path) -> str:
    """The error line of a refine that must not ask, and must write no result."""
    done = cli("refine", *words, "--output", output)
    assert done.code == 2, (done.out, done.err)
    assert engine.count == 0
    assert not (output / "arhn.json").exists()
    return done.error


def test_an_unknown_schema_lists_columns_and_formats(scripted: Asked, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "odd.jsonl", [{"question_text": "a", "good": ["b"], "bad": [1]}])
    line = refuse(source, engine=scripted, output=tmp_path / "out")
    for words in (
        "question_text: string",
        "good: list<string>",
        "bad: list<int64>",
        "tevatron",
        "flagembedding",
        "triplet",
        "n-tuple",
        "labeled-pair",
    ):
        assert words in line, words


def test_a_format_that_does_not_fit(scripted: Asked, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "s.jsonl", GOOD)
    line = refuse(source, "--format", "triplet", engine=scripted, output=tmp_path / "out")
    assert "positive_passages" in line
    assert "anchor, positive, negative" in line


def test_ids_without_a_corpus(scripted: Asked, tmp_path: Path) -> None:
    source, corpus = sources_of_every_schema(tmp_path)["tevatron-ids"]
    line = refuse(source, engine=scripted, output=tmp_path / "out")
    assert "document ids without texts" in line
    assert "--corpus" in line
    line = refuse(source, "--corpus", tmp_path / "absent.jsonl", engine=scripted, output=tmp_path / "out")
    assert "absent.jsonl: no such file or folder" in line
    line = refuse(source, "--corpus", source, engine=scripted, output=tmp_path / "out")
    assert "--corpus: the corpus has the columns" in line


def test_wrong_places(scripted: Asked, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "s.jsonl", GOOD)
    out = tmp_path / "out"
    assert f"{source}: no split 'test'. It has train" in refuse(source, "--split", "test", engine=scripted, output=out)
    assert "Leave out --name" in refuse(source, "--name", "en", engine=scripted, output=out)
    assert "Leave out --revision" in refuse(source, "--revision", "main", engine=scripted, output=out)
    assert "no such file or folder" in refuse(tmp_path / "absent.jsonl", engine=scripted, output=out)
    assert "not a dataset file" in refuse(write_jsonl(tmp_path / "s.txt", GOOD), engine=scripted, output=out)
    (tmp_path / "empty.jsonl").touch()
    assert "the file is empty" in refuse(tmp_path / "empty.jsonl", engine=scripted, output=out)
    (tmp_path / "void").mkdir()
    assert "the folder is empty" in refuse(tmp_path / "void", engine=scripted, output=out)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(scripted: Asked, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "s.jsonl", GOOD)
    source.chmod(0)
    assert "cannot be read" in refuse(source, engine=scripted, output=tmp_path / "out")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"query": "a", "pos": ["\\ud800"], "neg": ["c"]}', "surrogate"),
        ('{"query": 5, "pos": ["b"], "neg": ["c"]}', "mixed types"),
        ('{"query": "a", "pos": "b", "neg": ["c"]}', "mixed types"),
        ('{"query": "a", "pos": ["b"], "neg": ["c"]', ""),
    ],
)
def test_jsonl_that_arrow_refuses(line: str, why: str, scripted: Asked, tmp_path: Path) -> None:
    source = tmp_path / "bad.jsonl"
    good = '{"query": "a", "pos": ["b"], "neg": ["c"]}\n'
    source.write_text(good * 2 + line + "\n" + good)
    said = refuse(source, engine=scripted, output=tmp_path / "out")
    assert f"{source}:3: " in said
    assert why in said
    assert "Mend or remove that line" in said


def test_a_broken_parquet_file(scripted: Asked, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    assert f"{tmp_path / 'bad.parquet'}: not a readable parquet file" in refuse(
        tmp_path / "bad.parquet", engine=scripted, output=tmp_path / "out"
    )


def test_output_folders_that_are_not_ours(scripted: Asked, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "s.jsonl", GOOD)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("mine")
    assert f"{theirs}: is not empty and was not written by arhn-hf. Choose another --output" in refuse(
        source, engine=scripted, output=theirs
    )
    assert [p.name for p in theirs.iterdir()] == ["thesis.txt"]
    assert f"{source}: is a file, not a folder" in refuse(source, engine=scripted, output=source)
    assert cli("derive", theirs, "--output", tmp_path / "d").code == 2


def test_derive_refuses_the_same_folders(refined: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = cli("derive", refined, "--output", tmp_path)
    assert (done.code, "is not empty and was not written by arhn-hf" in done.error) == (2, True)
    done = cli("derive", refined, "--output", refined)
    assert (done.code, "--output: must be another folder" in done.error) == (2, True)


def test_an_empty_folder_is_fine(scripted: Asked, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert cli("refine", write_jsonl(tmp_path / "s.jsonl", GOOD), "--output", tmp_path / "out").code == 0


def test_n_tuples_cannot_keep_short_rows(scripted: Asked, tmp_path: Path) -> None:
    sources = sources_of_every_schema(tmp_path)
    line = refuse(sources["n-tuple"][0], "--short-rows", "keep", engine=scripted, output=tmp_path / "out")
    assert "--short-rows: keep is impossible for n-tuples" in line
    line = refuse(
        sources["tevatron"][0], "--to", "n-tuple", "--short-rows", "keep", engine=scripted, output=tmp_path / "out"
    )
    assert "--short-rows" in line
    line = refuse(sources["n-tuple"][0], "--negatives", "3", engine=scripted, output=tmp_path / "out")
    assert "--negatives: the source's rows have 4 negatives" in line


BAD = {
    "null query": (tevatron_row(90, None, ["a positive"], ["a negative"]), "the query is empty"),
    "empty query": (tevatron_row(91, " \t", ["a positive"], ["a negative"]), "the query is empty"),
    "no positives": (tevatron_row(92, "why", [], ["a negative", "another"]), "there is no positive"),
    "null passage": (tevatron_row(93, "why", ["a positive"], ["a negative", None]), "negative 1 has no text"),
    "empty passage": (tevatron_row(94, "why", ["a positive", ""], ["a negative"]), "positive 1 has no text"),
}


def test_invalid_rows_pass_through_untouched(scripted: Asked, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "s.jsonl", [GOOD[0], *(row for row, _ in BAD.values()), *GOOD[1:]])
    out = tmp_path / "out"
    report = cli("refine", source, "--output", out, "--min-answerable", 0, "--json").json
    assert report["rows"]["invalid"] == len(BAD)
    assert report["rows"]["judged"] == len(GOOD)
    before = load_dataset("json", data_files=str(source), split="train")
    original = {row["query_id"]: row for row in before}
    for variant in ("combined", "relabel", "filter"):
        after = load_dataset(str(out), variant, split="train")
        assert after.features == before.features
        by_id = {row["query_id"]: row for row in after}
        for row, _ in BAD.values():
            assert by_id[row["query_id"]] == original[row["query_id"]], (variant, row)
    rows = [row for row in evidence(out) if row["query_id"] in {row["query_id"] for row, _ in BAD.values()}]
    assert len(rows) == sum(len(row["positive_passages"]) + len(row["negative_passages"]) for row, _ in BAD.values())
    for row in rows:
        assert (row["action"], row["reason"], row["answer_status"]) == ("skipped", "invalid_row", "invalid_row")
        assert row["in_combined"] == row["in_relabel"] == row["in_filter"] == row["label"]
        assert row["judge"] is None
    assert cli("check", out).code == 0
    shown = cli("show", out, "--reason", "invalid_row", "--limit", 9)
    assert shown.out.count("Row ") == len(BAD)
    plan = cli("plan", source, "--json").json
    assert plan["rows"]["invalid"] == len(BAD)
    assert plan["invalid"][0] == "row 1: the query is empty"
    assert "5 (row 1: the query is empty" in cli("plan", source).out.replace("\n", "")


@pytest.mark.parametrize("name", BAD)
def test_strict_names_the_row(name: str, scripted: Asked, tmp_path: Path) -> None:
    row, why = BAD[name]
    source = write_jsonl(tmp_path / "s.jsonl", [*GOOD[:2], row])
    line = refuse(source, "--strict", engine=scripted, output=tmp_path / "out")
    assert f"row 2: {why} (1 such rows)" in line
    assert "--strict" in line
    assert cli("plan", source, "--strict").code == 2


def test_rows_without_negatives(scripted: Asked, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "s.jsonl", [*GOOD, tevatron_row(9, "why is that", texts("lanterns", 1, "pos"), [])])
    report = cli(
        "refine", source, "--output", tmp_path / "keep", "--short-rows", "keep", "--min-answerable", 0, "--json"
    ).json
    assert report["rows"]["invalid"] == 0
    rows = load_dataset(str(tmp_path / "keep"), "combined", split="train")
    assert (rows[-1]["query_id"], rows[-1]["negative_passages"]) == ("q9", [])
    cli("refine", source, "--output", tmp_path / "drop", "--min-answerable", 0)
    (last,) = [row for row in evidence(tmp_path / "drop") if row["query_id"] == "q9"]
    assert (last["action"], last["in_combined"]) == ("reference", "row_dropped")
    cli("refine", source, "--output", tmp_path / "fill", "--min-answerable", 0, "--short-rows", "backfill")
    filled = load_dataset(str(tmp_path / "fill"), "combined", split="train")
    assert len(filled[-1]["negative_passages"]) == 1
    for folder in ("keep", "drop", "fill"):
        assert cli("check", tmp_path / folder).code == 0, folder
