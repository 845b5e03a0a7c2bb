"""The audit's figures, each against its definition written out here, and the promises its docstring makes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.auditing.measures import (
    Bin,
    area_under_risk_coverage,
    auroc,
    average_precision,
    clean_removed_at_recall,
    clean_touched,
    expected_calibration_error,
    kappa,
    precision_recall,
    reliability,
    risk_coverage,
    threshold_for,
)
from arhn_hf.auditing.resampling import Interval, bootstrap, paired_difference

TRUE, CLEAN, NEITHER = "true", "clean", "neither"
KINDS = st.sampled_from([TRUE, CLEAN, NEITHER])
# Few whole scores, so that ties are common and monotone transforms of them stay exact.
CANDIDATES = st.lists(st.tuples(st.integers(-6, 6), KINDS, st.integers(0, 4)), max_size=25)
SHARES = st.one_of(st.sampled_from([0.07, 0.1, 0.3, 0.5, 0.55, 0.7, 0.9, 1.0]), st.floats(0.001, 1))
MONOTONE: list[Callable[[Any], Any]] = [lambda s: 3 * s - 7, lambda s: s**3, np.exp, np.arctan, lambda s: s.astype(int)]
checked = settings(max_examples=150, deadline=None, database=None)


def arrays(items: list[tuple[int, str, int]]) -> tuple[Any, Any, Any, Any]:
    """Scores, truth, clean and queries."""
    scores = np.array([float(score) for score, _, _ in items])
    truth = np.array([kind == TRUE for _, kind, _ in items], dtype=bool)
    clean = np.array([kind == CLEAN for _, kind, _ in items], dtype=bool)
    return scores, truth, clean, np.array([query for _, _, query in items], dtype=np.int64)


def made(seed: int, n: int = 600, queries: int = 80, gain: float = 1.0) -> tuple[Any, Any, Any, Any]:
    """Candidates of a judge that knows something."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    clean = ~truth & (rng.random(n) < 0.6)
    return rng.normal(size=n) + gain * truth, truth, clean, rng.integers(0, queries, n)


def by_pairs(scores: Any, truth: Any) -> float:
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[truth].tolist() for b in scores[~truth].tolist()
    ]  # fmt: skip
    return sum(wins) / len(wins) if wins else math.nan


def by_steps(scores: Any, truth: Any) -> float:
    total, area, recall_before = int(truth.sum()), 0.0, 0.0
    if not total:
        return math.nan
    for threshold in sorted(set(scores.tolist()), reverse=True):
        flagged = scores >= threshold
        recall = (flagged & truth).sum() / total
        area += (recall - recall_before) * (flagged & truth).sum() / flagged.sum()
        recall_before = recall
    return float(area)


# AUROC and average precision


@checked
@given(CANDIDATES)
def test_auroc_is_the_share_of_pairs_in_order(items: list[Any]) -> None:
    scores, truth, _, _ = arrays(items)
    assert auroc(scores, truth) == pytest.approx(by_pairs(scores, truth), nan_ok=True)


@checked
@given(CANDIDATES)
def test_average_precision_is_the_sum_of_its_steps(items: list[Any]) -> None:
    scores, truth, _, _ = arrays(items)
    assert average_precision(scores, truth) == pytest.approx(by_steps(scores, truth), nan_ok=True)


def test_average_precision_without_ties_is_the_mean_precision_at_each_true_one() -> None:
    scores, truth = np.array([9.0, 8, 7, 6, 5]), np.array([True, False, True, False, True])
    assert average_precision(scores, truth) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_all_scores_equal() -> None:
    scores, truth = np.zeros(5), np.array([True, True, False, False, False])
    assert auroc(scores, truth) == 0.5
    assert average_precision(scores, truth) == pytest.approx(0.4)


def test_perfect_and_reversed() -> None:
    scores, truth = np.array([-np.inf, 1.0, 2.0, np.inf]), np.array([False, False, True, True])
    assert auroc(scores, truth) == 1
    assert auroc(-scores, truth) == 0
    assert average_precision(scores, truth) == 1


