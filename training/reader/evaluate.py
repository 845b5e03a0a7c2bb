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
from rows import Signals, signals, squad_candidates, trec_rows

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
    for way, score in ways.items():
        score = score[keep]
        low, high = bootstrap(truth, score, rows.group[keep])
        print(f"{way:28}{auroc(truth, score):6.3f} {low:7.3f}-{high:.3f} {average_precision(truth, score):6.3f}"
              f" {removed_at_recall(truth, clean, score):28.3f}")  # fmt: skip
    for way in ("fused", "fused, no positive"):
        flagged = ways[way][keep] >= 0.5
        print(f"{way} at 0.5: precision {truth[flagged].mean():.3f}, recall {flagged[truth].mean():.3f}, "
              f"clean removed {flagged[clean].mean():.3f}")  # fmt: skip


def scores_without(model: ReaderModel, candidates: list, threads: int = 2) -> np.ndarray:
    """Scores of the fusion that compares with no positive."""
    with ThreadPoolExecutor(threads) as pool:
        return np.array(list(pool.map(lambda c: model.read(c.query, None, c.text, []).score, candidates)))


def main() -> None:
    """Development set, test windows, forced answers, labelled positives, speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--squad", type=Path, required=True, help="train-v1.1.jsonl.gz")
    parser.add_argument("--trec2019", type=Path, required=True, help="hard_negatives.jsonl.gz")
    parser.add_argument("--weights", type=Path, default=None, help="default: the weights in the package")
    parser.add_argument("--questions", type=int, default=500, help="SQuAD questions of parts d-f")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    model = ReaderModel(args.weights)
    print("identity", model.identity)

    trec = trec_rows(args.trec2019)
    rows = signals(model, trec)
    table("TREC-DL 2019 hard negatives", rows, rows.grade >= 0, scores_without(model, trec))
    own = {(c.query, c.positive) for c in trec}
    kept = [model.read(query, None, positive, []).score >= 0.5 for query, positive in sorted(own)]
    print(f"labelled positives at or above 0.5 (nothing to compare with): {np.mean(kept):.3f} of {len(kept)}")

    squad = squad_candidates(args.squad, TEST, model, args.questions, args.seed)
    rows = signals(model, squad)
    without = scores_without(model, squad)
    table("SQuAD d-f windows, all", rows, rows.grade >= 0, without)
    table("SQuAD d-f windows, not adjacent", rows, ~rows.adjacent, without)
    own = {(c.query, c.positive) for c in squad}
    kept = [model.read(query, None, positive, []).score >= 0.5 for query, positive in sorted(own)]
    print(f"labelled positives at or above 0.5 (nothing to compare with): {np.mean(kept):.3f} of {len(kept)}")

    asked = [(p.context, q) for p in load_squad(args.squad, TEST) for q in p.questions]
    sample = random.Random(args.seed).sample(asked, min(1000, len(asked)))
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        read = list(pool.map(lambda s: model.read(s[1].text, None, s[0], []), sample))
    seconds = time.monotonic() - began
    found = [context[r.start : r.end] for (context, _), r in zip(sample, read, strict=True)]
    f1 = [answer_f1(answer, q.answers) for answer, (_, q) in zip(found, sample, strict=True)]
    print(f"\nSQuAD d-f, whole paragraphs, forced answers: F1 {100 * np.mean(f1):.1f}, exact "
          f"{100 * np.mean([v == 1 for v in f1]):.1f} ({len(f1)} questions, {len(f1) / seconds:.0f} pairs/s)")  # fmt: skip


if __name__ == "__main__":
    main()
