"""What a cascade saves and what it loses: the embedded reader first, a judge behind it.

TREC-DL 2019: in the judge's place stand grades that three LLMs gave these pairs one by one, and those of NIST's assessors themselves: a judge that is
never wrong, against which every mistake of the reader shows. They answer our own prompts (`token_counting.py`), so that tokens are
counted; they were given to somebody else's prompt, so this is not what those models would do with ours. A grade of 2 or 3 answers. More than
half of these negatives answer, which is rare in mined data.

RLHN logs: 50 rows of mined negatives of FiQA and MS MARCO, with what gpt-4o-mini said in RLHN's first stage, as judge and as truth: what
is lost there are its decisions, right or wrong.

    python benchmarks/cascade.py ../shared/data --png benchmarks/cascade.png
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from token_counting import Cost, run
from tokens import Data, rlhn, shown, trec

from arhn_hf.auditing.audit import LabelSource
from arhn_hf.auditing.band import fitted_band
from arhn_hf.auditing.candidates import Audited, Candidate, gather
from arhn_hf.auditing.figures import Table
from arhn_hf.auditing.measures import Bools, Floats, precision_recall
from arhn_hf.auditing.resampling import paired_difference
from arhn_hf.monitor import Monitor
from arhn_hf.records import Cell
from arhn_hf.stages.maps import quiet_datasets
from arhn_hf.stored import open_run

BANDS = (
    (0.02, 1.0), (0.05, 1.0), (0.1, 1.0), (0.15, 1.0), (0.2, 1.0), (0.3, 1.0), (0.4, 1.0),
    (0.05, 0.95), (0.1, 0.9), (0.2, 0.8), (0.3, 0.7), (0.4, 0.4),
)  # fmt: skip
LOSSES = (0.01, 0.02, 0.05)
ASSESSORS = "NIST assessors"


@dataclass
class Judged:
    """One finished run: what became of each labelled negative, and what the judge's tokens were."""

    audited: Audited
    leaves: dict[Cell, bool]
    cost: Cost
    decided: float
    """Share of the negatives that the judge decided, not the reader."""


def recorded(pairs: Path) -> dict[str, dict[tuple[str, str], float]]:
    """By judge, the grade of each (query, text)."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    with gzip.open(pairs, "rt", encoding="utf-8") as lines:
        for line in lines:
            item = json.loads(line)
            for name, grade in ((ASSESSORS, item["grade"]), *item["llm"].items()):
                if grade is not None:
                    found.setdefault(name, {})[item["query"], item["text"]] = float(grade)
    return found


def written(data: Data, path: Path) -> Path:
    """The rows as a file whose passages carry their `grade`."""
    with path.open("w", encoding="utf-8") as file:
        for row in data.rows:
            sides = {
                side: [{**one, "grade": data.grades[row["query"], shown(one)]} for one in row[side]]
                for side in ("positive_passages", "negative_passages")
            }
            file.write(json.dumps({**row, **sides}) + "\n")
    return path


def judged(
    source: Path,
    output: Path,
    grades: dict[tuple[str, str], float],
    positives: frozenset[tuple[str, str]],
    **options: Any,
) -> Judged:
    """One run, opened as an audit opens it. Runs side by side share what the reader read."""
    result, cost = run(
        str(source), output, grades, positives, store=str(output.parent / "store.sqlite"), variants="combined,filter",
        **options,
    )  # fmt: skip
    with quiet_datasets(), tempfile.TemporaryDirectory() as cache:
        stored = open_run(output, Path(cache))
        inputs = stored.open(stored.config(), stored.criteria(), Monitor())
        audited = gather(stored, inputs, LabelSource(grades="grade").read(inputs))
    about = result.judges
    every = sum(one["decided"] for one in about.values()) if len(about) > 1 else 1
    share = about["vllm"]["decided"] / every if len(about) > 1 else 1.0
    return Judged(audited, {one.cell: one.action != "keep" for one in audited.candidates}, cost, share)


def scores_of(candidates: list[Candidate], by_reader: Judged) -> Floats:
    """The reader's scores (in 32 bits, as evidence keeps them) from a run in which it decided all that it may; NaN elsewhere."""
    found = {one.cell: one.score for one in by_reader.audited.candidates if one.judge == "reader"}
    return np.array([found.get(one.cell, math.nan) for one in candidates], dtype=np.float64)


def lost(alone: Judged, cascade: Judged) -> dict[str, Any]:
    """Precision and recall of the judge alone minus those of the cascade, on the negatives both decided, with 95 % intervals over queries;
    and the share of these that are decided otherwise."""
    table = Table.of([one for one in alone.audited.candidates if one.cell in cascade.leaves])
    cells = [one.cell for one in alone.audited.candidates if one.cell in cascade.leaves]
    before, after = (np.array([run.leaves[cell] for cell in cells], dtype=bool) for run in (alone, cascade))
    found: dict[str, Any] = {"changed": float((before != after).mean())}
    for name, figure in (("precision", _precision), ("recall", _recall)):
        a, b = (before, table.truth), (after, table.truth)
        interval = paired_difference(figure, table.queries, a, b)
        found[name] = {"value": figure(*a) - figure(*b), "low": interval.low, "high": interval.high}
    return found


