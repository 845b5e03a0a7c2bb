"""The closed table of the evidence contract, and what options change in it."""

from __future__ import annotations

import pytest

from arhn_hf.records import VARIANTS, Decision
from arhn_hf.rules import Rules
from arhn_hf.variants import PLACES, missing_negatives, place

# action | reasons | combined, relabel, filter of a passage that was a negative
TABLE = """
skipped   | invalid_row criterion_skip subset_untouched row_left                      | negative negative negative
reference | best_ranked first                                                         | positive positive positive
positive  | original                                                                  | positive positive positive
duplicate | equals_positive equals_positive_elsewhere near_positive near_new_positive | removed  removed  removed
skipped   | max_negatives                                                             | removed  removed  removed
undecided | not_english answer_failed not_wholly_seen                                 | negative negative negative
undecided | ranking_failed positives_failed                                           | negative negative removed
relabel   | above_reference                                                           | positive positive removed
filter    | over_cap ambiguous_row                                                    | removed  removed  removed
filter    | below_reference orders_disagree filter_only relabel_off                   | removed  negative removed
filter    | no_answer_in_positives beyond_train_length                                | removed  negative removed
filter    | not_ranked                                                                | null     null     removed
keep      | no_answer                                                                 | negative negative negative
"""
ROWS = [
    (action.strip(), reason, [None if one == "null" else one for one in places.split()])
    for action, reasons, places in (line.split("|") for line in TABLE.strip().splitlines())
    for reason in reasons.split()
]
IDS = [f"{action}/{reason}" for action, reason, _ in ROWS]
AS_LABELLED = ("invalid_row", "criterion_skip", "subset_untouched", "row_left")


def places(action: str, reason: str, rules: Rules, label: str = "negative") -> list[str | None]:
    return [place(Decision(action, reason), label, variant, rules) for variant in VARIANTS]


def test_the_table_is_closed() -> None:
    assert VARIANTS == ("combined", "relabel", "filter")
    assert {(action, reason) for action, reason, _ in ROWS} == set(PLACES)
    with pytest.raises(KeyError):
        place(Decision("keep", "below_reference"), "negative", "combined", Rules())


@pytest.mark.parametrize(("action", "reason", "expected"), ROWS, ids=IDS)
def test_default(action: str, reason: str, expected: list[str | None]) -> None:
    assert places(action, reason, Rules()) == expected


@pytest.mark.parametrize(("action", "reason", "expected"), ROWS, ids=IDS)
def test_undecided_remove(action: str, reason: str, expected: list[str | None]) -> None:
    want = ["removed"] * 3 if action == "undecided" else expected
    assert places(action, reason, Rules(undecided="remove")) == want


@pytest.mark.parametrize(("action", "reason", "expected"), ROWS, ids=IDS)
def test_filter_scope_below(action: str, reason: str, expected: list[str | None]) -> None:
    above = reason in ("above_reference", "over_cap", "ambiguous_row")
    want = [*expected[:2], "negative"] if above else expected
    assert places(action, reason, Rules(filter_scope="below")) == want


@pytest.mark.parametrize("reason", AS_LABELLED)
def test_skipped_rows_stay_as_labelled(reason: str) -> None:
    assert places("skipped", reason, Rules(undecided="remove", filter_scope="below"), "positive") == ["positive"] * 3


def decisions(*pairs: tuple[str, str]) -> list[Decision]:
    return [Decision(action, reason) for action, reason in pairs]


def test_missing_negatives() -> None:
    row = decisions(("reference", "first"), ("keep", "no_answer"), ("filter", "below_reference"))
    where = [place(d, "negative", "combined", Rules()) for d in row]
    assert where == ["positive", "negative", "removed"]
    assert [missing_negatives(row, where, Rules(min_negatives=n)) for n in (0, 1, 2, 5)] == [0, 0, 1, 4]


def test_missing_negatives_of_a_row_that_had_none() -> None:
    assert missing_negatives(decisions(("reference", "first")), ["positive"], Rules()) == 1


@pytest.mark.parametrize("reason", AS_LABELLED)
def test_only_invalid_rows_are_never_short(reason: str) -> None:
    row = decisions(("skipped", reason))
    assert missing_negatives(row, ["positive"], Rules(min_negatives=2)) == (0 if reason == "invalid_row" else 2)


def test_an_undecided_variant_counts_no_negatives() -> None:
    row = decisions(("reference", "first"), ("filter", "not_ranked"))
    assert missing_negatives(row, ["positive", None], Rules()) == 1
