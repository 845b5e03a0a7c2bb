"""The few figures that describe a judge of false negatives.

Why it exists: small, exact and shared by fitting and evaluation. F1 of a flagging rule is not among them: where more
than half of the negatives are false, flagging everything looks good.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Chance that a true one scores above an untrue one; ties count half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    positives = int(truth.sum())
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    """Mean precision at each true one, best score first."""
    ordered = truth[np.argsort(-score, kind="stable")]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1))[ordered].mean())


def removed_at_recall(truth: np.ndarray, clean: np.ndarray, score: np.ndarray, recall: float = 0.5) -> float:
    """Share of `clean` at or above the highest threshold that still catches `recall` of the true ones."""
    threshold = np.sort(score[truth])[::-1][int(np.ceil(recall * truth.sum())) - 1]
    return float((score[clean] >= threshold).mean())


def bootstrap(truth: np.ndarray, score: np.ndarray, group: np.ndarray, rounds: int = 500) -> tuple[float, float]:
    """95 % interval of AUROC, drawing whole queries."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(group == g) for g in np.unique(group)]
    values = []
    for _ in range(rounds):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        if 0 < truth[rows].sum() < len(rows):
            values.append(auroc(truth[rows], score[rows]))
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def answer_f1(found: str, answers: Sequence[str]) -> float:
    """SQuAD's token F1 against the best gold answer."""
    return max(_f1(_plain(found), _plain(answer)) for answer in answers)


def _plain(text: str) -> list[str]:
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def _f1(ours: list[str], theirs: list[str]) -> float:
    same = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * same / (len(ours) + len(theirs)) if same else float(ours == theirs)
