"""The embedded reader's decisions on the sample against its hand-made labels, and what the README says of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import arhn_hf

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import sample_agreement  # noqa: E402 - found through the path above


@pytest.fixture(scope="module")
def table(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], int]:
    """(gold label, action) → how many, of the whole sample judged by the reader."""
    folder = tmp_path_factory.mktemp("gold") / "out"
    result = arhn_hf.refine(str(sample), output=str(folder))
    assert result.exit_code == 0
    return sample_agreement.confusion(folder)


def test_every_negative_of_the_sample_has_a_gold_label_and_a_decision(table: dict[tuple[str, str], int]) -> None:
    assert sum(table.values()) == len(sample_agreement.gold_labels()) == 655


def test_the_decisions_agree_with_gold_better_than_chance(table: dict[tuple[str, str], int]) -> None:
    found = sample_agreement.rates(table)
    judged_duplicates = {action: table["duplicate", action] for action in sample_agreement.ACTIONS}
    assert judged_duplicates["keep"] == judged_duplicates["relabel"] == judged_duplicates["filter"] == 0
    assert found["clean_touched"] < 0.12
    assert found["false_negatives_leaving"] > 2 * found["clean_touched"]
    assert found["ambiguous_leaving"] > 2 * found["clean_touched"]


def test_the_readme_states_what_was_measured(table: dict[tuple[str, str], int]) -> None:
    """Bits of the scores may differ between processors, so a few decisions may; the statement must hold all the same."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    stated = text.split(sample_agreement.BEGIN)[1].split(sample_agreement.END)[0]
    measured = sample_agreement.markdown(table)
    numbers, expected = (list(map(int, re.findall(r"\d+", part))) for part in (stated, measured))
    assert len(numbers) == len(expected) > 20
    assert all(abs(a - b) <= 5 for a, b in zip(numbers, expected, strict=True)), f"{stated}\nbut measured\n{measured}"
