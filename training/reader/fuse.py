"""Fits the two logistic regressions that turn the reader's signals into one score, and writes fusion.json.

Why it exists: neither the reader nor a cosine is good enough alone, and a score must mean the same with and without a
labelled positive to compare with. Fitted on SQuAD windows of parts a-c and on TREC-DL 2021 grades, each with half
of the weight; never on TREC-DL 2019 or parts d-f, which `evaluate.py` reports.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data import FIT
from measures import auroc
from rows import Signals, signals, squad_candidates, trec_pairs

from arhn_hf.reader.model import ReaderModel

NEUTRAL = {
    "margin_width": 8.0,
    "with_positives": {
        "intercept": 0.0,
        "margin": 1.0,
        "similarity_query": 1.0,
        "similarity_positive": 1.0,
        "positive_similarity_query": -1.0,
    },
    "without_positives": {"intercept": 0.0, "margin": 1.0, "similarity_query": 1.0},
}


def weights(rows: Signals, prior: float) -> np.ndarray:
    """Weights that sum to one: answers `prior` of it. Windows next to the positive and grade 1 count little."""
    answers = rows.grade >= 2
    weight = np.where(rows.adjacent, 0.25, np.where(rows.grade == 1, 0.5, 1.0))
    return np.where(answers, prior * weight / weight[answers].sum(), (1 - prior) * weight / weight[~answers].sum())


def logistic(x: np.ndarray, y: np.ndarray, weight: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Coefficients and, last, the intercept; Newton steps on standardised columns, which the ridge sees."""
    mean, scale = x.mean(0), x.std(0)
    z = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    penalty = np.diag([ridge] * x.shape[1] + [0.0])
    beta = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ beta))
        gradient = z.T @ (weight * (p - y)) + penalty @ beta
        beta = beta - np.linalg.solve((z * (weight * p * (1 - p))[:, None]).T @ z + penalty, gradient)
    slopes = beta[:-1] / scale
    return np.append(slopes, beta[-1] - slopes @ mean)


def signed(x: np.ndarray, y: np.ndarray, weight: np.ndarray, signs: Sequence[int]) -> np.ndarray:
    """As `logistic`, without slopes of the wrong sign: a passage nearer to the query must not score lower for it."""
    used = list(range(x.shape[1]))
    while True:
        beta = logistic(x[:, used], y, weight)
        right = beta[:-1] * np.array(signs)[used]
        if right.min() >= 0:
            out = np.zeros(x.shape[1] + 1)
            out[[*used, -1]] = beta
            return out
        del used[int(right.argmin())]


def columns(rows: Signals, width: float, with_positives: bool) -> np.ndarray:
    """The regression's inputs, shape (rows, 4) or (rows, 2); the margin squashed to at most `width` either way."""
    signals_of = [width * np.tanh(rows.margin / width), rows.to_query]
    compared = [rows.to_positive, rows.positive_to_query]
    return np.column_stack([*signals_of, *compared] if with_positives else signals_of)


def fit(sources: list[Signals], width: float, prior: float, prior_alone: float) -> dict:
    """What fusion.json says of the two regressions; every source has the same weight.

    The second one judges passages that have no labelled positive beside them, which nearly always means the labelled
    positives themselves. They answer more often than mined candidates do, so it is calibrated at `prior_alone`; at
    the same prior a positive would stand below negatives as good as itself, which have one signal more.
    """
    names = ("margin", "similarity_query", "similarity_positive", "positive_similarity_query")
    y = np.concatenate([s.grade >= 2 for s in sources]).astype(float)
    out: dict = {"margin_width": width}
    for key, with_positives, share in (("with_positives", True, prior), ("without_positives", False, prior_alone)):
        weight = np.concatenate([weights(s, share) for s in sources]) / len(sources)
        x = np.concatenate([columns(s, width, with_positives) for s in sources])
        beta = signed(x, y, weight, (1, 1, 1, -1)[: x.shape[1]])
        out[key] = {"intercept": round(float(beta[-1]), 6)}
        out[key] |= {name: round(float(value), 6) for name, value in zip(names, beta[:-1], strict=False)}
    return out


def main() -> None:
    """Reads both sources with the weights in a folder, fits, and writes fusion.json there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--squad", type=Path, required=True, help="train-v1.1.jsonl.gz")
    parser.add_argument("--trec2021", type=Path, required=True, help="pairs_partial.jsonl.gz")
    parser.add_argument("--weights", type=Path, required=True, help="what export.py wrote; fusion.json goes there")
    parser.add_argument("--questions", type=int, default=600, help="SQuAD questions of parts a-c")
    parser.add_argument("--width", type=float, default=8.0, help="where the margin is squashed")
    parser.add_argument("--prior", type=float, default=0.3, help="share of answers that the score is calibrated at")
    parser.add_argument("--prior-alone", type=float, default=0.5, help="the same, without a positive to compare with")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, default=None, help="pickle of the signals: written, or read if there is one"
    )
    args = parser.parse_args()
    path = args.weights / "fusion.json"
    path.write_text(json.dumps(NEUTRAL))
    model = ReaderModel(args.weights, cached_vectors=65_536)
    if args.keep and args.keep.exists():
        sources = pickle.loads(args.keep.read_bytes())
    else:
        sources = [
            signals(model, squad_candidates(args.squad, FIT, model, args.questions, args.seed)),
            signals(model, trec_pairs(args.trec2021, 1, args.seed)),
        ]
        if args.keep:
            args.keep.write_bytes(pickle.dumps(sources))
    fusion = fit(sources, args.width, args.prior, args.prior_alone)
    for name, rows in zip(("squad a-c", "trec-dl-2021"), sources, strict=True):
        for key, with_positives in (("with_positives", True), ("without_positives", False)):
            beta = [v for k, v in fusion[key].items() if k != "intercept"]
            score = columns(rows, args.width, with_positives) @ beta + fusion[key]["intercept"]
            far, y = ~rows.adjacent, rows.grade >= 2
            print(
                f"{name} {key}: AUROC {auroc(y[far], score[far]):.3f}, above .5: "
                f"{np.mean(score[far & y] > 0):.2f} of the answers, {np.mean(score[far & ~y] > 0):.2f} of the others"
            )
    training = args.weights / "training.json"
    fusion["facts"] = {
        "border": 0.5,
        "prior": args.prior,
        "prior_alone": args.prior_alone,
        "fitted_on": ["SQuAD 1.1 windows, parts a-c", "TREC-DL 2021 grades (2 and 3 answer)"],
        "candidates": [len(s.grade) for s in sources],
        "reader": json.loads(training.read_text()) if training.exists() else None,
    }
    path.write_text(json.dumps(fusion, indent=1) + "\n")
    print(json.dumps(fusion, indent=1))


if __name__ == "__main__":
    main()
