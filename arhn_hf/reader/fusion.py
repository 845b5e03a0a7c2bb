"""The reader's signals as one calibrated score.

Why it exists: the span margin, the similarity of passage and query, and the similarity of the passage and the labelled
positives are each too weak alone. How near the positives themselves are to the query says how much nearness means for this
query, as in positive-aware mining, where a negative is compared with its positive and not with a fixed number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Vectors = tuple[Floats, Floats]
"""Unit vectors of the query and of the passage, a row a window each, shape (windows, 384); no rows for an empty one."""


@dataclass(frozen=True, slots=True)
class Similarities:
    """Cosines. query: of passage and query, the largest over windows; 0 where one of them is empty. positive: of passage and
    labelled positives, the largest over windows and positives; positive_query: of those positives and the query, the
    largest. The last two are None where no labelled positive has a token."""

    query: float
    positive: float | None = None
    positive_query: float | None = None


def compare(passage: Vectors, positives: Sequence[Vectors]) -> Similarities:
    """The similarities of a passage, its query and the labelled positives of that query."""
    others = [one for one in positives if len(one[1])]
    if not others or not len(passage[1]):
        return Similarities(_to_query(passage))
    close = max(float(np.max(passage[1] @ one[1].T)) for one in others)
    return Similarities(_to_query(passage), close, max(_to_query(one) for one in others))


def _to_query(vectors: Vectors) -> float:
    query, passage = vectors
    return float(np.max(np.sum(query * passage, axis=1))) if len(query) and len(passage) else 0.0


class Fusion:
    """Two logistic regressions on the signals, one for passages without a labelled positive to compare with.

    `training/reader/fuse.py` fits them and writes the file. Raises `FileNotFoundError` if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._fitted = json.loads(path.read_text(encoding="utf-8"))

    def score(self, margin: float, near: Similarities) -> float:
        """The calibrated score in [0, 1] of the span margin, which is squashed, and the similarities."""
        width = self._fitted["margin_width"]
        signals = {"margin": width * math.tanh(margin / width), "similarity_query": near.query}
        fitted = self._fitted["without_positives"]
        if near.positive is not None and near.positive_query is not None:
            signals |= {"similarity_positive": near.positive, "positive_similarity_query": near.positive_query}
            fitted = self._fitted["with_positives"]
        total: float = fitted["intercept"] + sum(fitted[name] * value for name, value in signals.items())
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, total))))