@pytest.mark.parametrize("n", [0, 3])
def test_one_class(n: int) -> None:
    scores, none, every = np.arange(float(n)), np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
    assert math.isnan(auroc(scores, none))
    assert math.isnan(auroc(scores, every))
    assert math.isnan(average_precision(scores, none))
    assert n == 0 or average_precision(scores, every) == 1


@checked
@given(CANDIDATES, st.sampled_from(MONOTONE), st.randoms(use_true_random=False))
def test_only_the_order_of_scores_matters(items: list[Any], transform: Callable[[Any], Any], random: Any) -> None:
    shuffled = random.sample(items, len(items))
    one, other = arrays(items), arrays(shuffled)
    for statistic in (auroc, average_precision):
        np.testing.assert_equal(statistic(transform(other[0]), other[1]), statistic(one[0], one[1]))
    np.testing.assert_equal(
        clean_removed_at_recall(transform(other[0]), *other[1:3]), clean_removed_at_recall(*one[:3])
    )  # fmt: skip


@checked
@given(st.lists(st.tuples(st.integers(-6, 6), KINDS, st.integers(0, 3)), max_size=25))
def test_weights_are_repetition_to_the_last_bit(items: list[Any]) -> None:
    scores, truth, _, times = arrays(items)
    rows = np.repeat(np.arange(len(items)), times)
    for statistic in (auroc, average_precision):
        np.testing.assert_equal(statistic(scores, truth, weights=times), statistic(scores[rows], truth[rows]))


def test_weights_that_are_no_counts() -> None:
    scores, truth, _, _ = made(0, n=30)
    weights = np.random.default_rng(1).random(30)
    for statistic in (auroc, average_precision):
        assert statistic(scores, truth, weights=weights) == pytest.approx(statistic(scores, truth, weights=5 * weights))
    for wrong in (-weights, weights * np.nan, weights[:-1], weights + np.inf):
        with pytest.raises(ValueError, match="weight"):
            auroc(scores, truth, weights=wrong)


# Flags


def test_precision_recall_and_clean_touched() -> None:
    flags = np.array([True, True, True, False, False, False])
    truth = np.array([True, True, False, True, False, False])
    clean = np.array([False, False, True, False, True, True])
    assert precision_recall(flags, truth) == (2 / 3, 2 / 3)
    assert clean_touched(flags, clean) == 1 / 3
    none = np.zeros(6, dtype=bool)
    np.testing.assert_equal(precision_recall(none, truth), (math.nan, 0.0))
    np.testing.assert_equal(precision_recall(flags, none), (0.0, math.nan))
    assert math.isnan(clean_touched(flags, none))


@checked
@given(CANDIDATES, SHARES)
def test_clean_removed_is_what_the_threshold_touches(items: list[Any], recall: float) -> None:
    scores, truth, clean, _ = arrays(items)
    removed = clean_removed_at_recall(scores, truth, clean, recall)
    if not truth.any() or not clean.any():
        assert math.isnan(removed)
        return
    assert removed == clean_touched(scores >= threshold_for(scores, truth, clean, recall=recall), clean)


def test_clean_removed_by_hand() -> None:
    scores = np.array([9.0, 8, 7, 7, 6, 5, 4, 3])
    truth = np.array([True, False, True, False, False, True, True, False])
    clean = np.array([False, True, False, True, False, False, False, True])
    assert clean_removed_at_recall(scores, truth, clean) == 2 / 3  # at 7, with the one it is tied with
    assert clean_removed_at_recall(scores, truth, clean, 0.25) == 0
    assert clean_removed_at_recall(-scores, truth, clean, 1.0) == 1


# Thresholds: the promise holds at the threshold returned, and fails at the next one in its direction.


