"""Three LLMs' recorded grades of TREC-DL 2019 as judges, beside the embedded reader and the baselines that need no LLM.

The grades are pointwise (0 to 3 for one passage at a time) and were given to somebody else's prompt, not to ours: this says how well such
models know relevance, not what they would do with our prompts. A grade of 2 or 3 answers; a passage graded above its query's labelled
positive is relabeled.

    python benchmarks/recorded_grades.py ../shared/data/trec-dl-2019
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import arhn_hf
from arhn_hf.auditing.audit import LabelSource, audit
from arhn_hf.auditing.section import span


def responses(pairs: Path, model: str, path: Path) -> None:
    """One model's grades as a file for `--judge replay`."""
    with gzip.open(pairs, "rt", encoding="utf-8") as lines, path.open("w", encoding="utf-8") as out:
        for line in lines:
            item = json.loads(line)
            grade = item["llm"].get(model)
            if grade is not None:
                out.write(json.dumps({"query_id": item["qid"], "docid": item["docid"], "grade": grade}) + "\n")


def models(pairs: Path) -> list[str]:
    """The models whose grades the file holds."""
    with gzip.open(pairs, "rt", encoding="utf-8") as lines:
        return sorted(json.loads(next(lines))["llm"])


def row(name: str, ranking: dict[str, Any], leaves: dict[str, Any] | None, relabel: dict[str, Any] | None) -> str:
    """One line of the table."""
    cells = [span(ranking[key]) for key in ("auroc", "average_precision", "clean_removed_at_recall_0.5")]
    cells += [span(leaves[key]) for key in ("precision", "recall", "clean_touched")] if leaves else ["", "", ""]
    cells.append(f"{relabel['flagged']}, {span(relabel['precision'])}" if relabel else "")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Judge with each, audit each, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with hard_negatives.jsonl.gz and pairs.jsonl.gz")
    folder: Path = parser.parse_args().folder
    source, pairs = folder / "hard_negatives.jsonl.gz", folder / "pairs.jsonl.gz"
    labels = LabelSource(grades="grade")
    print(
        "| ranked by | AUROC | average precision | clean removed at recall .5 | leaves: precision | recall | of the clean | relabeled, precision |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as scratch:
        for model in models(pairs):
            recorded, output = Path(scratch) / f"{model}.jsonl", Path(scratch) / model
            responses(pairs, model, recorded)
            arhn_hf.refine(
                str(source), output=str(output), judge="replay", responses=str(recorded), max_failures=1.0
            )  # an audit counts what is missing
            found = audit(output, labels, with_baselines=False)
            decisions = found["decisions"]
            print(row(f"grades of {model}", found["ranking"], decisions["leaves"], decisions["relabel"]), flush=True)
            if found["left_out"]:
                print(f"<!-- {model}, not measured: {found['left_out']} -->")
        arhn_hf.refine(str(source), output=f"{scratch}/reader")
        found = audit(f"{scratch}/reader", labels)
        decisions = found["decisions"]
        print(row("the embedded reader", found["ranking"], decisions["leaves"], decisions["relabel"]))
        for name, one in found["baselines"].items():
            print(row(name, one["ranking"], one["leaves"], None))


if __name__ == "__main__":
    main()
