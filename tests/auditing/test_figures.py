"""The figures of an audit on ten candidates, each worked out by hand; and on fewer, what cannot be said."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from arhn_hf.auditing.candidates import Audited, Candidate
from arhn_hf.auditing.figures import Table, by_grade, difference, figures, plain, scores_of
from arhn_hf.records import Cell, Document, UsageError

# query, subset, grade, score, action, grade of the positive
TEN = [
    (0, "a", 2, 0.9, "relabel", 3),
    (0, "a", 2, 0.7, "filter", 3),
    (0, "a", 0, 0.2, "keep", 3),
    (0, "a", 1, 0.1, "keep", 3),
    (1, "a", 0, 0.8, "relabel", None),
    (1, "a", 2, 0.3, "keep", None),
    (1, "a", 1, 0.6, "filter", None),
    (1, "a", 0, 0.05, "keep", None),
    (2, "b", 2, 0.65, "filter", None),
    (2, "b", 0, 0.15, "keep", None),
]


def candidates(*rows: Any) -> list[Candidate]:
    return [
        Candidate(
            query, subset, Cell(query, "negative", i), Document(f"d{i}", None, f"text {i}"), grade, score, action, best
        )
        for i, (query, subset, grade, score, action, best) in enumerate(rows)
    ]


def report(*rows: Any, **more: Any) -> dict[str, Any]:
    return figures(Audited(candidates(*rows), **more), samples=100)


def values(found: dict[str, Any]) -> dict[str, Any]:
    """Figures without their intervals."""
    return {name: one["value"] if isinstance(one, dict) else one for name, one in found.items()}


@pytest.fixture(scope="module")
def ten() -> dict[str, Any]:
    return report(*TEN, left_out=Counter({"undecided: answer_failed": 2, "duplicate": 1}), unlabelled=4)


def test_the_counts(ten: dict[str, Any]) -> None:
    assert (ten["queries"], ten["candidates"], ten["relevant"], ten["clean"], ten["ambiguous"]) == (3, 10, 4, 4, 2)
    assert ten["left_out"] == {"duplicate": 1, "undecided: answer_failed": 2}
    assert (ten["unlabelled"], ten["scored_by"]) == (4, "score")


def test_the_ranking_with_and_without_the_ambiguous(ten: dict[str, Any]) -> None:
    assert values(ten["ranking"]) == {
        "auroc": pytest.approx(20 / 24, abs=1e-6),  # of 4 × 6 pairs
        "auroc_without_ambiguous": pytest.approx(13 / 16),
        "average_precision": pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 6) / 4, abs=1e-6),
        "clean_removed_at_recall_0.5": pytest.approx(1 / 4),  # at .7, with .8 above it
    }


def test_decisions_where_ambiguous_ones_count_against_precision(ten: dict[str, Any]) -> None:
    assert values(ten["decisions"]["leaves"]) == {
        "flagged": 5,
        "precision": pytest.approx(3 / 5),
        "recall": pytest.approx(3 / 4),
        "clean_touched": pytest.approx(1 / 4),
    }
    assert values(ten["decisions"]["filter"]) == {
        "flagged": 3, "precision": pytest.approx(2 / 3, abs=1e-6), "recall": 0.5, "clean_touched": 0.0
    }  # fmt: skip


def test_a_relabel_is_also_held_against_the_grade_of_the_positive(ten: dict[str, Any]) -> None:
    assert values(ten["decisions"]["relabel"]) == {
        "flagged": 2, "precision": 0.5, "recall": 0.25, "clean_touched": 0.25,
        "precision_as_good_as_the_positive": 0.0,  # 2 beside a positive of 3, 0 beside one without a grade
    }  # fmt: skip
    as_good = [(*row[:5], 2) for row in TEN]
    assert report(*as_good)["decisions"]["relabel"]["precision_as_good_as_the_positive"]["value"] == 0.5
    worse = [(*row[:5], 0) for row in TEN]  # a positive that people call not relevant: everything is as good
    assert report(*worse)["decisions"]["relabel"]["precision_as_good_as_the_positive"]["value"] == 1.0


def test_kappa_and_what_becomes_of_the_ambiguous(ten: dict[str, Any]) -> None:
    assert ten["kappa"]["value"] == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert ten["ambiguous_leaving"] == 0.5
    assert report(*(row for row in TEN if row[2] != 1))["ambiguous_leaving"] is None


def test_by_grade(ten: dict[str, Any]) -> None:
    assert ten["grades"] == [
        {"grade": 0.0, "negatives": 4, "relabel": 1, "filter": 0, "keep": 3},
        {"grade": 1.0, "negatives": 2, "relabel": 0, "filter": 1, "keep": 1},
        {"grade": 2.0, "negatives": 4, "relabel": 1, "filter": 2, "keep": 1},
    ]
    assert [
        one["grade"] for one in by_grade(candidates(*((0, None, grade, 1.0, "keep", None) for grade in (3, 0.5))))
    ] == [0.5, 3]


def test_calibration(ten: dict[str, Any]) -> None:
    assert [one["count"] for one in ten["reliability"]] == [1] * 10
    assert [one["share_true"] for one in ten["reliability"]] == [0, 0, 0, 0, 1, 0, 1, 1, 0, 1]
    assert ten["expected_calibration_error"] == pytest.approx(0.335)


@pytest.mark.parametrize("score", [-0.5, 1.5])
def test_scores_that_are_no_probabilities_have_no_calibration(score: float) -> None:
    found = report(*TEN, (2, "b", 0, score, "keep", None))
    assert (found["reliability"], found["expected_calibration_error"]) == (None, None)


def test_errors_among_the_surest_decisions(ten: dict[str, Any]) -> None:
    """Sure is far from .45, half way between .6, the lowest that leaves, and .3. Wrong are .8, .6 and .3."""
    risk = ten["risk_coverage"]["risk_at_coverage"]
    assert list(risk) == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1"]
    assert (risk["0.1"], risk["0.2"], risk["0.4"], risk["0.5"]) == (0.0, 0.0, 0.25, 0.2)
    assert (risk["0.8"], risk["1"]) == (0.125, 0.3)
    assert 0 < ten["risk_coverage"]["area"] < 0.3


@pytest.mark.parametrize("action", ["keep", "filter"])
def test_a_judge_that_decides_everything_alike_has_its_figures_all_the_same(action: str) -> None:
    found = report(*((*row[:4], action, row[5]) for row in TEN))
    leaves = values(found["decisions"]["leaves"])
    assert leaves["flagged"] == (0 if action == "keep" else 10)
    assert leaves["precision"] == (None if action == "keep" else 0.4)
    assert found["kappa"]["value"] == 0
    assert found["risk_coverage"]["risk_at_coverage"]["1"] == (0.4 if action == "keep" else 0.6)


def test_subsets_each_on_their_own(ten: dict[str, Any]) -> None:
    assert list(ten["subsets"]) == ["a", "b"]
    a, b = ten["subsets"]["a"], ten["subsets"]["b"]
    assert (a["candidates"], a["relevant"], b["candidates"], b["relevant"]) == (8, 3, 2, 1)
    assert a["ranking"]["auroc"]["value"] == pytest.approx(12 / 15)
    assert values(a["decisions"]["leaves"]) == {
        "flagged": 4, "precision": 0.5, "recall": pytest.approx(2 / 3, abs=1e-6),
        "clean_touched": pytest.approx(1 / 3, abs=1e-6),
    }  # fmt: skip
    assert b["ranking"]["auroc"] == {"value": 1.0, "low": None, "high": None}  # one query has no interval


def test_a_subset_of_one_class_says_why_it_has_no_figures() -> None:
    found = report(*TEN, (3, "c", 0, 0.1, "keep", None), (4, None, 2, 0.1, "keep", None))
    assert list(found["subsets"]) == ["(none)", "a", "b", "c"]
    assert found["subsets"]["c"] == {"candidates": 1, "why_not": "no relevant passage among the 1 labelled negatives"}
    assert found["subsets"]["(none)"]["why_not"] == "only relevant passages among the 1 labelled negatives"


def test_a_single_subset_is_not_reported_apart() -> None:
    assert "subsets" not in report(*((row[0], None, *row[2:]) for row in TEN))
    assert "subsets" not in report(*((row[0], "a", *row[2:]) for row in TEN))


def test_a_judge_without_scores_is_ranked_by_its_decisions() -> None:
    found = report(*((*row[:3], None, *row[4:]) for row in TEN))
    assert found["scored_by"] == "decision"
    assert found["ranking"]["auroc"]["value"] == pytest.approx(16.5 / 24)  # ties count half
    assert found["ranking"]["auroc_without_ambiguous"]["value"] == pytest.approx(11 / 16)
    assert found["reliability"] is None  # keep, filter, relabel are no probabilities


def test_decisions_of_keep_and_filter_alone_are_no_probabilities_either() -> None:
    """Such as those of a run with --filter-only: 0 and 1 are places in an order, not chances."""
    found = report(*((*row[:3], None, "keep" if row[4] == "keep" else "filter", row[5]) for row in TEN))
    assert (found["reliability"], found["expected_calibration_error"]) == (None, None)


def test_one_missing_score_and_all_are_ranked_by_decision_in_every_subset() -> None:
    rows = [*TEN, (3, "c", 2, None, "relabel", None)]
    assert scores_of(candidates(*rows), scored=False).tolist() == [2, 1, 0, 0, 2, 0, 1, 0, 1, 0, 2]
    found = report(*rows)
    assert found["scored_by"] == "decision"
    alone = report(*((*row[:3], None, *row[4:]) for row in TEN))
    assert found["subsets"]["a"]["ranking"]["auroc"] == alone["subsets"]["a"]["ranking"]["auroc"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no label among the 0 labelled negatives"),
        ([row for row in TEN if row[2] == 2], "only relevant passages among the 4 labelled negatives"),
        ([row for row in TEN if row[2] < 2], "no relevant passage among the 6 labelled negatives"),
    ],
)
def test_labels_of_one_class_are_refused(rows: list[Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        report(*rows)


def test_relevant_and_ambiguous_without_clean_have_what_can_be_said() -> None:
    found = report(*(row for row in TEN if row[2] > 0))
    assert found["clean"] == 0
    assert found["ranking"]["auroc_without_ambiguous"]["value"] is None
    assert found["decisions"]["leaves"]["clean_touched"] == {"value": None, "low": None, "high": None}
    json.dumps(found, allow_nan=False)


def test_an_interval_holds_its_value_and_depends_on_the_seed_alone() -> None:
    rows = [(query, None, *row[2:]) for query in range(12) for row in TEN if (query + int(row[3] * 20)) % 3]
    found = report(*rows)
    assert found == report(*rows)
    auroc = found["ranking"]["auroc"]
    assert auroc["low"] < auroc["value"] < auroc["high"]
    other = figures(Audited(candidates(*rows)), samples=100, seed=7)["ranking"]["auroc"]
    assert other["value"] == auroc["value"]
    assert (other["low"], other["high"]) != (auroc["low"], auroc["high"])


def test_the_difference_of_two_rankings_of_the_same_candidates() -> None:
    table = Table.of(candidates(*TEN))
    found = difference(table.scores, -table.scores, table, samples=100, seed=42)
    assert found["value"] == pytest.approx(20 / 24 - 4 / 24)
    assert difference(table.scores, table.scores, table, samples=100, seed=42) == {"value": 0, "low": 0, "high": 0}


def test_the_report_is_json(ten: dict[str, Any]) -> None:
    assert json.loads(json.dumps(ten, allow_nan=False)) == ten


def test_plain_values_are_those_of_json() -> None:
    odd = {"a": np.float64("nan"), "b": (np.int64(3), np.float32(0.5)), "c": [None, "x", True, 0.1234567]}
    assert plain(odd) == {"a": None, "b": [3, 0.5], "c": [None, "x", True, 0.123457]}
