"""Prints what the shipped reader is worth, on data it was not fitted on.

Why it exists: the figures in README.md and on dataset cards must be reproducible by one command. TREC-DL 2019 is the
development set (looked at while choosing), SQuAD parts d-f the test.
"""

from __future__ import annotations

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from data import TEST, load_squad
from measures import answer_f1, auroc, average_precision, bootstrap, removed_at_recall
from rows import Candidate, Signals, signals, squad_candidates, trec_rows

from arhn_hf.reader.fusion import Similarities
from arhn_hf.reader.model import ReaderModel


def table(name: str, rows: Signals, keep: np.ndarray, without: np.ndarray) -> None:
    """One line for each way to score; `without` is the score of the fusion that knows no positive."""
    truth, clean = (rows.grade >= 2)[keep], (rows.grade == 0)[keep]
    print(f"\n{name}: {len(truth)} candidates of {len(np.unique(rows.group[keep]))} queries, {truth.sum()} answer")
    print(f"{'':28}{'AUROC':>6} {'95 % interval':>14} {'AP':>6} {'clean removed at recall .5':>28}")
    ways = {
        "fused": rows.score, "fused, no positive": without, "reader's margin": rows.margin,
        "cosine(query, passage)": rows.to_query, "cosine(passage, positive)": rows.to_positive,
    }  # fmt: skip
    for way, scores in ways.items():
        score = scores[keep]
        low, high = bootstrap(truth, score, rows.group[keep])
        print(f"{way:28}{auroc(truth, score):6.3f} {low:7.3f}-{high:.3f} {average_precision(truth, score):6.3f}"
              f" {removed_at_recall(truth, clean, score):28.3f}")  # fmt: skip
    for way in ("fused", "fused, no positive"):
        flagged = ways[way][keep] >= 0.5
        print(f"{way} at 0.5: precision {truth[flagged].mean():.3f}, recall {flagged[truth].mean():.3f}, "
              f"clean removed {flagged[clean].mean():.3f}")  # fmt: skip


def scores_without(model: ReaderModel, rows: Signals) -> np.ndarray:
    """Scores of the fusion that compares with no positive."""
    pairs = zip(rows.margin, rows.to_query, strict=True)
    return np.array([model.fusion.score(margin, Similarities(query)) for margin, query in pairs])


def labelled(model: ReaderModel, candidates: list[Candidate], rows: Signals) -> None:
    """How the labelled positives themselves score, with nothing to compare with, beside their negatives."""
    own = {c.group: model.read(c.query, None, c.positive, []).score for c in candidates}
    beside = np.array([own[c.group] for c in candidates])
    above = [f"grade {g}: {np.mean(beside[rows.grade == g] > rows.score[rows.grade == g]):.2f}" for g in range(4)
             if (rows.grade == g).any()]  # fmt: skip
    print(f"labelled positives: {np.mean([s >= 0.5 for s in own.values()]):.3f} at or above 0.5; "
          f"above a negative of {', '.join(above)}")  # fmt: skip


def agreement(model: ReaderModel, other: ReaderModel, sample: list[tuple[str, str]]) -> None:
    """How often another set of weights (the fp32 ones) finds the same span, on (query, passage) pairs."""
    same, away = 0, 0.0
    for query, text in sample:
        a, b = model.read(query, None, text, []), other.read(query, None, text, [])
        same += (a.start, a.end) == (b.start, b.end)
        away = max(away, abs(a.score - b.score))
    print(
        f"same span as with the other weights: {same / len(sample):.4f} of {len(sample)}; scores differ by {away:.3f}"
    )


def main() -> None:
    """Development set, test windows, forced answers, labelled positives, speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--squad", type=Path, required=True, help="train-v1.1.jsonl.gz")
    parser.add_argument("--trec2019", type=Path, required=True, help="hard_negatives.jsonl.gz")
    parser.add_argument("--weights", type=Path, default=None, help="default: the weights in the package")
    parser.add_argument("--other", type=Path, default=None, help="weights to compare spans with: export.py --fp32")
    parser.add_argument("--questions", type=int, default=500, help="SQuAD questions of parts d-f")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    model = ReaderModel(args.weights, cached_vectors=65_536)
    print("identity", model.identity)

    trec = trec_rows(args.trec2019)
    rows = signals(model, trec)
    table("TREC-DL 2019 hard negatives", rows, rows.grade >= 0, scores_without(model, rows))
    labelled(model, trec, rows)
    if args.other:
        agreement(model, ReaderModel(args.other), [(c.query, c.text) for c in trec])

    squad = squad_candidates(args.squad, TEST, model, args.questions, args.seed)
    rows = signals(model, squad)
    without = scores_without(model, rows)
    table("SQuAD d-f windows, all", rows, rows.grade >= 0, without)
    table("SQuAD d-f windows, not adjacent", rows, ~rows.adjacent, without)
    labelled(model, squad, rows)

    asked = [(p.context, q) for p in load_squad(args.squad, TEST) for q in p.questions]
    sample = random.Random(args.seed).sample(asked, min(1000, len(asked)))
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        read = list(pool.map(lambda s: model.read(s[1].text, None, s[0], []), sample))
    seconds = time.monotonic() - began
    if args.other:
        agreement(model, ReaderModel(args.other), [(q.text, context) for context, q in sample[:300]])
    found = [context[r.start : r.end] for (context, _), r in zip(sample, read, strict=True)]
    f1 = [answer_f1(answer, q.answers) for answer, (_, q) in zip(found, sample, strict=True)]
    exact, speed = np.mean([v == 1 for v in f1]), len(f1) / seconds
    print("\nSQuAD d-f, whole paragraphs, forced answers:")
    print(f"F1 {100 * np.mean(f1):.1f}, all words {100 * exact:.1f} ({len(f1)} questions, {speed:.0f} pairs/s)")


if __name__ == "__main__":
    main()
