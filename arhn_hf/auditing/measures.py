"""The figures that describe a judge of false negatives beside human labels. Pure.

Why it exists: what an audit claims rests on these few definitions, so they are in one place, say what they do with ties
and with what is undefined, and are tested against their definitions. F1 is not among them: where more than half of the
negatives are false, flagging everything looks good.

Throughout, arrays are one-dimensional with one entry a candidate, all of one length n: `scores` numbers, higher = more
surely a false negative; `truth` bool, a person calls it relevant; `clean` bool, surely not relevant (grade 0), never
also true (a candidate can be neither); `flags` bool, the judge calls it relevant; `queries` int codes of the
candidate's query. A score that is not a number, another dtype or length raises `ValueError`. A figure that is undefined
is NaN. No figure depends on the order of the candidates: equal scores are one step, never split.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Bin:
    """Candidates of neighbouring scores: lowest and highest score, how many, mean score, share of true ones."""

    low: float
    high: float
    count: int
    mean_score: float
    share_true: float


def auroc(scores: Numbers, truth: Bools, *, weights: Numbers | None = None) -> float:
    """Chance that a true candidate scores above an untrue one; ties count half.

    `weights` says how often each candidate counts: finite, 0 or more, all 1 if not given; whole numbers give exactly
    the figure of candidates repeated so often. In [0, 1]; NaN where a class is absent. Source: Hanley and McNeil, 1982
    (Mann-Whitney U, normalised).
    """
    return auroc_by_weights(scores, truth)(_weights(weights, len(scores)))


def average_precision(scores: Numbers, truth: Bools, *, weights: Numbers | None = None) -> float:
    """Precision at each distinct score, best first, weighted by the recall gained there: sum of (R_k - R_(k-1)) P_k.

    Not interpolated. Equal scores are one step, so no order among them is assumed. `weights` as in `auroc`. In (0, 1];
    a judge that knows nothing gets the share of true ones; NaN without a true one. Source: scikit-learn's
    `average_precision_score`.
    """
    return average_precision_by_weights(scores, truth)(_weights(weights, len(scores)))


def precision_recall(flags: Bools, truth: Bools) -> tuple[float, float]:
    """Share of flagged candidates that are true, share of true ones that are flagged; each in [0, 1].

    Precision is NaN if nothing is flagged, recall if nothing is true.
    """
    _check_bools(flags=flags, truth=truth)
    both = int((flags & truth).sum())
    return _share(both, int(flags.sum())), _share(both, int(truth.sum()))


def clean_touched(flags: Bools, clean: Bools) -> float:
    """Share of clean candidates that are flagged, in [0, 1]: what acting on the flags costs. NaN without any."""
    _check_bools(flags=flags, clean=clean)
    return _share(int((flags & clean).sum()), int(clean.sum()))


def clean_removed_at_recall(scores: Numbers, truth: Bools, clean: Bools, recall: float = 0.5) -> float:
    """Share of clean candidates at or above the highest threshold that reaches `recall`: the price of that recall.

    The threshold is that of `threshold_for`. In [0, 1]; NaN without a true or without a clean candidate. Raises
    `ValueError` if `recall` is not above 0 and at most 1.
    """
    _check_target("recall", recall, zero=False)
    cuts = _Cuts.of(scores, truth, clean)
    if not (truth.any() and clean.any()):
        return math.nan
    return float(cuts.touched()[np.argmax(cuts.recall() >= recall)])


def kappa(a: Labels, b: Labels) -> float:
    """Agreement of two labellings beyond chance, where chance is two independent labellings with the same counts.

    `a` and `b` are arrays of one length, of any hashable labels; labels are the same if they are equal. At most 1; 0 is
    chance; negative is worse. NaN if chance agreement is 1 (both give everything one and the same label) or there is no
    candidate. Raises `ValueError` for a label that is NaN. Source: Cohen, 1960, unweighted.
    """
    check_shapes(a=a, b=b)
    left, right = a.tolist(), b.tolist()
    if any(label != label for label in left + right):
        raise ValueError("a label is NaN; leave such candidates out")
    counts_left, counts_right = Counter(left), Counter(right)
    n, same = len(left), sum(x == y for x, y in zip(left, right, strict=True))
    chance = sum(count * counts_right[label] for label, count in counts_left.items())
    return math.nan if chance == n * n else (n * same - chance) / (n * n - chance)


def threshold_for(
    scores: Numbers,
    truth: Bools,
    clean: Bools,
    *,
    recall: float | None = None,
    precision: float | None = None,
    max_clean: float | None = None,
) -> float:
    """The threshold, one of the scores, that meets a target when every candidate at or above it is flagged.

    Give exactly one target:

    - `recall`, above 0, at most 1: the highest threshold whose flagged candidates hold at least this share of the true
      ones. It holds at every lower threshold too.
    - `precision`, above 0, at most 1: the lowest threshold at which at least this share of the flagged candidates is
      true. Below it precision never reaches the target again; *above* it precision may dip under the target, since
      precision need not rise with the threshold. What holds is the precision of all that is flagged at this one.
    - `max_clean`, 0 to 1: the lowest threshold whose flagged candidates hold at most this share of the clean ones. It
      holds at every higher threshold too.

    It holds on these candidates; on others expect less, above all of a precision chosen as the best of many. Raises
    `ValueError` for another number of targets, a target out of range, and a target that no score reaches: a threshold
    above all scores, which flags nothing, is no answer.
    """
    targets = {"recall": recall, "precision": precision, "max_clean": max_clean}
    given = [(name, value) for name, value in targets.items() if value is not None]
    if len(given) != 1:
        names = ", ".join(name for name, _ in given) or "none"
        raise ValueError(f"give exactly one of recall, precision and max_clean; given: {names}")
    [(name, target)] = given
    _check_target(name, target, zero=name == "max_clean")
    cuts = _Cuts.of(scores, truth, clean)
    if not len(scores):
        raise ValueError(f"{name} {target} cannot be reached: there are no candidates")
    if name == "max_clean":
        if not clean.any():
            raise ValueError(f"max_clean {target} means nothing here: no candidate is clean")
        touched = cuts.touched()
        if touched[0] > target:
            least = f"{touched[0]:.4g}, at the highest score, {cuts.thresholds[0]}"
            raise ValueError(f"max_clean {target} cannot be reached: the least is {least}")
        return float(cuts.thresholds[np.flatnonzero(touched <= target)[-1]])
    if not truth.any():
        raise ValueError(f"{name} {target} cannot be reached: no candidate is true")
    if name == "recall":
        return float(cuts.thresholds[np.argmax(cuts.recall() >= target)])
    reached = cuts.precision()
    if reached.max() < target:
        best = int(np.argmax(reached))
        raise ValueError(
            f"precision {target} cannot be reached: the best is {reached[best]:.4g}, at {cuts.thresholds[best]}"
        )
    return float(cuts.thresholds[np.flatnonzero(reached >= target)[-1]])


def reliability(scores: Numbers, truth: Bools, bins: int = 10) -> list[Bin]:
    """Whether scores in [0, 1] can be read as chances: mean score and share of true ones, in bins of about equal count.

    Candidates are cut by rank, lowest scores first. All equal scores fall into the bin where the middle one of them
    would stand, so with many ties there are fewer than `bins` bins, of unequal counts; without ties counts differ by at
    most 1. Empty bins are left out: no candidates, no bins. Raises `ValueError` for a score outside [0, 1] and for less
    than 1 bin. Source: adaptive binning of Nguyen and O'Connor, 2015 (arXiv 1508.05154).
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; give 1 or more")
    values = _scores(scores, truth=truth)
    if ((values < 0) | (values > 1)).any():
        raise ValueError("a score is outside 0 to 1: only chances can be calibrated")
    order = np.argsort(values, kind="stable")
    ordered, true = values[order], truth[order]
    _, group, counts = np.unique(ordered, return_inverse=True, return_counts=True)
    twice_middle = 2 * np.cumsum(counts) - counts - 1
    number = (twice_middle * bins // (2 * len(values)))[group] if len(values) else group
    found = []
    for i in np.unique(number):
        inside = ordered[number == i]
        share = float(true[number == i].mean())
        found.append(Bin(float(inside[0]), float(inside[-1]), len(inside), float(inside.mean()), share))
    return found


def expected_calibration_error(scores: Numbers, truth: Bools, bins: int = 10) -> float:
    """Mean distance of score and share of true ones over the bins of `reliability`, weighted by their counts.

    In [0, 1], 0 is best; NaN without candidates. It depends on `bins`, and few candidates a bin inflate it. Raises as
    `reliability` does. Source: Naeini, Cooper and Hauskrecht, 2015, here with bins of equal count.
    """
    found = reliability(scores, truth, bins)
    return math.fsum(b.count * abs(b.share_true - b.mean_score) for b in found) / len(scores) if found else math.nan


def risk_coverage(confidence: Numbers, correct: Bools) -> tuple[Floats, Floats]:
    """What is gained by leaving unsure candidates undecided: share kept and share of errors among the kept.

    Two arrays, (coverage, risk), one entry for each distinct confidence, surest first: coverage rises to 1, risk is in
    [0, 1]. Both are empty without candidates. Source: El-Yaniv and Wiener, 2010.
    """
    values = _scores(confidence, correct=correct)
    steps = _Steps.of(values)
    kept = np.cumsum(steps.sums(np.ones(len(values))))
    wrong = np.cumsum(steps.sums((~correct).astype(np.float64)))
    return kept / max(len(values), 1), wrong / kept


def area_under_risk_coverage(confidence: Numbers, correct: Bools) -> float:
    """Mean, over candidates, of the risk when exactly those at least as sure are kept: the area under the steps.

    In [0, 1], 0 is best; a confidence that says nothing gets the share of errors. NaN without candidates. Source:
    Geifman, Uziel and El-Yaniv, 2019 (arXiv 1805.08206), with equal confidences as one step.
    """
    coverage, risk = risk_coverage(confidence, correct)
    return float((np.diff(coverage, prepend=0.0) * risk).sum()) if len(coverage) else math.nan


@dataclass(frozen=True, slots=True)
class _Steps:
    """Candidates by score, best first: their `order`, and where in it each distinct score `starts`."""

    order: Ints
    starts: Ints

    @classmethod
    def of(cls, scores: Floats) -> _Steps:
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order]
        new = np.ones(len(scores), dtype=np.bool_)
        new[1:] = ordered[1:] != ordered[:-1]
        return cls(order, np.flatnonzero(new))

    def sums(self, values: Floats) -> Floats:
        """Sum of `values`, given in the candidates' own order, at each distinct score, best first."""
        total: Floats = np.add.reduceat(values[self.order], self.starts)
        return total


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Each distinct score as a threshold, highest first, with the counts at or above it."""

    thresholds: Floats
    flagged: Floats
    true: Floats
    clean: Floats

    @classmethod
    def of(cls, scores: Numbers, truth: Bools, clean: Bools) -> _Cuts:
        values = _scores(scores, truth=truth, clean=clean)
        if (truth & clean).any():
            raise ValueError("a candidate is both true and clean")
        steps = _Steps.of(values)
        masks = (np.ones(len(values)), truth.astype(np.float64), clean.astype(np.float64))
        return cls(values[steps.order[steps.starts]], *(np.cumsum(steps.sums(mask)) for mask in masks))

    # Shares are compared with targets as quotients: 7 / 100 >= 0.07 holds, while 0.07 * 100 is above 7.
    def recall(self) -> Floats:
        return self.true / float(self.true[-1])

    def precision(self) -> Floats:
        return self.true / self.flagged

    def touched(self) -> Floats:
        return self.clean / float(self.clean[-1])


def auroc_by_weights(scores: Numbers, truth: Bools) -> Callable[[Floats], float]:
    """`auroc` as a function of the weights alone, sorted once."""
    steps = _Steps.of(_scores(scores, truth=truth))
    true = truth.astype(np.float64)
    untrue = 1 - true

    def figure(weights: Floats) -> float:
        positive, negative = steps.sums(weights * true), steps.sums(weights * untrue)
        pairs = positive.sum() * negative.sum()
        below = negative.sum() - np.cumsum(negative)
        return float((positive * (below + negative / 2)).sum() / pairs) if pairs else math.nan

    return figure


def average_precision_by_weights(scores: Numbers, truth: Bools) -> Callable[[Floats], float]:
    """`average_precision` as a function of the weights alone, sorted once."""
    steps = _Steps.of(_scores(scores, truth=truth))
    true = truth.astype(np.float64)

    def figure(weights: Floats) -> float:
        positive, all_of_step = steps.sums(weights * true), steps.sums(weights)
        drawn = all_of_step > 0
        positive, all_of_step = positive[drawn], all_of_step[drawn]
        total = positive.sum()
        return float((positive * (np.cumsum(positive) / np.cumsum(all_of_step))).sum() / total) if total else math.nan

    return figure


def _scores(scores: Numbers, **masks: Bools) -> Floats:
    """Scores as float64, with what is wrong refused."""
    check_shapes(scores=scores, **masks)
    _check_bools(**masks)
    values = np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError("a score is not a number (NaN)")
    return values


def _weights(weights: Numbers | None, n: int) -> Floats:
    if weights is None:
        return np.ones(n)
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(f"weights have shape {values.shape}, not ({n},)")
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError("a weight is negative or not finite")
    return values


def _check_bools(**masks: Bools) -> None:
    check_shapes(**masks)
    for name, mask in masks.items():
        if mask.dtype != np.bool_:
            raise ValueError(f"{name} is {mask.dtype}, not bool")


def check_shapes(**arrays: npt.NDArray[Any]) -> None:
    """Raise `ValueError` unless all are one-dimensional and of one length."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
        raise ValueError(f"arrays are not all one-dimensional and of one length: {shapes}")


def _check_target(name: str, value: float, *, zero: bool) -> None:
    if not (0 < value <= 1 or (zero and value == 0)):
        raise ValueError(
            f"{name} is {value}; give a number {'from' if zero else 'above'} 0 {'to' if zero else 'and at most'} 1"
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
