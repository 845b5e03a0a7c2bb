"""Where a decided passage stands in each variant, and how short rows are treated. Pure.

`PLACES` is the closed table of the evidence contract: every (action, reason) pair and its place in combined, relabel and filter.
"""

from __future__ import annotations

from collections.abc import Sequence

from arhn_hf.records import VARIANTS, Decision
from arhn_hf.rules import Rules

_STAY, _OUT, _UP = "negative", "removed", "positive"
_LABELLED = ("as_labelled",) * 3

# (action, reason) → place in (combined, relabel, filter); `as_labelled` is the list the passage came from.
PLACES: dict[tuple[str, str], tuple[str | None, str | None, str | None]] = {
    ("skipped", "invalid_row"): _LABELLED,
    ("skipped", "criterion_skip"): _LABELLED,
    ("skipped", "subset_untouched"): _LABELLED,
    ("skipped", "row_left"): _LABELLED,
    ("reference", "best_ranked"): (_UP, _UP, _UP),
    ("reference", "first"): (_UP, _UP, _UP),
    ("positive", "original"): (_UP, _UP, _UP),
    ("duplicate", "equals_positive"): (_OUT, _OUT, _OUT),
    ("duplicate", "equals_positive_elsewhere"): (_OUT, _OUT, _OUT),
    ("duplicate", "near_positive"): (_OUT, _OUT, _OUT),
    ("duplicate", "near_new_positive"): (_OUT, _OUT, _OUT),
    ("skipped", "max_negatives"): (_OUT, _OUT, _OUT),
    ("undecided", "not_english"): (_STAY, _STAY, _STAY),
    ("undecided", "answer_failed"): (_STAY, _STAY, _STAY),
    ("undecided", "not_wholly_seen"): (_STAY, _STAY, _STAY),
    ("undecided", "ranking_failed"): (_STAY, _STAY, _OUT),
    ("undecided", "positives_failed"): (_STAY, _STAY, _OUT),
    ("relabel", "above_reference"): (_UP, _UP, _OUT),
    ("filter", "over_cap"): (_OUT, _OUT, _OUT),
    ("filter", "ambiguous_row"): (_OUT, _OUT, _OUT),
    ("filter", "below_reference"): (_OUT, _STAY, _OUT),
    ("filter", "orders_disagree"): (_OUT, _STAY, _OUT),
    ("filter", "filter_only"): (_OUT, _STAY, _OUT),
    ("filter", "relabel_off"): (_OUT, _STAY, _OUT),
    ("filter", "no_answer_in_positives"): (_OUT, _STAY, _OUT),
    ("filter", "beyond_train_length"): (_OUT, _STAY, _OUT),
    ("filter", "not_ranked"): (None, None, _OUT),
    ("keep", "no_answer"): (_STAY, _STAY, _STAY),
}
_LITERAL_SCOPE = frozenset({"above_reference", "over_cap", "ambiguous_row"})


def place(decision: Decision, label: str, variant: str, rules: Rules) -> str | None:
    """`positive`, `negative`, `removed`, or `None` where this variant was not decided.

    Raises `KeyError` for a pair outside the closed table.
    """
    where = PLACES[decision.action, decision.reason][VARIANTS.index(variant)]
    if where == "as_labelled":
        return label
    if decision.action == "undecided" and rules.undecided == "remove":
        return "removed"
    if variant == "filter" and rules.filter_scope == "below" and decision.reason in _LITERAL_SCOPE:
        return "negative"
    return where


def missing_negatives(decisions: Sequence[Decision], places: Sequence[str | None], rules: Rules) -> int:
    """How many negatives a row lacks to `--min-negatives`; 0 for invalid rows, which pass through as they are."""
    if decisions and decisions[0].reason == "invalid_row":
        return 0
    return max(0, rules.min_negatives - sum(where == "negative" for where in places))
