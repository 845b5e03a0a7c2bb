"""`arhn-hf show`: the rows asked for, the snippet marked where it stands, and one line when there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import cli, evidence


def test_one_row_with_its_snippets(refined: Path) -> None:
    row = next(row for row in evidence(refined) if row["action"] == "relabel")
    done = cli("show", refined, "--row", row["row"])
    assert done.code == 0
    assert f"Row {row['row']} [{row['subset']}]: " in done.out
    assert f"«{row['snippet']}»" in done.out
    assert "relabel (above_reference, answered; negative" in done.out
    assert done.out.count("\n  ") == sum(1 for one in evidence(refined) if one["row"] == row["row"])


@pytest.mark.parametrize("action", ["relabel", "filter", "keep", "duplicate", "reference", "positive"])
def test_rows_by_action(action: str, refined: Path) -> None:
    report = cli("show", refined, "--action", action, "--limit", 3, "--json").json
    numbers = [row["row"] for row in report["rows"]]
    assert numbers == sorted({row["row"] for row in evidence(refined) if row["action"] == action})[:3]
    done = cli("show", refined, "--action", action, "--limit", 3)
    first_words = {line.split("(")[0].strip() for line in done.out.splitlines() if line.startswith("  ")}
    assert first_words <= {action, "reference", "positive"}
    assert action in first_words


def test_rows_by_reason(refined: Path) -> None:
    report = cli("show", refined, "--reason", "near_positive", "--limit", 99, "--json").json
    assert {row["row"] for row in report["rows"]} == {
        row["row"] for row in evidence(refined) if row["reason"] == "near_positive"
    }


def test_the_limit(refined: Path) -> None:
    assert cli("show", refined).out.count("Row ") == 5
    assert len(cli("show", refined, "--limit", 2, "--json").json["rows"]) == 2
    assert len(cli("show", refined, "--limit", 1000, "--json").json["rows"]) == 66


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--row", 9999], "nothing to show for row 9999"),
        (["--action", "undecided"], "nothing to show for action undecided"),
        (["--reason", "nonsense"], "nothing to show for reason nonsense"),
        (["--action", "nonsense"], "--action: 'nonsense' is not one of"),
        (["--row", -1], "--row: -1 is not in the range"),
        (["--limit", 0], "--limit: 0 is not in the range"),
    ],
)
def test_nothing_to_show(words: list[object], message: str, refined: Path) -> None:
    done = cli("show", refined, *words)
    assert done.code == 2
    assert message in done.error