@checked
@given(CANDIDATES, SHARES)
def test_threshold_for_recall(items: list[Any], recall: float) -> None:
    scores, truth, clean, _ = arrays(items)
    if not truth.any():
        with pytest.raises(ValueError, match="no candidate"):
            threshold_for(scores, truth, clean, recall=recall)
        return
    threshold = threshold_for(scores, truth, clean, recall=recall)
    assert threshold in scores
    assert precision_recall(scores >= threshold, truth)[1] >= recall
    assert precision_recall(scores > threshold, truth)[1] < recall


@checked
@given(CANDIDATES, SHARES)
def test_threshold_for_precision(items: list[Any], precision: float) -> None:
    scores, truth, clean, _ = arrays(items)
    reached = {s: precision_recall(scores >= s, truth)[0] for s in scores.tolist()}
    if max(reached.values(), default=0) < precision:
        with pytest.raises(ValueError, match="cannot be reached"):
            threshold_for(scores, truth, clean, precision=precision)
        return
    threshold = threshold_for(scores, truth, clean, precision=precision)
    assert reached[threshold] >= precision
    assert all(reached[s] < precision for s in reached if s < threshold)


@checked
@given(CANDIDATES, st.one_of(SHARES, st.just(0.0)))
def test_threshold_for_clean(items: list[Any], most: float) -> None:
    scores, truth, clean, _ = arrays(items)
    if not clean.any() or clean_touched(scores >= scores.max(), clean) > most:
        with pytest.raises(ValueError, match=r"max_clean .* (cannot be reached|means nothing)"):
            threshold_for(scores, truth, clean, max_clean=most)
        return
    threshold = threshold_for(scores, truth, clean, max_clean=most)
    assert clean_touched(scores >= threshold, clean) <= most
    lower = scores[scores < threshold]
    assert not len(lower) or clean_touched(scores >= lower.max(), clean) > most


def test_precision_may_dip_above_its_threshold() -> None:
    scores, none = np.array([4.0, 3, 2, 1]), np.zeros(4, dtype=bool)
    truth = np.array([False, True, True, False])
    assert threshold_for(scores, truth, none, precision=0.6) == 2
    with pytest.raises(ValueError, match=r"precision 0.7 cannot be reached: the best is 0.6667, at 2.0"):
        threshold_for(scores, truth, none, precision=0.7)


def test_shares_are_not_off_by_one_through_rounding() -> None:
    assert 0.07 * 100 > 7
    scores, every, none = -np.arange(100.0), np.ones(100, dtype=bool), np.zeros(100, dtype=bool)
    assert threshold_for(scores, every, none, recall=0.07) == -6
    assert threshold_for(scores, none, every, max_clean=0.07) == -6
    assert 0.29 * 100 < 29
    assert threshold_for(scores, every, none, recall=0.29) == -28
    assert threshold_for(scores, none, every, max_clean=0.29) == -28


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({}, "exactly one of recall, precision and max_clean; given: none"),
        ({"recall": 0.5, "max_clean": 0.1}, "given: recall, max_clean"),
        ({"recall": 0.0}, "recall is 0.0; give a number above 0 and at most 1"),
        ({"precision": 1.5}, "precision is 1.5"),
        ({"precision": math.nan}, "precision is nan"),
        ({"max_clean": -0.1}, "max_clean is -0.1; give a number from 0 to 1"),
    ],
)
def test_wrong_targets(targets: dict[str, float], message: str) -> None:
    scores, truth, clean, _ = made(0, n=20)
    with pytest.raises(ValueError, match=message):
        threshold_for(scores, truth, clean, **targets)


