"""The embedded reader through the whole pipeline: what it will not judge, and what its answers are made of."""

from __future__ import annotations

import json
from pathlib import Path

from datasets import load_dataset

import arhn_hf

ENGLISH = {
    "query": "who painted the night watch",
    "pos": ["Rembrandt painted The Night Watch in 1642 for a company of civic guards in Amsterdam."],
    "neg": [
        "The large group portrait known as The Night Watch is a work by Rembrandt, finished in 1642.",
        "The Rijksmuseum opens every day at nine and closes at five in the afternoon.",
    ],
}
GERMAN = {
    "query": "wer hat die Nachtwache gemalt",
    "pos": ["Rembrandt malte Die Nachtwache im Jahr 1642 für eine Kompanie der Amsterdamer Bürgerwehr."],
    "neg": ["Das Rijksmuseum öffnet jeden Tag um neun Uhr und schließt am Nachmittag um fünf."],
}


def test_rows_in_another_language_are_undecided_and_count_as_failures(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (ENGLISH, GERMAN)), encoding="utf-8")
    result = arhn_hf.refine(str(tmp_path / "data.jsonl"), output=str(tmp_path / "out"), min_answerable=0.0)
    evidence = load_dataset("parquet", data_files=str(tmp_path / "out/evidence/*.parquet"), split="train")
    german = [item for item in evidence if item["row"] == 1]
    assert [item["reason"] for item in german] == ["first", "not_english"]
    assert {item["answer_status"] for item in german} == {"not_judged"}
    assert {item["in_combined"] for item in german if item["label"] == "negative"} == {"negative"}
    assert result.failures["count"] == 1
    assert result.exit_code == 3


def test_a_rows_own_positives_are_part_of_what_the_reader_is_asked(tmp_path: Path) -> None:
    """The similarity to the labelled positive is half of the judgement: another positive is another request."""
    other = {**ENGLISH, "pos": ["The museum in Amsterdam shows paintings of the seventeenth century."]}
    for name, row in (("a", ENGLISH), ("b", other)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    store = str(tmp_path / "store.sqlite")
    first = arhn_hf.refine(str(tmp_path / "a.jsonl"), output=str(tmp_path / "a"), store=store, min_answerable=0.0)
    second = arhn_hf.refine(str(tmp_path / "b.jsonl"), output=str(tmp_path / "b"), store=store, min_answerable=0.0)
    again = arhn_hf.refine(str(tmp_path / "a.jsonl"), output=str(tmp_path / "c"), store=store, min_answerable=0.0)
    assert first.requests["sent"] == 3
    assert second.requests["from_store"] == 0
    assert (again.requests["from_store"], again.requests["sent"]) == (3, 0)
