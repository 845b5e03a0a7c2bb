"""Triplets, as sentence-transformers trains on them: `anchor, positive, negative`, one text each.

A query with several passages is spread over several rows; they are judged as one, and every row whose negative is
gone leaves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datasets import Features, Value

from arhn_hf.formats.base import Format, Target
from arhn_hf.formats.columns import (
    PASSAGE_NAMES,
    QUERY_NAMES,
    Head,
    distinct,
    documents,
    first_text,
    is_text,
    strings,
    take_across,
    titled,
    with_columns,
)  # fmt: skip
from arhn_hf.records import Cell, Document, OutRow, Placed, SourceRow

NEGATIVE_NAMES = ("negative", "neg")
NUMBERED = re.compile(r"negative_(\d+)")


@dataclass(frozen=True)
class Triplet(Format):
    """A query, a positive and a negative column, and any other column."""

    name = "triplet"
    columns = "anchor, positive, negative (texts)"
    grouped = True

    head: Head
    positive: str
    negative: str

    @classmethod
    def detect(cls, features: Features) -> Triplet | None:
        """Bound to the features, if all three columns are there and no `negative_1` makes them an n-tuple."""
        query, positive = first_text(features, QUERY_NAMES), first_text(features, PASSAGE_NAMES)
        negative = first_text(features, NEGATIVE_NAMES)
        if query is None or positive is None or negative is None:
            return None
        if any(NUMBERED.fullmatch(name) and is_text(features[name]) for name in features):
            return None
        return cls(Head.of(features, query), positive, negative)

    def read(self, batch: pa.Table) -> list[SourceRow]:
        """Rows of one positive and one negative."""
        positives, negatives = (documents(strings(batch.column(name))) for name in (self.positive, self.negative))
        return self.head.rows(batch, ([p] for p in positives), ([n] for n in negatives))

    def emit(self, placed: Placed, row: int) -> list[OutRow]:
        """The row if its negative stayed; after the query's last row, each new positive × each negative left.

        Donors come last, with every positive of the query. Added rows copy their other columns from the row of their
        positive.
        """
        negative = Cell(row, "negative", 0)
        out = [OutRow(row, [Cell(row, "positive", 0)], [negative])] if negative in placed.left else []
        if row == placed.rows[-1]:
            pairs = [(p, n) for p in distinct(placed.new_positives) for n in distinct(placed.negatives)]
            pairs += [(p, n) for p in distinct(placed.positives) for n in distinct(placed.donors)]
            out += [OutRow(p.row, [p], [n]) for p, n in pairs]
        return out

    def write(self, pool: pa.Table, rows: list[OutRow]) -> pa.Table:
        """The rows in the source's schema."""
        return write_columns(pool, rows, self.positive, (self.negative,))


def write_columns(pool: pa.Table, rows: list[OutRow], positive: str, negatives: tuple[str, ...]) -> pa.Table:
    """Rows with one positive and a column per negative: cells may come from any of these columns and any row."""
    names = (positive, *negatives)

    def column(name: str, cells: list[Cell]) -> pa.Array:
        picks = ((0 if cell.label == "positive" else 1 + cell.position, cell.row) for cell in cells)
        return take_across(pool, names, picks, pool.schema.field(name).type)

    new = {positive: column(positive, [row.positives[0] for row in rows])}
    new |= {name: column(name, [row.negatives[i] for row in rows]) for i, name in enumerate(negatives)}
    return with_columns(pool, rows, new)


class TripletTarget(Target):
    """`--to triplet`: every positive × every negative, positives outer."""

    name = "triplet"

    def features(self, source: dict[str, Any]) -> Features:
        """`anchor, positive, negative` and nothing else: any further column would become an input of the trainer."""
        return Features({name: Value("string") for name in ("anchor", "positive", "negative")})

    def build(
        self, query: SourceRow, positives: list[Document], negatives: list[Document], count: int | None
    ) -> list[dict[str, Any]]:
        """One row per pair of a positive and a negative."""
        texts = [titled(negative) for negative in negatives]
        return [{"anchor": query.query, "positive": titled(p), "negative": n} for p in positives for n in texts]