def test_thresholds_that_do_not_exist() -> None:
    scores, flat, empty = np.array([2.0, 1.0]), np.zeros(2), np.zeros(0)
    first, none, no = np.array([True, False]), np.zeros(2, dtype=bool), np.zeros(0, dtype=bool)
    with pytest.raises(ValueError, match=r"max_clean 0.1 cannot be reached: the least is 1, at the highest score, 2.0"):
        threshold_for(scores, none, first, max_clean=0.1)
    with pytest.raises(ValueError, match="precision 0.6 cannot be reached: the best is 0.5"):
        threshold_for(flat, first, none, precision=0.6)
    with pytest.raises(ValueError, match="max_clean 0.5 means nothing here: no candidate is clean"):
        threshold_for(scores, first, none, max_clean=0.5)
    with pytest.raises(ValueError, match="there are no candidates"):
        threshold_for(empty, no, no, max_clean=0.5)


# Agreement


def test_kappa_by_hand() -> None:
    # Table [[20, 5], [10, 15]]: agreement 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    a = np.repeat(["yes", "yes", "no", "no"], [20, 5, 10, 15])
    b = np.repeat(["yes", "no", "yes", "no"], [20, 5, 10, 15])
    assert kappa(a, b) == pytest.approx(0.4, abs=1e-15)
    # Three grades, [[2, 1, 0], [1, 3, 1], [0, 0, 2]]: agreement 0.7, chance (3 * 3 + 5 * 4 + 2 * 3) / 100 = 0.35.
    a = np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 2])
    b = np.array([0, 0, 1, 0, 1, 1, 1, 2, 2, 2])
    assert kappa(a, b) == pytest.approx(0.35 / 0.65, abs=1e-15)


def test_kappa_at_its_ends() -> None:
    ones, mixed = np.ones(4, dtype=np.int64), np.array([0, 1, 0, 1])
    assert math.isnan(kappa(ones, ones))
    assert math.isnan(kappa(ones[:0], ones[:0]))
    assert kappa(ones, mixed) == 0
    assert kappa(mixed, mixed) == 1
    assert kappa(mixed, 1 - mixed) == -1
    assert kappa(mixed, np.array(["a", "b", "a", "b"])) == 0
    assert kappa(np.array([None, (0, 1), None], dtype=object), np.array([None, (0, 1), "x"], dtype=object)) == 0.5
    with pytest.raises(ValueError, match="a label is NaN"):
        kappa(np.array([0.0, np.nan]), np.array([0.0, 1.0]))


@checked
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_kappa_needs_only_the_table(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array([p[0] for p in pairs], dtype=int), np.array([p[1] for p in pairs], dtype=int)
    table = np.array([[pairs.count((i, j)) for j in range(4)] for i in range(4)])
    np.testing.assert_equal(kappa(a, b), kappa(b, a))
    if pairs and len(set(a.tolist()) | set(b.tolist())) > 1:
        share = table / len(pairs)
        chance = float(share.sum(axis=1) @ share.sum(axis=0))
        assert kappa(a, b) == pytest.approx((np.trace(share) - chance) / (1 - chance), abs=1e-12)


# Calibration


def test_reliability_by_hand() -> None:
    scores = np.array([0.9, 0.1, 0.2, 0.8, 0.3, 0.7])
    truth = np.array([True, False, True, True, False, False])
    assert reliability(scores, truth, 2) == [
        Bin(0.1, 0.3, 3, pytest.approx(0.2), pytest.approx(1 / 3)),
        Bin(0.7, 0.9, 3, pytest.approx(0.8), pytest.approx(2 / 3)),
    ]
    assert expected_calibration_error(scores, truth, 2) == pytest.approx(2 / 15)
    assert expected_calibration_error(truth.astype(float), truth) == 0
    assert expected_calibration_error((~truth).astype(float), truth) == 1


def test_equal_scores_fall_where_their_middle_stands() -> None:
    truth = np.zeros(4, dtype=bool)
    assert [b.count for b in reliability(np.array([0.1, 0.2, 0.2, 0.3]), truth, 2)] == [3, 1]
    assert [b.count for b in reliability(np.array([0.1, 0.2, 0.2, 0.2]), truth, 2)] == [1, 3]
    assert [b.count for b in reliability(np.full(4, 0.2), truth, 2)] == [4]


@checked
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40), st.integers(1, 12), st.booleans())
def test_bins_hold_everything_once(items: list[tuple[float, bool]], bins: int, coarse: bool) -> None:
    scores = np.array([round(s, 1) if coarse else s for s, _ in items], dtype=float)
    truth = np.array([t for _, t in items], dtype=bool)
    found = reliability(scores, truth, bins)
    assert sum(b.count for b in found) == len(items)
    assert sum(b.count * b.share_true for b in found) == pytest.approx(truth.sum())
    assert sum(b.count * b.mean_score for b in found) == pytest.approx(scores.sum())
    assert all(a.high < b.low for a, b in itertools.pairwise(found))
    assert all(b.count and b.low - 1e-12 <= b.mean_score <= b.high + 1e-12 for b in found)
    if len(set(scores.tolist())) == len(items):
        counts = [b.count for b in found]
        assert len(found) == min(bins, len(items))
        assert not counts or max(counts) - min(counts) <= 1
    error = expected_calibration_error(scores, truth, bins)
    assert 0 <= error <= 1 if items else math.isnan(error)
    assert reliability(scores[::-1], truth[::-1], bins) == found


