"""What the reader does to negatives that people graded: a Tevatron-schema file whose negatives carry a `grade` (TREC: 0 to 3).

    python benchmarks/graded.py ../shared/data/trec-dl-2019/hard_negatives.jsonl.gz

Grade 2 and 3 answer, 1 is where people disagree, 0 does not answer. Prints precision and recall of "leaves the negatives", the share of
each grade that leaves, and the precision of relabeling.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from datasets import load_dataset

import arhn_hf

LEAVES = ("relabel", "filter")


def main() -> None:
    """Refine the file and print what became of each grade."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    arguments = parser.parse_args()
    rows = load_dataset("json", data_files=arguments.source, split="train")
    grades = {(row["query_id"], p["docid"]): p["grade"] for row in rows for p in row["negative_passages"]}
    with tempfile.TemporaryDirectory() as folder:
        arhn_hf.refine(arguments.source, output=f"{folder}/out")
        evidence = load_dataset(str(Path(folder) / "out"), "evidence", split="train")
    table: Counter[tuple[int, str]] = Counter()
    for item in evidence:
        if item["label"] == "negative" and item["action"] != "duplicate":
            table[grades[item["query_id"], item["docid"]], item["action"]] += 1
    for grade in sorted({grade for grade, _ in table}):
        counts = {action: n for (g, action), n in sorted(table.items()) if g == grade}
        total = sum(counts.values())
        print(f"grade {grade}: {total} negatives, {sum(counts.get(a, 0) for a in LEAVES) / total:.0%} leave ({counts})")
    leaving = {grade: sum(table[grade, action] for action in LEAVES) for grade in range(4)}
    answers = sum(n for (grade, _), n in table.items() if grade >= 2)
    relabeled = sum(table[grade, "relabel"] for grade in range(4))
    print(
        f"leaves: precision {(leaving[2] + leaving[3]) / sum(leaving.values()):.2f}, recall {(leaving[2] + leaving[3]) / answers:.2f}"
    )
    print(
        f"relabel: {relabeled}, of which answers {(table[2, 'relabel'] + table[3, 'relabel']) / max(1, relabeled):.2f}"
    )
    print(f"flag everything: precision {answers / sum(table.values()):.2f}")


if __name__ == "__main__":
    main()
