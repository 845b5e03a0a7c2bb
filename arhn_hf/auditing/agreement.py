"""People beside the judge: how far their verdicts on a sheet agree with its decisions, and with each other's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from arhn_hf.auditing.figures import plain, with_interval
from arhn_hf.auditing.measures import Bools, kappa, precision_recall
from arhn_hf.auditing.sheets import (
    ACTIONS,
    VERDICTS,
    Decided,
    Sheet,
    distinct,
    names_of,
    opened,
    read_sheets,
    refuse_unknown,
    sheet_id,
)
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.stored import StoredRun

PUBLISHED_KAPPAS: tuple[dict[str, Any], ...] = (
    {"name": "ARHN", "of": "people and the best LLM judge", "low": 0.373, "high": 0.373, "source": "arXiv 2604.11092"},
    {"name": "RLHN", "of": "people and LLM judges", "low": 0.32, "high": 0.39, "source": "arXiv 2505.16967"},
)
"""Cohen's kappas to compare with. The samples differ from a sheet's, and kappa depends on how common each answer is."""
_ROUNDING = 1e-12


def agreement(
    directory: str | Path,
    paths: Sequence[str | Path],
    *,
    samples: int = 1000,
    seed: int = 42,
    source: str | None = None,
    corpus: str | None = None,
    monitor: Monitor | None = None,
) -> dict[str, Any]:
    """How far people's verdicts agree with the judge of a finished folder and with each other, as values for JSON.

    - `decided`, `shares`: distinct negatives that the judge decided in the whole run, and the share of each action.
    - `annotators`: the figures of each file, by its name, and its `not_judged` rows.
    - `pairs`: the kappas of every two people on what both judged.
    - `majority`, of several files: the figures of the verdicts that more than half gave, among passages with at least
      two verdicts; the others are counted. These are the easier passages: expect better figures than one person's.
    - `published_kappas`: to compare with.

    The figures are those of `_figures`. `samples` draws of the queries make each 95 % interval. Raises `UsageError` as
    `read_verdicts` and `StoredRun.open` do.
    """
    monitor = monitor or Monitor()
    sheets = read_sheets(paths)

    def work() -> dict[str, Any]:
        with opened(directory, source, corpus, monitor) as (stored, inputs):
            found = distinct(stored, inputs, monitor)
            monitor.begin("measuring")
            return _report(stored, found, sheets, partial(with_interval, samples=samples, seed=seed))

    return run_in_thread(work, monitor)


def _report(
    stored: StoredRun, found: Sequence[Decided], sheets: Sequence[Sheet], interval: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """What `agreement` returns."""
    run_id = stored.lineage["run_id"]
    known = {sheet_id(run_id, one.row, one.position): one for one in found}
    refuse_unknown(sheets, run_id, known)
    counts = Counter(one.action for one in found)
    shares = {action: counts[action] / len(found) for action in ACTIONS}
    figures = partial(_figures, known=known, shares=shares, interval=interval)
    named = list(zip(names_of([sheet.path for sheet in sheets]), sheets, strict=True))
    majority = None
    if len(sheets) > 1:
        verdicts, left_out = _majority([sheet.verdicts for sheet in sheets])
        majority = {**figures(verdicts), **left_out}
    report: dict[str, Any] = plain({
        "run_id": run_id, "judges": stored.lineage["judges"], "decided": len(found), "shares": shares,
        "annotators": {name: {**figures(sheet.verdicts), "not_judged": sheet.empty} for name, sheet in named},
        "pairs": [
            {"first": first, "second": second, **_pair(a.verdicts, b.verdicts, known, interval)}
            for (first, a), (second, b) in combinations(named, 2)
        ],
        "majority": majority, "published_kappas": list(PUBLISHED_KAPPAS),
    })  # fmt: skip
    return report


def _figures(
    verdicts: Mapping[str, str], known: Mapping[str, Decided], shares: Mapping[str, float],
    interval: Callable[..., dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """One set of verdicts beside the judge's decisions. Flat: counts, and figures as `{value, low, high}`.

    `judged` passages of `queries` queries; `relabel_yes`, … count the passages of each action and verdict. Every figure
    is given twice: `…_yes_or_partly` takes a partly relevant passage as relevant, `…_yes` does not. On the sheet:

    - `relabel_precision`, `filter_precision`: share of relevant passages among relabeled, among filtered ones (`filter`
      is for passages that answer in part too, so read it with `partly`);
    - `missed`: share of relevant passages among kept ones;
    - `kappa`: Cohen's, of relevant with "leaves the negatives", which is relabel or filter.

    A sheet holds more relabeled passages than the run does. For the whole run each action's rate on the sheet is
    weighted with the action's share of the run (stratified estimation: Cochran, Sampling Techniques, 1977, chapter 5).
    With share w and rate r:

    - `estimated_relevant`: w r, summed over the three actions;
    - `estimated_precision` of leaving: w r of relabel and filter ÷ w of relabel and filter;
    - `estimated_recall` of leaving: w r of relabel and filter ÷ `estimated_relevant`;
    - `estimated_kappa`: Cohen's, from these shares.

    They assume that what a person left empty is like what they judged. NaN where an action of the run has no verdict.
    """
    ids = sorted(verdicts)
    actions = np.array([known[name].action for name in ids], dtype=np.str_)
    given = np.array([verdicts[name] for name in ids], dtype=np.str_)
    queries = np.array([known[name].query for name in ids], dtype=np.int64)
    found: dict[str, Any] = {"judged": len(ids), "queries": len(set(queries.tolist()))}
    for action in ACTIONS:
        for verdict in VERDICTS:
            found[f"{action}_{verdict}"] = int(((actions == action) & (given == verdict)).sum())
    for name, relevant in _relevant(given):
        for figure, action in (("relabel_precision", "relabel"), ("filter_precision", "filter"), ("missed", "keep")):
            found[f"{figure}_{name}"] = interval(_rate, queries, (actions == action, relevant))
        found[f"kappa_{name}"] = interval(kappa, queries, (actions != "keep", relevant))
        for figure in ("relevant", "precision", "recall", "kappa"):
            statistic = partial(_estimate, figure, shares)
            found[f"estimated_{figure}_{name}"] = interval(statistic, queries, (actions, relevant))
    return found


def _pair(
    first: Mapping[str, str], second: Mapping[str, str], known: Mapping[str, Decided],
    interval: Callable[..., dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Kappas of two people on the passages that `both` judged: of all three verdicts, and of relevant or not."""
    ids = sorted(first.keys() & second.keys())
    queries = np.array([known[name].query for name in ids], dtype=np.int64)
    a, b = (np.array([one[name] for name in ids], dtype=np.str_) for one in (first, second))
    found: dict[str, Any] = {"both": len(ids), "kappa": interval(kappa, queries, (a, b))}
    for (name, of_a), (_, of_b) in zip(_relevant(a), _relevant(b), strict=True):
        found[f"kappa_{name}"] = interval(kappa, queries, (of_a, of_b))
    return found