def test_reliability_refuses() -> None:
    truth = np.array([True, False])
    for wrong in (np.array([0.5, 1.01]), np.array([-0.01, 0.5])):
        with pytest.raises(ValueError, match="outside 0 to 1"):
            reliability(wrong, truth)
    with pytest.raises(ValueError, match="bins is 0"):
        expected_calibration_error(np.array([0.5, 0.5]), truth, 0)


# Risk and coverage


def test_risk_coverage_by_hand() -> None:
    coverage, risk = risk_coverage(np.array([3.0, 1, 2, 2]), np.array([True, False, False, True]))
    assert coverage.tolist() == [0.25, 0.75, 1]
    assert risk.tolist() == [0, 1 / 3, 0.5]
    assert area_under_risk_coverage(np.array([3.0, 1, 2, 2]), np.array([True, False, False, True])) == pytest.approx(
        0.5 / 3 + 0.25 * 0.5
    )
    assert math.isnan(area_under_risk_coverage(np.zeros(0), np.zeros(0, dtype=bool)))


@checked
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=30))
def test_area_is_the_mean_risk_at_each_candidate(items: list[tuple[int, bool]]) -> None:
    confidence, correct = np.array([float(c) for c, _ in items]), np.array([r for _, r in items])
    coverage, risk = risk_coverage(confidence, correct)
    levels = sorted(set(confidence.tolist()), reverse=True)
    assert coverage.tolist() == [float((confidence >= level).mean()) for level in levels]
    assert risk.tolist() == pytest.approx([float((~correct[confidence >= level]).mean()) for level in levels])
    mean = np.mean([(~correct[confidence >= c]).mean() for c in confidence.tolist()])
    assert area_under_risk_coverage(confidence, correct) == pytest.approx(mean)
    assert area_under_risk_coverage(np.zeros(len(items)), correct) == pytest.approx((~correct).mean())


# What every figure refuses


def test_what_is_refused() -> None:
    scores, truth, clean, _ = made(0, n=10)
    with_nan = np.where(np.arange(10) == 3, np.nan, scores)
    for figure in (auroc, average_precision, reliability, risk_coverage, area_under_risk_coverage):
        with pytest.raises(ValueError, match="NaN"):
            figure(with_nan, truth)
        with pytest.raises(ValueError, match="int64, not bool"):
            figure(scores, truth.astype(np.int64))
        with pytest.raises(ValueError, match="one length"):
            figure(scores, truth[1:])
        with pytest.raises(ValueError, match="one-dimensional"):
            figure(scores[:, None], truth[:, None])
    with pytest.raises(ValueError, match="NaN"):
        clean_removed_at_recall(with_nan, truth, clean)
    with pytest.raises(ValueError, match="recall is 1.1"):
        clean_removed_at_recall(scores, truth, clean, 1.1)
    with pytest.raises(ValueError, match="both true and clean"):
        threshold_for(scores, truth, truth, recall=0.5)
    with pytest.raises(ValueError, match="flags is float64, not bool"):
        precision_recall(scores, truth)
    with pytest.raises(ValueError, match="one length"):
        kappa(truth, truth[1:])


