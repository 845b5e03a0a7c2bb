"""Judged negatives beside their labels: what an audit counts.

A candidate is one distinct passage of one query. What the judge did not decide is not a candidate but counted by its reason, so that a
judge cannot look better by failing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from arhn_hf.auditing.labels import Labels
from arhn_hf.inputs import Inputs
from arhn_hf.records import Cell, Document, Label, UsageError
from arhn_hf.stored import StoredRun
from arhn_hf.text import text_sha256

_FIELDS = [
    "row",
    "query_id",
    "subset",
    "docid",
    "label",
    "position",
    "text_sha256",
    "answer_score",
    "action",
    "reason",
    "judge",
]


class Candidate(NamedTuple):
    """`query` is an index into `Audited.queries`; `score` is the judge's, if it has one; `action` relabel, filter or keep;
    `positive_grade` the best grade among the query's labelled positives, if they have any; `judge` names who decided."""

    query: int
    subset: str | None
    cell: Cell
    document: Document
    grade: float
    score: float | None
    action: str
    positive_grade: float | None
    judge: str | None = None


@dataclass
class Audited:
    """All candidates of a run. `queries` are texts, `positives` the labelled positives of each; `left_out` counts labelled negatives
    that are no candidates, by reason, and `unlabelled` negatives without a label."""

    candidates: list[Candidate] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    positives: list[list[Document]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0


def ids_of(inputs: Inputs) -> dict[tuple[str, str], list[Cell]]:
    """(query id, docid) → source cells, over the whole source; a passage without a docid goes by the hash of its text, as in the
    evidence, and rows without query ids are left out."""
    found: dict[tuple[str, str], list[Cell]] = {}
    row = 0
    for batch in inputs.dataset.with_format("arrow").iter(1000):
        for source in inputs.form.read(batch):
            sides: tuple[tuple[Label, list[Document]], ...] = (
                ("positive", source.positives), ("negative", source.negatives),
            )  # fmt: skip
            for label, passages in sides:
                for position, one in enumerate(passages):
                    docid = one.docid if one.docid is not None else text_sha256(one.title, one.text or "")
                    if source.query_id is not None:
                        found.setdefault((source.query_id, docid), []).append(Cell(row, label, position))
            row += 1
    return found


def gather(stored: StoredRun, inputs: Inputs, labels: Labels) -> Audited:
    """The candidates of a finished run. Raises `UsageError` for a passage of one query that has two different grades."""
    audited = Audited()
    numbers: dict[str, int] = {}
    seen: dict[tuple[int, str], float] = {}
    evidence = _evidence(stored, _FIELDS)
    item = next(evidence, None)
    row = 0
    best: dict[int, float] = {}
    waiting: list[tuple[int, dict[str, Any], Document]] = []
    for batch in inputs.dataset.with_format("arrow").iter(1000):
        for source in inputs.form.read(batch):
            sides = {"positive": source.positives, "negative": source.negatives}
            while item is not None and item["row"] == row:
                key = hashlib.sha256(f"{source.instruction or ''}\0{source.query or ''}".encode()).hexdigest()
                if key not in numbers:
                    numbers[key] = len(audited.queries)
                    audited.queries.append(source.query or "")
                    audited.positives.append([])
                query = numbers[key]
                document = sides[item["label"]][item["position"]]
                if item["label"] == "positive":
                    if document not in audited.positives[query]:
                        audited.positives[query].append(document)
                    grade = labels.grades.get(Cell(row, "positive", item["position"]))
                    if grade is not None:
                        best[query] = max(best.get(query, grade), grade)
                else:
                    waiting.append((query, item, document))
                item = next(evidence, None)
            row += 1
    decided = ("relabel", "filter", "keep")
    # Of equal passages the one that was decided stands for all: the others are its duplicates.
    for query, item, document in sorted(waiting, key=lambda one: one[1]["action"] not in decided):
        _add(audited, seen, query, item, document, labels, best.get(query))
    return audited


def _add(
    audited: Audited, seen: dict[tuple[int, str], float], query: int, item: dict[str, Any], document: Document, labels: Labels,
    positive_grade: float | None,
) -> None:  # fmt: skip
    cell = Cell(item["row"], "negative", item["position"])
    grade = labels.grades.get(cell)
    if grade is None:
        audited.unlabelled += 1
        return
    pair = (query, item["text_sha256"])
    if pair in seen:
        if seen[pair] != grade:
            raise UsageError(
                f"the same passage of one query has two grades, {seen[pair]:g} and {grade:g}",
                where=f"row {cell.row}, negative {cell.position}",
            )
        return
    seen[pair] = grade
    if item["action"] not in ("relabel", "filter", "keep"):
        audited.left_out[item["action"] if item["action"] != "undecided" else f"undecided: {item['reason']}"] += 1
        return
    audited.candidates.append(
        Candidate(
            query,
            item["subset"],
            cell,
            document,
            grade,
            item["answer_score"],
            item["action"],
            positive_grade,
            item["judge"],
        )
    )


def _evidence(stored: StoredRun, fields: list[str]) -> Iterator[dict[str, Any]]:
    for batch in stored.evidence.select_columns(fields).with_format("arrow").iter(10_000):
        yield from batch.to_pylist()
