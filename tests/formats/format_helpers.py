"""Shared by the format tests: building `Placed` records as the pipeline does, and writing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features

from arhn_hf.formats import Format
from arhn_hf.records import Cell, Placed, SourceRow


def place(
    rows: list[SourceRow],
    group: Sequence[int],
    promote: Iterable[Cell] = (),
    remove: Iterable[Cell] = (),
    donors: Iterable[Cell] = (),
) -> Placed:
    """The rows of one query after decisions on cells, each of which speaks for all cells with the same passage."""

    def passages(label: str) -> dict[Any, list[Cell]]:
        found: dict[Any, list[Cell]] = {}
        for row in group:
            documents = rows[row].positives if label == "positive" else rows[row].negatives
            for i, document in enumerate(documents):
                key = document if len(group) > 1 else (document, i)
                found.setdefault(key, []).append(Cell(row, label, i))  # type: ignore[arg-type]
        return found

    promote, remove = list(promote), set(remove)
    positives, negatives = list(passages("positive").values()), list(passages("negative").values())
    promoted = [next(cells for cells in negatives if cell in cells) for cell in promote]
    left = [cells for cells in negatives if cells not in promoted and not remove & set(cells)]
    return Placed(
        rows=list(group),
        positives=[cells[0] for cells in positives + promoted],
        negatives=[cells[0] for cells in left],
        new_positives=[cells[0] for cells in promoted],
        promoted=frozenset(cell for cells in promoted for cell in cells),
        left=frozenset(cell for cells in left for cell in cells),
        donors=list(donors),
        originals=frozenset(cell for cells in positives for cell in cells),
    )


def shape(form: Format, table: pa.Table, placed: Sequence[Placed]) -> pa.Table:
    """What the pipeline writes: every source row emits, in source order."""
    by_row = {row: one for one in placed for row in one.rows}
    return form.write(table, [out for row in sorted(by_row) for out in form.emit(by_row[row], row)])


def untouched(form: Format, table: pa.Table) -> pa.Table:
    """The table written from decisions that change nothing, every row judged alone."""
    rows = form.read(table)
    return shape(form, table, [place(rows, [i]) for i in range(len(rows))])


def table_of(rows: list[dict[str, Any]], features: Features | None = None) -> pa.Table:
    """An Arrow table as `datasets` makes it, with the features in its metadata."""
    return Dataset.from_list(rows, features=features).data.table
