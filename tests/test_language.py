"""Rows that are probably not English are told from English ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arhn_hf.language import probably_english
from arhn_hf.records import Cell, Passage, Row


def row(query: str, *texts: str) -> Row:
    passages = [Passage("positive", i, None, text, None, [Cell(0, "positive", i)]) for i, text in enumerate(texts)]
    return Row(0, [0], query, passages, [])


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "wie hoch ist der höchste Berg in Österreich",
            "Der Großglockner ist mit 3798 Metern der höchste Berg des Landes.",
        ),
        ("quelle est la capitale de l'Australie", "Canberra est la capitale de l'Australie depuis plus d'un siècle."),
        ("澳大利亚的首都是哪里", "堪培拉是澳大利亚的首都，位于悉尼和墨尔本之间。"),
        ("ما هي عاصمة أستراليا", "كانبيرا هي عاصمة أستراليا وتقع بين سيدني وملبورن."),
        ("столица Австралии", "Canberra has been the capital of Australia for more than a hundred years."),
    ],
)
def test_other_languages_are_not_english(query: str, text: str) -> None:
    assert not probably_english(row(query, text))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "who is robert gray",
            "Robert Gray was captain of the first ship from the United States to sail around the world.",
        ),
        ("nguyen", "The family name Nguyen is the most common one in Vietnam and is shared by a third of its people."),
        ("42", "12 34 56"),
        ("what does naïve café cliché mean", "These are words that English has borrowed from French, accents and all."),
    ],
)
def test_english_is_english(query: str, text: str) -> None:
    assert probably_english(row(query, text))


def test_the_whole_sample_is_english(sample: Path) -> None:
    for line in (sample / "train.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        texts = [p["text"] for p in (*item["positive_passages"], *item["negative_passages"])]
        assert probably_english(row(item["query"], *texts)), item["query"]
