"""Every schema through the real command: refined variants load with the source's features, and `check` proves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_helpers import Asked, cli, sources_of_every_schema
from datasets import load_dataset

SCHEMAS = ("tevatron", "tevatron-ids", "flagembedding", "triplet", "n-tuple", "labeled-pair")
TARGETS = ("tevatron", "flagembedding", "triplet", "n-tuple", "labeled-pair")


def refine(name: str, folder: Path, *words: Any) -> tuple[Path, dict[str, Any]]:
    """Refine the small source of a schema; the source file and the report."""
    source, corpus = sources_of_every_schema(folder)[name]
    more = ["--corpus", corpus] if corpus else []
    done = cli("refine", source, *more, "--output", folder / "out", "--min-answerable", 0, "--json", *words)
    assert done.code == 0, done.out
    return source, done.json


@pytest.mark.parametrize("name", SCHEMAS)
def test_refined_in_its_own_schema(name: str, scripted: Asked, tmp_path: Path) -> None:
    source, report = refine(name, tmp_path)
    assert report["source"]["format"] == name
    assert report["decisions"]["relabel"] > 0
    assert report["decisions"]["filter"] > 0
    before = load_dataset("json", data_files=str(source), split="train")
    for variant in ("combined", "relabel", "filter"):
        after = load_dataset(str(tmp_path / "out"), variant, split="train")
        assert after.features == before.features
        assert len(after) == report["variants"][variant]["rows"]
    files = sorted((tmp_path / "out" / "combined").iterdir())
    assert {file.suffix for file in files} == {".jsonl" if name == "flagembedding" else ".parquet"}
    if name == "flagembedding":
        for row in load_dataset(str(tmp_path / "out"), "combined", split="train"):
            assert len(row["pos"]) == len(row["pos_scores"])
            assert len(row["neg"]) == len(row["neg_scores"])
    checked = cli("check", tmp_path / "out", "--json")
    assert checked.code == 0, checked.out
    shown = cli("show", tmp_path / "out", "--action", "relabel", "--json").json
    assert all(any(p["action"] == "relabel" for p in row["passages"]) for row in shown["rows"])
    assert cli("plan", source, *(["--corpus", tmp_path / "corpus.jsonl"] if name == "tevatron-ids" else [])).code == 0


@pytest.mark.parametrize("name", ["tevatron-ids", "labeled-pair"])
def test_to_every_other_schema(name: str, scripted: Asked, tmp_path: Path) -> None:
    refine(name, tmp_path)
    for target in TARGETS:
        out = tmp_path / target
        done = cli(
            "derive",
            tmp_path / "out",
            "--output",
            out,
            "--to",
            target,
            "--negatives",
            2,
            "--variants",
            "combined",
            "--json",
        )
        assert done.code == 0, (target, done.out)
        assert len(load_dataset(str(out), split="train")) == done.json["variants"]["combined"]["rows"] > 0
        assert cli("check", out).code == 0, target


def test_refine_and_derive_convert_alike(scripted: Asked, tmp_path: Path) -> None:
    from scripted import folder_bytes

    refine("triplet", tmp_path)
    source = tmp_path / "triplet.jsonl"
    assert (
        cli(
            "refine",
            source,
            "--output",
            tmp_path / "direct",
            "--min-answerable",
            0,
            "--to",
            "n-tuple",
            "--negatives",
            3,
        ).code
        == 0
    )
    assert (
        cli("derive", tmp_path / "out", "--output", tmp_path / "derived", "--to", "n-tuple", "--negatives", 3).code == 0
    )
    assert folder_bytes(tmp_path / "direct") == folder_bytes(tmp_path / "derived")


def test_a_folder_written_again_does_not_load_as_it_was(scripted: Asked, tmp_path: Path) -> None:
    source, _ = refine("tevatron", tmp_path)
    evidence = load_dataset(str(tmp_path / "out"), "evidence", split="train")
    assert len(load_dataset(str(tmp_path / "out"), "relabel", split="train")) == 6
    words = ("--output", tmp_path / "out", "--min-answerable", 0, "--sample", 2)
    assert cli("refine", source, *words).code == 0
    assert len(load_dataset(str(tmp_path / "out"), "relabel", split="train")) == 2
    assert len(load_dataset(str(tmp_path / "out"), "evidence", split="train")) < len(evidence)
    assert cli("refine", source, *words, "--to", "triplet").code == 0
    assert load_dataset(str(tmp_path / "out"), "relabel", split="train").column_names == [
        "anchor",
        "positive",
        "negative",
    ]


def test_evidence_beside_jsonl_is_loaded_as_the_summary_says(scripted: Asked, tmp_path: Path) -> None:
    source = sources_of_every_schema(tmp_path)["flagembedding"][0]
    done = cli("refine", source, "--output", tmp_path / "out", "--min-answerable", 0)
    call = f'load_dataset("parquet", data_files="{tmp_path}/out/evidence/*.parquet", split="train")'
    assert call in done.out
    assert "evidence/*.parquet" in (tmp_path / "out" / "README.md").read_text()
    assert len(load_dataset("parquet", data_files=f"{tmp_path}/out/evidence/*.parquet", split="train")) == 6 * 5 + 9


def test_a_variant_that_lost_every_row_is_checked_all_the_same(scripted: Asked, tmp_path: Path) -> None:
    source = sources_of_every_schema(tmp_path)["tevatron"][0]
    words = ("--output", tmp_path / "out", "--min-negatives", 9, "--short-rows", "drop", "--json")
    report = cli("refine", source, *words).json
    assert [one["rows"] for one in report["variants"].values()] == [0, 0, 0]
    assert cli("check", tmp_path / "out").code == 0
    assert cli("check", tmp_path / "out", "--min-rows", 1).code == 3
