"""N-tuples, as sentence-transformers trains on them: `anchor, positive, negative_1 … negative_n`.

Every row must have all n negatives, so a row that lost some is filled up from other rows by default, or left out.
"""

from __future__ import annotations

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
    titled,
)  # fmt: skip
from arhn_hf.formats.triplet import NUMBERED, write_columns
from arhn_hf.records import Cell, Document, OutRow, Placed, SourceRow

DEFAULT_NEGATIVES = 7


@dataclass(frozen=True)
class NTuple(Format):
    """A query, a positive and numbered negative columns, and any other column."""

    name = "n-tuple"
    columns = "anchor, positive, negative_1 … negative_n (texts)"
    grouped = True
    default_short_rows = "backfill"

    head: Head
    positive: str
    negative_columns: tuple[str, ...]

    @classmethod
    def detect(cls, features: Features) -> NTuple | None:
        """Bound to the features, if the negatives are numbered without a gap (a plain `negative` may come first)."""
        query, positive = first_text(features, QUERY_NAMES), first_text(features, PASSAGE_NAMES)
        numbers = sorted(int(m[1]) for name in features if (m := NUMBERED.fullmatch(name)) and is_text(features[name]))
        if query is None or positive is None or not numbers or numbers != list(range(numbers[0], numbers[-1] + 1)):
            return None
        plain = ("negative",) if is_text(features.get("negative")) else ()
        if any(f"negative_{n}" not in features for n in numbers) or numbers[0] > 1 + len(plain):
            return None
        return cls(Head.of(features, query), positive, plain + tuple(f"negative_{n}" for n in numbers))

    @property
    def negatives(self) -> int:
        """n: how many negatives every row has."""
        return len(self.negative_columns)

    def read(self, batch: pa.Table) -> list[SourceRow]:
        """Rows of one positive and n negatives."""
        positives = documents(strings(batch.column(self.positive)))
        columns = [documents(strings(batch.column(name))) for name in self.negative_columns]
        return self.head.rows(batch, ([p] for p in positives), map(list, zip(*columns, strict=True)))

    def emit(self, placed: Placed, row: int) -> list[OutRow]:
        """The row with the negatives it has left, then, after the query's last row, one row per new positive.

        Both are filled up with donors to n; a row that still has fewer is left out. New positives get the first n
        negatives of the whole query.
        """
        own = [cell for i in range(self.negatives) if (cell := Cell(row, "negative", i)) in placed.left]
        out = self._full(row, Cell(row, "positive", 0), own, placed)
        if row == placed.rows[-1]:
            for positive in distinct(placed.new_positives):
                out += self._full(positive.row, positive, placed.negatives, placed)
        return out

    def _full(self, template: int, positive: Cell, negatives: list[Cell], placed: Placed) -> list[OutRow]:
        # The row's own list may repeat a passage, as the source had it; donors may not.
        taken = set(negatives)
        cells = negatives + [cell for cell in distinct(placed.donors) if cell not in taken]
        return [OutRow(template, [positive], cells[: self.negatives])] if len(cells) >= self.negatives else []

    def write(self, pool: pa.Table, rows: list[OutRow]) -> pa.Table:
        """The rows in the source's schema."""
        return write_columns(pool, rows, self.positive, self.negative_columns)


class NTupleTarget(Target):
    """`--to n-tuple`: one row per positive, each with the same n negatives."""

    name = "n-tuple"
    default_short_rows = "backfill"
    needs_negatives = True

    def features(self, source: dict[str, Any]) -> Features:
        """`anchor, positive, negative_1 … negative_n`; n is `source["negatives"]`, 7 if that is not said."""
        count = source.get("negatives") or DEFAULT_NEGATIVES
        names = ["anchor", "positive", *(f"negative_{i}" for i in range(1, count + 1))]
        return Features({name: Value("string") for name in names})

    def build(
        self, query: SourceRow, positives: list[Document], negatives: list[Document], count: int | None
    ) -> list[dict[str, Any]]:
        """One row per positive with the first n negatives; none if there are fewer."""
        count = count or DEFAULT_NEGATIVES
        if len(negatives) < count:
            return []
        numbered = {f"negative_{i}": titled(document) for i, document in enumerate(negatives[:count], 1)}
        return [{"anchor": query.query, "positive": titled(p), **numbered} for p in positives]
