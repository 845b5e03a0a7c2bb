"""Pairs per second of the embedded reader: the whole judgement of a passage (reader, encoder, fusion), two threads.

    python benchmarks/reader.py --source ../shared/data/trec-dl-2019/hard_negatives.jsonl.gz
    python benchmarks/reader.py                      (the sample of this repository: shorter passages)

Vectors of the query and of the labelled positives are computed once a row, as in a run; every passage is new. Prints the median of
`--rounds` rounds, each with a fresh model, and the mean length of a passage in word pieces.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from datasets import load_dataset

from arhn_hf.reader.model import ReaderModel
from arhn_hf.tokens import count_tokens

SAMPLE = Path(__file__).parent.parent / "examples" / "hard-negatives" / "train.jsonl"


def _read(model: ReaderModel, pair: tuple[str, str, str, list[tuple[str, str]]]) -> None:
    model.read(*pair)


def main() -> None:
    """Time the reader over the negatives of a Tevatron-schema file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=str(SAMPLE))
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = load_dataset("json", data_files=arguments.source, split="train")
    pairs = [
        (row["query"], p["title"], p["text"], [(q["title"], q["text"]) for q in row["positive_passages"]])
        for row in rows
        for p in row["negative_passages"]
    ][: arguments.pairs]
    rates = []
    for _ in range(arguments.rounds):
        model = ReaderModel()
        started = time.perf_counter()
        with ThreadPoolExecutor(arguments.threads) as pool:
            list(pool.map(partial(_read, model), pairs))
        rates.append(len(pairs) / (time.perf_counter() - started))
    length = statistics.mean(count_tokens(f"{pair[1] or ''} {pair[2]}") for pair in pairs)
    shown = ", ".join(f"{rate:.1f}" for rate in rates)
    print(
        f"{statistics.median(rates):.1f} pairs/s (rounds: {shown}), {len(pairs)} pairs of {length:.0f} word pieces, {arguments.threads} threads"
    )


if __name__ == "__main__":
    main()