# Intervals


def mean(values: Any) -> float:
    return float(values.mean())


def test_deterministic_by_seed() -> None:
    scores, truth, _, queries = made(1)
    first = bootstrap(auroc, queries, (scores, truth), samples=50, seed=7)
    assert bootstrap(auroc, queries, (scores, truth), samples=50, seed=7) == first
    assert bootstrap(auroc, queries, (scores, truth), samples=50, seed=8) != first


@settings(max_examples=25, deadline=None, database=None)
@given(CANDIDATES, st.randoms(use_true_random=False))
def test_row_order_and_the_names_of_queries_change_nothing(items: list[Any], random: Any) -> None:
    scores, truth, clean, queries = arrays(items)
    order = np.array(random.sample(range(len(items)), len(items)), dtype=np.int64)
    for statistic, used in ((auroc, (scores, truth)), (clean_touched, (scores > 0, clean))):
        one = bootstrap(statistic, queries, used, samples=20)
        other = bootstrap(statistic, 10 * queries[order] - 3, [array[order] for array in used], samples=20)
        np.testing.assert_equal((other.low, other.high, other.n), (one.low, one.high, one.n))


@settings(max_examples=25, deadline=None, database=None)
@given(CANDIDATES)
def test_the_fast_way_is_the_general_way(items: list[Any]) -> None:
    scores, truth, _, queries = arrays(items)
    other = np.roll(scores, 1)
    for statistic in (auroc, average_precision):

        def general(*drawn: Any, statistic: Any = statistic) -> float:
            return float(statistic(*drawn))

        one = bootstrap(statistic, queries, (scores, truth), samples=20)
        two = bootstrap(general, queries, (scores, truth), samples=20)
        np.testing.assert_equal((one.low, one.high, one.n), (two.low, two.high, two.n))
        one = paired_difference(statistic, queries, (scores, truth), (other, truth), samples=20)
        two = paired_difference(general, queries, (scores, truth), (other, truth), samples=20)
        np.testing.assert_equal((one.low, one.high, one.n), (two.low, two.high, two.n))


def test_draws_are_whole_queries_with_replacement() -> None:
    queries, values = np.array([5, 5, 9, 5, 7]), np.array([1.0, 2.0, 10.0, 3.0, 20.0])
    seen = []

    def statistic(drawn_queries: Any, drawn_values: Any) -> float:
        seen.append((drawn_queries.tolist(), drawn_values.tolist()))
        return 0.0

    assert bootstrap(statistic, queries, (queries, values), samples=300) == Interval(0, 0, 300)
    of_query = {5: [1.0, 2.0, 3.0], 7: [20.0], 9: [10.0]}
    whole = set()
    for drawn_queries, drawn_values in seen:
        times = {q: drawn_queries.count(q) / len(of_query[q]) for q in of_query}
        assert sum(times.values()) == 3
        assert sorted(drawn_values) == sorted(v for q in of_query for v in of_query[q] * int(times[q]))
        whole.add(tuple(times.values()))
    assert len(whole) == 10  # every way to draw three of three


def test_interval_is_made_of_the_percentiles() -> None:
    queries, values = np.arange(6), np.array([1.0, 4.0, 9.0, 16.0, 25.0, 36.0])
    figures: list[float] = []

    def statistic(drawn: Any) -> float:
        figures.append(mean(drawn))
        return figures[-1]

    interval = bootstrap(statistic, queries, (values,), samples=201, level=0.8)
    assert len(figures) == interval.n == 201
    # 201 figures: the 10 % and 90 % points are the 21st and the 181st.
    assert (interval.low, interval.high) == pytest.approx((sorted(figures)[20], sorted(figures)[180]))


