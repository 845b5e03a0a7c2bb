"""The figures of an audit: how well a judge's scores and decisions agree with labels, each with its interval.

A false negative is a negative that people grade as relevant. Ambiguous ones (grade 1) are not false negatives and not clean either: they
count against precision, are reported apart, and AUROC is also given without them. Intervals come from drawing queries anew
(`resampling.bootstrap`). Decisions are measured as made: `relabel`, `filter`, and `leaves` for either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from arhn_hf.auditing.candidates import Audited, Candidate
from arhn_hf.auditing.labels import RELEVANT
from arhn_hf.auditing.measures import (
    Bools,
    Floats,
    Ints,
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
)
from arhn_hf.auditing.resampling import bootstrap, paired_difference
from arhn_hf.records import UsageError

_ORDER = {"keep": 0.0, "filter": 1.0, "relabel": 2.0}  # a score for judges that give none


@dataclass(frozen=True)
class Table:
    """Candidates as arrays of one length. `as_good` says that a candidate is graded no lower than its query's labelled positive."""

    scores: Floats
    truth: Bools
    clean: Bools
    queries: Ints
    actions: Any
    as_good: Bools

    @classmethod
    def of(cls, candidates: list[Candidate], scored: bool | None = None) -> Table:
        """`scored`: rank by score (else by decision); by default if all have one. Raises `UsageError` if the labels are all of one
        class."""
        truth = np.array([one.grade >= RELEVANT for one in candidates], dtype=bool)
        if not truth.size or truth.all() or not truth.any():
            kind = "no label" if not truth.size else "only relevant passages" if truth.all() else "no relevant passage"
            raise UsageError(f"{kind} among the {len(candidates)} labelled negatives", hint="An audit needs both kinds")
        good = [one.grade >= (RELEVANT if one.positive_grade is None else one.positive_grade) for one in candidates]
        return cls(
            scores_of(candidates, has_scores(candidates) if scored is None else scored), truth, np.array([one.grade <= 0 for one in candidates], dtype=bool),
            np.array([one.query for one in candidates], dtype=np.int64), np.array([one.action for one in candidates]),
            np.array(good, dtype=bool),
        )  # fmt: skip

    @property
    def sure(self) -> Bools:
        """Which candidates are not ambiguous."""
        return self.truth | self.clean


def has_scores(candidates: list[Candidate]) -> bool:
    """Whether one judge gave every candidate a score: scores of two, as in a cascade, are on two scales."""
    return all(one.score is not None for one in candidates) and len({one.judge for one in candidates}) <= 1


def scores_of(candidates: list[Candidate], scored: bool) -> Floats:
    """The judge's scores, or by decision: keep < filter < relabel."""
    if scored:
        return np.array([one.score for one in candidates], dtype=np.float64)
    return np.array([_ORDER[one.action] for one in candidates], dtype=np.float64)


def figures(audited: Audited, *, samples: int = 1000, seed: int = 42) -> dict[str, Any]:
    """Everything an audit reports of the judge itself, as plain values for JSON. NaN becomes `None`."""
    candidates = audited.candidates
    scored = has_scores(candidates)
    table = Table.of(candidates, scored)
    interval = partial(with_interval, samples=samples, seed=seed)
    names = sorted({one.subset for one in candidates}, key=lambda name: (name is not None, name or ""))
    leaves, ambiguous = table.actions != "keep", ~table.sure
    report: dict[str, Any] = {
        "queries": len({one.query for one in candidates}), "candidates": len(candidates),
        "relevant": int(table.truth.sum()), "clean": int(table.clean.sum()), "ambiguous": int(ambiguous.sum()),
        "left_out": dict(sorted(audited.left_out.items())), "unlabelled": audited.unlabelled,
        "scored_by": "score" if scored else "decision",
        "ranking": ranked(table.scores, table, interval), "decisions": decisions(table, interval),
        "ambiguous_leaving": float(leaves[ambiguous].mean()) if ambiguous.any() else None, "grades": by_grade(candidates), "kappa": _kappa(table, interval),
        **_calibration(table, scored),
        "risk_coverage": _risk(table),
    }  # fmt: skip
    if len(names) > 1:
        report["subsets"] = {name or "(none)": _subset(candidates, name, interval, scored) for name in names}
    return plain(report)  # type: ignore[no-any-return]