def _majority(verdicts: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], dict[str, int]]:
    """What more than half of those who judged a passage said, if two or more did; and counts of the other passages."""
    by_id: dict[str, Counter[str]] = {}
    for one in verdicts:
        for name, verdict in one.items():
            by_id.setdefault(name, Counter())[verdict] += 1
    found, left_out = {}, {"judged_by_one": 0, "no_majority": 0}
    for name, counts in by_id.items():
        verdict, most = counts.most_common(1)[0]
        if counts.total() == 1:
            left_out["judged_by_one"] += 1
        elif 2 * most > counts.total():
            found[name] = verdict
        else:
            left_out["no_majority"] += 1
    return found, left_out


def _relevant(given: Any) -> tuple[tuple[str, Bools], ...]:
    """The two readings of verdicts: whether partly is relevant."""
    return ("yes", given == "yes"), ("yes_or_partly", given != "no")


def _rate(chosen: Bools, relevant: Bools) -> float:
    """Share of relevant ones among the chosen; NaN without any."""
    return precision_recall(chosen, relevant)[0]


def _estimate(figure: str, shares: Mapping[str, float], actions: Any, relevant: Bools) -> float:
    """One figure of the whole run, as `_figures` says; an action that the run does not have counts nothing."""
    weighted = {
        action: share * _rate(actions == action, relevant) if share else 0.0 for action, share in shares.items()
    }
    left, of_left = 1 - shares["keep"], weighted["relabel"] + weighted["filter"]
    every = of_left + weighted["keep"]
    if figure == "precision":
        return of_left / left if left else math.nan
    if figure == "recall":
        return of_left / every if every else math.nan
    if figure == "kappa":
        same = of_left + shares["keep"] - weighted["keep"]
        chance = left * every + (1 - left) * (1 - every)
        return (same - chance) / (1 - chance) if chance < 1 - _ROUNDING else math.nan
    return every