def test_width_is_that_of_the_standard_error_of_queries() -> None:
    values = np.random.default_rng(3).normal(size=400)
    one = bootstrap(mean, np.arange(400), (values,), samples=2000)
    assert one.high - one.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    # Ten candidates a query that are all alike know no more than one.
    ten = bootstrap(mean, np.repeat(np.arange(400), 10), (np.repeat(values, 10),), samples=2000)
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_lies_inside(seed: int) -> None:
    scores, truth, clean, queries = made(seed)
    for statistic, used in (
        (auroc, (scores, truth)),
        (average_precision, (scores, truth)),
        (clean_removed_at_recall, (scores, truth, clean)),
        (kappa, (scores > 0.5, truth)),
    ):
        interval = bootstrap(statistic, queries, used, samples=200)
        assert interval.low < statistic(*used) < interval.high
        assert interval.n == 200
        narrow = bootstrap(statistic, queries, used, samples=200, level=0.5)
        assert interval.low < narrow.low < narrow.high < interval.high


def test_draws_without_a_figure_are_left_out() -> None:
    scores, truth, queries = (
        np.array([1.0, 2.0, 3.0, 4.0]),
        np.array([False, True, False, False]),
        np.array([0, 0, 1, 1]),
    )
    interval = bootstrap(average_precision, queries, (scores, truth), samples=400)
    # A quarter of the draws of two queries never holds the first. Twice the first: 1; once each: 1 / 3.
    assert 260 < interval.n < 340
    assert (interval.low, interval.high) == pytest.approx((1 / 3, 1))


@pytest.mark.parametrize("queries", [np.zeros(0, dtype=int), np.zeros(4, dtype=int)])
def test_fewer_than_two_queries_say_nothing(queries: Any) -> None:
    interval = bootstrap(mean, queries, (np.ones(len(queries)),))
    np.testing.assert_equal((interval.low, interval.high, interval.n), (math.nan, math.nan, 0))


def test_bootstrap_refuses() -> None:
    scores, truth, _, queries = made(0, n=10)
    with pytest.raises(ValueError, match="one length"):
        bootstrap(auroc, queries[1:], (scores, truth))
    with pytest.raises(ValueError, match="float64, not ints"):
        bootstrap(auroc, queries.astype(float), (scores, truth))
    with pytest.raises(ValueError, match="samples is 0"):
        bootstrap(auroc, queries, (scores, truth), samples=0)
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap(auroc, queries, (scores, truth), level=95)
    with pytest.raises(ValueError, match="one length"):
        paired_difference(auroc, queries, (scores, truth), (scores[1:], truth[1:]))


def test_paired_difference_is_of_the_same_draws() -> None:
    scores, truth, _, queries = made(2)
    other = scores + np.random.default_rng(5).normal(size=len(scores))
    one = paired_difference(auroc, queries, (scores, truth), (other, truth), samples=200)

    def difference(a: Any, b: Any, true: Any) -> float:
        return auroc(a, true) - auroc(b, true)

    assert one == bootstrap(difference, queries, (scores, other, truth), samples=200)
    back = paired_difference(auroc, queries, (other, truth), (scores, truth), samples=200)
    assert (back.low, back.high) == pytest.approx((-one.high, -one.low))
    assert paired_difference(auroc, queries, (scores, truth), (scores, truth), samples=50) == Interval(0, 0, 50)


def test_a_better_judge_beats_another() -> None:
    scores, truth, _, queries = made(4)
    noisier = scores + np.random.default_rng(6).normal(size=len(scores))
    paired = paired_difference(auroc, queries, (scores, truth), (noisier, truth), samples=300)
    assert 0 < paired.low < auroc(scores, truth) - auroc(noisier, truth) < paired.high
    alone = [bootstrap(auroc, queries, (s, truth), samples=300) for s in (scores, noisier)]
    assert paired.high - paired.low < sum(interval.high - interval.low for interval in alone)