def ranked(scores: Floats, table: Table, interval: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """AUROC (also without the ambiguous), average precision, and the share of clean negatives at or above the score that half of the
    relevant ones reach."""
    arrays, sure = (scores, table.truth), table.sure

    def removed(scores: Floats, truth: Bools, clean: Bools) -> float:
        return clean_removed_at_recall(scores, truth, clean, 0.5)

    return {
        "auroc": interval(auroc, table.queries, arrays),
        "auroc_without_ambiguous": interval(auroc, table.queries[sure], (scores[sure], table.truth[sure])),
        "average_precision": interval(average_precision, table.queries, arrays),
        "clean_removed_at_recall_0.5": interval(removed, table.queries, (*arrays, table.clean)),
    }  # fmt: skip


def decisions(table: Table, interval: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Precision, recall and clean share touched of relabel, filter and either; relabel also against "as good as the positive"."""
    flags = {
        "leaves": table.actions != "keep", "relabel": table.actions == "relabel", "filter": table.actions == "filter",
    }  # fmt: skip
    found = {name: flagged(flag, table, interval) for name, flag in flags.items()}
    found["relabel"]["precision_as_good_as_the_positive"] = interval(
        _precision, table.queries, (flags["relabel"], table.as_good)
    )
    return found


def flagged(flags: Bools, table: Table, interval: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """One set of flags against the labels."""
    return {
        "flagged": int(flags.sum()), "precision": interval(_precision, table.queries, (flags, table.truth)),
        "recall": interval(_recall, table.queries, (flags, table.truth)),
        "clean_touched": interval(clean_touched, table.queries, (flags, table.clean)),
    }  # fmt: skip


def difference(scores: Floats, other: Floats, table: Table, *, samples: int, seed: int) -> dict[str, Any]:
    """AUROC of one score minus that of another on the same candidates, with its interval."""
    value = auroc(scores, table.truth) - auroc(other, table.truth)
    found = paired_difference(
        auroc, table.queries, (scores, table.truth), (other, table.truth), samples=samples, seed=seed
    )
    return {"value": value, "low": found.low, "high": found.high}


def by_grade(candidates: list[Candidate]) -> list[dict[str, Any]]:
    """Per grade: how many negatives, and what became of them."""
    rows = []
    for grade in sorted({one.grade for one in candidates}):
        actions = [one.action for one in candidates if one.grade == grade]
        counts = {name: actions.count(name) for name in ("relabel", "filter", "keep")}
        rows.append({"grade": grade, "negatives": len(actions), **counts})
    return rows


def _precision(flags: Bools, truth: Bools) -> float:
    return precision_recall(flags, truth)[0]


def _recall(flags: Bools, truth: Bools) -> float:
    return precision_recall(flags, truth)[1]


def _kappa(table: Table, interval: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return interval(kappa, table.queries, (table.actions != "keep", table.truth))


def _calibration(table: Table, scored: bool) -> dict[str, Any]:
    """How often a score of p is right, for scores that are probabilities."""
    if not scored or table.scores.min() < 0 or table.scores.max() > 1:
        return {"reliability": None, "expected_calibration_error": None}
    bins = [asdict(one) for one in reliability(table.scores, table.truth)]
    return {
        "reliability": bins, "expected_calibration_error": expected_calibration_error(table.scores, table.truth),
    }  # fmt: skip


def _risk(table: Table) -> dict[str, Any]:
    """Errors among the decisions a judge is surest of: confidence is the distance of a score from where decisions change."""
    leaves = table.actions != "keep"
    border = _border(table.scores, leaves)
    confidence, correct = np.abs(table.scores - border), leaves == table.truth
    coverage, risk = risk_coverage(confidence, correct)
    at = {f"{share:g}": float(risk[np.searchsorted(coverage, share)]) for share in np.arange(1, 11) / 10}
    return {"area": area_under_risk_coverage(confidence, correct), "risk_at_coverage": at}


def _border(scores: Floats, leaves: Bools) -> float:
    """Half way between the lowest score that leaves and the highest that stays below it."""
    if not leaves.any() or leaves.all():
        return float(np.median(scores))
    low = float(scores[leaves].min())
    under = scores[~leaves & (scores < low)]
    return (low + float(under.max())) / 2 if under.size else low


def _subset(
    candidates: list[Candidate], name: str | None, interval: Callable[..., dict[str, Any]], scored: bool
) -> dict[str, Any]:
    mine = [one for one in candidates if one.subset == name]
    try:
        table = Table.of(mine, scored)
    except UsageError as error:
        return {"candidates": len(mine), "why_not": error.message}
    return {
        "candidates": len(mine), "relevant": int(table.truth.sum()), "ranking": ranked(table.scores, table, interval),
        "decisions": decisions(table, interval),
    }  # fmt: skip


def with_interval(
    statistic: Callable[..., float], queries: Ints, arrays: tuple[Any, ...], *, samples: int, seed: int
) -> dict[str, Any]:
    """The statistic with its bootstrap interval."""
    found = bootstrap(statistic, queries, arrays, samples=samples, seed=seed)
    return {"value": float(statistic(*arrays)), "low": found.low, "high": found.high}


def plain(value: Any) -> Any:
    """Values that JSON has: NaN as null, numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (np.floating, float)):
        return None if math.isnan(value) else round(float(value), 6)
    if isinstance(value, np.integer):
        return int(value)
    return value