def _precision(flags: Bools, truth: Bools) -> float:
    return precision_recall(flags, truth)[0]


def _recall(flags: Bools, truth: Bools) -> float:
    return precision_recall(flags, truth)[1]


def points(figure: dict[str, float]) -> str:
    """A difference in points with its interval."""
    low, high, value = (f"{100 * figure[key]:.1f}".replace("-", "−") for key in ("low", "high", "value"))
    return f"{value} [{low} – {high}]"


def line(name: str, cells: list[str]) -> None:
    """One line of the table, at once."""
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def by_reader(low: float, high: float) -> dict[str, Any]:
    """The options of a cascade with this band."""
    return {"cascade": "reader", "cascade_low": low, "cascade_high": high}


def measure(name: str, judge: Callable[..., Judged]) -> list[dict[str, Any]]:
    """One judge: every band, then the bands that the audit fits on other queries."""
    alone = judge("alone")
    scores = scores_of(alone.audited.candidates, judge("reader", **by_reader(0.5, 0.5)))
    table = Table.of(alone.audited.candidates)
    precision, recall = precision_recall(table.actions != "keep", table.truth)
    print(f"\n{name} as the judge: alone precision {precision:.2f}, recall {recall:.2f}, ", end="")
    print(f"{alone.cost.paid / len(alone.audited.queries):,.0f} tokens a row\n")
    line(
        "band",
        ["negatives the judge reads", "tokens saved", "precision lost, points", "recall lost, points", "changed"],
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    found = []
    for low, high in BANDS:
        cascade = judge(f"{low}-{high}", **by_reader(low, high))
        saved, losses = 1 - cascade.cost.paid / alone.cost.paid, lost(alone, cascade)
        found.append({"low": low, "high": high, "saved": saved, **losses})
        cells = [f"{cascade.decided:.0%}", f"{saved:.0%}", points(losses["precision"]), points(losses["recall"])]
        line(f"{low:g} – {high:g}", [*cells, f"{losses['changed']:.1%}"])
    for loss in LOSSES:
        band = fitted_band(alone.audited, scores, loss, samples=1000, seed=42)
        held = band["held_out"]
        cells = [f"{held['share_left']:.0%}", "", points(held["precision_lost"]), points(held["recall_lost"]), ""]
        line(f"fitted for {100 * loss:g} points, on other queries", cells)
    return found


def draw(curves: dict[str, list[dict[str, Any]]], path: str) -> None:
    """Points lost over tokens saved: precision left, recall right; empty marks: never believed when it finds an answer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for panel, what in zip(panels, ("precision", "recall"), strict=True):
        for number, (name, curve) in enumerate(curves.items()):
            for both_ways in (False, True):
                some = [one for one in curve if (one["high"] < 1) == both_ways]
                values = np.array([one[what]["value"] for one in some])
                errors = np.abs(np.array([[one[what][end] for one in some] for end in ("low", "high")]) - values)
                panel.errorbar(
                    [100 * one["saved"] for one in some], 100 * values, 100 * errors, color=f"C{number}", fmt="o",
                    mfc=None if both_ways else "white", elinewidth=0.6, ls="none" if both_ways else "-",
                    label=None if both_ways else name,
                )  # fmt: skip
        panel.axhline(0, color="grey", linewidth=0.8)
        panel.set(xlabel="tokens saved, %", title=f"{what} lost, points (95 % intervals over queries)")
    panels[0].legend(frameon=False, fontsize="small")
    figure.suptitle("The embedded reader in front of a judge. Filled: believed when it finds an answer, too")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print a table for each judge, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with trec-dl-2019/ and rlhn-logs/")
    parser.add_argument("--png", help="draw the curves, too (needs matplotlib)")
    arguments = parser.parse_args()
    judges = [
        (f"TREC-DL 2019, grades of {name}", trec(arguments.folder), grades)
        for name, grades in recorded(arguments.folder / "trec-dl-2019" / "pairs.jsonl.gz").items()
    ]
    mined = rlhn(arguments.folder)
    judges.append(("RLHN logs, gpt-4o-mini", mined, mined.grades))
    curves = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, data, grades) in enumerate(judges):
            source = written(data, Path(scratch) / f"{data.name}.jsonl")

            def one(
                label: str, data: Data = data, grades: Any = grades, source: Path = source, number: int = number,
                **options: Any,
            ) -> Judged:  # fmt: skip
                return judged(source, Path(scratch) / f"{number}-{label}", grades, data.positives, **options)

            curves[name] = measure(name, one)
    if arguments.png:
        draw(curves, arguments.png)


if __name__ == "__main__":
    main()
