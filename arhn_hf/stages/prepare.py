"""Source rows → judged rows: read by the format, grouped by query, duplicates settled, criterion and language known.

Nothing here needs a judge, so `plan`, `derive` and `check` run it as `refine` does and must come to the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
from datasets import Dataset

from arhn_hf.criteria import Criteria
from arhn_hf.formats.base import Format
from arhn_hf.language import probably_english
from arhn_hf.methods.duplicates import prepare
from arhn_hf.records import Cell, Document, Label, Passage, Row, SourceRow
from arhn_hf.rules import Rules
from arhn_hf.stages.index import Index, invalid_reason, passage_digest
from arhn_hf.stages.tables import ROWS


def make_prepare(
    source: Dataset, form: Format, index: Index, rules: Rules, criteria: Criteria, *, english_only: bool,
    report: Callable[[int], None] = lambda rows: None,
) -> Callable[[pa.Table], pa.Table]:  # fmt: skip
    """The batched transform from an index table (`judged`, `rows`) to a `ROWS` table."""
    view = source.with_format("arrow")
    criterion = cache(criteria.criterion)  # subsets are few, and finding a name's criterion normalises it

    def transform(table: pa.Table) -> pa.Table:
        judged, groups = table["judged"].to_pylist(), table["rows"].to_pylist()
        numbers = [number for group in groups for number in group]
        span = range(numbers[0], numbers[-1] + 1)  # sliced without copying; rows of a query may be spread in any order
        read = form.read(view[span if numbers == list(span) else numbers])
        items, start = [], 0
        for i, group in zip(judged, groups, strict=True):
            row = to_judged(group, read[start : start + len(group)], form)
            start += len(group)
            about, known = criterion(row.subset), index.positives_elsewhere(i)
            items.append(_prepared(row, rules, about, known, english_only=english_only, grouped=form.grouped))
        report(len(items))
        return pa.Table.from_pylist(items, schema=ROWS)

    return transform


def to_judged(numbers: list[int], rows: Sequence[SourceRow], form: Format) -> Row:
    """One judged row of the source rows `numbers`: its positives and negatives are the distinct passages in source
    order."""
    first = rows[0]
    positives = _distinct("positive", numbers, [row.positives for row in rows], merge=form.grouped)
    negatives = _distinct("negative", numbers, [row.negatives for row in rows], merge=form.grouped)
    if len(rows) == 1 and not form.grouped:
        invalid = invalid_reason(first)
    else:
        whole = SourceRow(first.query, [d for r in rows for d in r.positives], [d for r in rows for d in r.negatives])
        invalid = invalid_reason(whole)
    return Row(
        numbers[0], numbers, first.query or "", positives, negatives, first.query_id, first.subset, first.instruction,
        invalid,
    )  # fmt: skip


def _distinct(label: Label, numbers: list[int], lists: list[list[Document]], *, merge: bool) -> list[Passage]:
    found: list[Passage] = []
    by_text: dict[tuple[str | None, str | None], Passage] = {}
    for number, documents in zip(numbers, lists, strict=True):
        for position, document in enumerate(documents):
            cell = Cell(number, label, position)
            known = by_text.get((document.title, document.text)) if merge else None
            if known is not None:
                known.cells.append(cell)
                continue
            passage = Passage(label, len(found), document.title, document.text or "", document.docid, [cell])
            found.append(passage)
            by_text[document.title, document.text] = passage
    return found


def _prepared(
    row: Row, rules: Rules, criterion: str, known: frozenset[int], *, english_only: bool, grouped: bool
) -> dict[str, Any]:
    settled: list[str | None] = [None] * len(row.negatives)
    cluster = [-1] * len(row.negatives)
    judged = row.invalid is None and criterion != "skip"
    if judged:
        prepared = prepare(row, rules, (lambda p: passage_digest(p.title, p.text) in known) if known else None)
        settled = [None if one is None else "/".join(one) for one in prepared.outcome]
        cluster = prepared.cluster
    return {
        "rows": row.rows, "query_id": row.query_id, "subset": row.subset, "query": row.query,
        "instruction": row.instruction, "invalid": row.invalid, "criterion": criterion,
        "not_english": english_only and judged and not probably_english(row),
        "positives": [_passage(p, grouped) for p in row.positives],
        "negatives": [_passage(p, grouped) for p in row.negatives],
        "settled": settled, "cluster": cluster,
    }  # fmt: skip


def _passage(passage: Passage, grouped: bool) -> dict[str, Any]:
    cells = [{"row": cell.row, "position": cell.position} for cell in passage.cells] if grouped else None
    return {"docid": passage.docid, "title": passage.title, "text": passage.text, "cells": cells}
