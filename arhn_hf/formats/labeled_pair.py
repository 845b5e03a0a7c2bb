"""Labeled pairs, as sentence-transformers' rerankers train on them: a query, a passage and the label 1 or 0.

A false negative is corrected in place: its label becomes 1, or its row leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features, Value

from arhn_hf.formats.base import Format, Target
from arhn_hf.formats.columns import (
    PASSAGE_NAMES,
    QUERY_NAMES,
    Head,
    distinct,
    documents,
    first_text,
    is_label,
    strings,
    take_across,
    titled,
    whole,
    with_columns,
)  # fmt: skip
from arhn_hf.formats.n_tuple import NTuple
from arhn_hf.formats.triplet import Triplet
from arhn_hf.records import Cell, Document, OutRow, Placed, SourceRow, UsageError

LABEL = "label"


@dataclass(frozen=True)
class LabeledPair(Format):
    """A query, a passage and a `label` column, and any other column."""

    name = "labeled-pair"
    columns = "sentence1, sentence2, label (0 or 1)"
    grouped = True

    head: Head
    passage: str

    @classmethod
    def detect(cls, features: Features) -> LabeledPair | None:
        """Bound to the features, if all three columns are there and no negative column makes them something else."""
        query, passage = first_text(features, QUERY_NAMES), first_text(features, PASSAGE_NAMES)
        if query is None or passage is None or not is_label(features.get(LABEL)):
            return None
        if Triplet.detect(features) is not None or NTuple.detect(features) is not None:
            return None
        return cls(Head.of(features, query), passage)

    def validate(self, table: pa.Table) -> None:
        """Refuses a source with any other label than 0 and 1, naming its first row."""
        label_values(table.column(LABEL))

    def read(self, batch: pa.Table) -> list[SourceRow]:
        """Rows of one passage, positive or negative by its label.

        Raises:
            UsageError: another label; its row is counted from the start of the batch (`validate` counts the source's).
        """
        labels = label_values(batch.column(LABEL))
        pairs = zip(documents(strings(batch.column(self.passage))), labels, strict=True)
        sides: list[tuple[list[Document], list[Document]]] = [([d], []) if label else ([], [d]) for d, label in pairs]
        return self.head.rows(batch, (p for p, _ in sides), (n for _, n in sides))

    def emit(self, placed: Placed, row: int) -> list[OutRow]:
        """The row with the label it now has, unless its passage was removed; donors after the query's last row."""
        positive, negative = Cell(row, "positive", 0), Cell(row, "negative", 0)
        out = []
        if positive in placed.originals or positive in placed.positives:
            out.append(OutRow(row, [positive], []))
        elif negative in placed.promoted:
            out.append(OutRow(row, [negative], []))
        elif negative in placed.left:
            out.append(OutRow(row, [], [negative]))
        if row == placed.rows[-1]:
            out += [OutRow(row, [], [cell]) for cell in distinct(placed.donors)]
        return out

    def write(self, pool: pa.Table, rows: list[OutRow]) -> pa.Table:
        """The rows in the source's schema: a cell among `positives` is written with label 1, else with 0."""
        cells = [(row.positives or row.negatives)[0] for row in rows]
        kind = pool.schema.field(self.passage).type
        label = whole(pool.column(LABEL)).take(pa.array([row.template for row in rows], pa.int64()))
        wanted = pa.array([len(row.positives) for row in rows], pa.int64()).cast(label.type)
        new = {
            self.passage: take_across(pool, (self.passage,), ((0, cell.row) for cell in cells), kind),
            # Equal numbers can be spelled differently (-0.0): a label that is right stays the source's own value.
            LABEL: pc.if_else(pc.equal(label, wanted), label, wanted),
        }
        return with_columns(pool, rows, new)


def label_values(column: pa.ChunkedArray) -> list[bool]:
    """The labels as truth values.

    Raises:
        UsageError: a label that is null or anything but 0 and 1, with its position in the column.
    """
    numbers = column.cast(pa.float64(), safe=False)
    positive = pc.equal(numbers, 1)
    fits = pc.fill_null(pc.or_(positive, pc.equal(numbers, 0)), False)
    wrong = pc.index(fits, False).as_py()
    if wrong >= 0:
        value = column[wrong].as_py()
        raise UsageError(
            f"the label is {'null' if value is None else value}, but a labeled pair has 0 or 1",
            where=f"row {wrong}, column {LABEL}",
        )
    return positive.to_pylist()  # type: ignore[no-any-return]


class LabeledPairTarget(Target):
    """`--to labeled-pair`: one row per passage, positives first, under the names `mine_hard_negatives` documents."""

    name = "labeled-pair"

    def features(self, source: dict[str, Any]) -> Features:
        """`anchor, document, label`."""
        return Features({"anchor": Value("string"), "document": Value("string"), LABEL: Value("int64")})

    def build(
        self, query: SourceRow, positives: list[Document], negatives: list[Document], count: int | None
    ) -> list[dict[str, Any]]:
        """One row per passage."""
        labeled = [(p, 1) for p in positives] + [(n, 0) for n in negatives]
        return [{"anchor": query.query, "document": titled(document), LABEL: label} for document, label in labeled]
