"""How far the embedded reader's decisions on the sample agree with its hand-made labels.

    python benchmarks/sample_agreement.py             refine the sample, print the table
    python benchmarks/sample_agreement.py --write     put it into the README, between its markers

66 queries written for this project: enough to notice a broken judge, far too few and too plain to rank judges.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

from datasets import load_dataset

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- sample:agreement -->", "<!-- /sample:agreement -->"
ACTIONS = ("relabel", "filter", "keep", "duplicate", "undecided", "skipped")
GOLD = ("false_negative", "ambiguous", "clean", "duplicate")


def gold_labels() -> dict[tuple[str, str], str]:
    """(query_id, docid) → gold label of every negative."""
    lines = (ROOT / "examples" / "hard-negatives.gold.jsonl").read_text(encoding="utf-8").splitlines()
    return {(item["query_id"], item["docid"]): item["gold"] for item in map(json.loads, lines)}


def confusion(folder: Path) -> Counter[tuple[str, str]]:
    """(gold label, action) → how many negatives of a refined sample."""
    gold = gold_labels()
    table: Counter[tuple[str, str]] = Counter()
    for item in load_dataset(str(folder), "evidence", split="train"):
        if item["label"] == "negative":
            table[gold[item["query_id"], item["docid"]], item["action"]] += 1
    return table


def rates(table: Counter[tuple[str, str]]) -> dict[str, float]:
    """What the README states: shares of each gold label that ended where it should, or where it should not."""

    def share(gold: str, *actions: str) -> float:
        return sum(table[gold, action] for action in actions) / sum(table[gold, action] for action in ACTIONS)

    return {
        "false_negatives_leaving": share("false_negative", "relabel", "filter", "duplicate"),
        "false_negatives_relabeled": share("false_negative", "relabel"),
        "ambiguous_leaving": share("ambiguous", "relabel", "filter", "duplicate"),
        "ambiguous_relabeled": share("ambiguous", "relabel"),
        "clean_touched": share("clean", "relabel", "filter", "duplicate"),
        "clean_relabeled": share("clean", "relabel"),
        "duplicates_found": share("duplicate", "duplicate"),
    }


def markdown(table: Counter[tuple[str, str]]) -> str:
    """The table and two sentences for the README."""
    found = rates(table)
    head = "| gold label | negatives | " + " | ".join(ACTIONS) + " |"
    lines = [head, "| --- |" + " ---: |" * (len(ACTIONS) + 1)]
    for gold in GOLD:
        counts = [table[gold, action] for action in ACTIONS]
        lines.append(f"| {gold.replace('_', ' ')} | {sum(counts)} | " + " | ".join(map(str, counts)) + " |")
    lines += [
        "",
        f"{found['false_negatives_leaving']:.0%} of the false negatives and {found['ambiguous_leaving']:.0%} of the half answers leave the "
        f"negatives, with {found['clean_touched']:.0%} of the clean ones; {found['duplicates_found']:.0%} of the duplicates are found. "
        f"Of all relabeled negatives {_precision(table):.0%} are false negatives. (`python benchmarks/sample_agreement.py`)",
    ]
    return "\n".join(lines)


def _precision(table: Counter[tuple[str, str]]) -> float:
    relabeled = sum(table[gold, "relabel"] for gold in GOLD)
    return table["false_negative", "relabel"] / relabeled if relabeled else 0.0


def put(text: str, section: str) -> str:
    """The README with the section between its markers."""
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{section}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    """Refine the sample and print or write the agreement."""
    import arhn_hf

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--threshold", type=float, default=None)
    arguments = parser.parse_args()
    options = {} if arguments.threshold is None else {"answer_threshold": arguments.threshold}
    with tempfile.TemporaryDirectory() as folder:
        arhn_hf.refine(str(ROOT / "examples" / "hard-negatives"), output=folder + "/out", **options)
        table = confusion(Path(folder) / "out")
    section = markdown(table)
    print(section)
    if arguments.write:
        readme = ROOT / "README.md"
        readme.write_text(put(readme.read_text(encoding="utf-8"), section), encoding="utf-8")


if __name__ == "__main__":
    main()
