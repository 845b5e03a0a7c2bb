"""Pairs per second of the embedded reader: the whole judgement of a passage (reader, encoder, fusion), two threads.

    python benchmarks/reader.py --source ../shared/data/trec-dl-2019/hard_negatives.jsonl.gz
    python benchmarks/reader.py --source ../shared/data/trec-dl-2019/hard_negatives.jsonl.gz --longest 360
    python benchmarks/reader.py                      (the sample of this repository: shorter passages)

As in a run the labelled positives are judged, too, and every pair is read once: for itself, and a positive for all that is compared with it.
Prints the median of `--rounds` rounds, each with a fresh model, and the mean length of what the network sees of a pair: query, passage and three
tokens between and around them. `--longest N`: the longest negatives only, and the positives of their rows.
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


Pair = tuple[str, str, str, list[tuple[str, str]]]


def _length(pair: Pair) -> int:
    return count_tokens(f"{pair[0]} {pair[1] or ''} {pair[2]}") + 3


def _read(model: ReaderModel, pair: Pair) -> None:
    model.read(*pair)


def main() -> None:
    """Time the reader over the negatives of a Tevatron-schema file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=str(SAMPLE))
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--longest", type=int, help="only so many negatives, the longest")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = load_dataset("json", data_files=arguments.source, split="train")
    pairs = [
        (row["query"], p["title"], p["text"], [(q["title"], q["text"]) for q in row["positive_passages"]])
        for row in rows
        for p in row["negative_passages"]
    ][: arguments.pairs]
    if arguments.longest:
        pairs = sorted(pairs, key=_length)[-arguments.longest :]
    positives = {(query, title, text): None for query, _, _, beside in pairs for title, text in beside}
    pairs = [*((query, title, text, []) for query, title, text in positives), *pairs]
    rates = []
    for _ in range(arguments.rounds):
        model = ReaderModel()
        started = time.perf_counter()
        with ThreadPoolExecutor(arguments.threads) as pool:
            list(pool.map(partial(_read, model), pairs))
        rates.append(len(pairs) / (time.perf_counter() - started))
    length = statistics.mean(map(_length, pairs))
    shown = ", ".join(f"{rate:.1f}" for rate in rates)
    print(
        f"{statistics.median(rates):.1f} pairs/s (rounds: {shown}), {len(pairs)} pairs of {length:.0f} tokens, {arguments.threads} threads"
    )


if __name__ == "__main__":
    main()
