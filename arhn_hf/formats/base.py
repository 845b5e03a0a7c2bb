"""What every dataset schema must be able to do: recognise itself, read rows, shape refined rows, write them back.

One file a schema; this one only names the contract. A format never judges and never decides: it turns source rows into
`SourceRow` records and refined rows (`Placed`) back into an Arrow table, so that `refine`, `derive` and `check` share
one pure way of shaping a variant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pyarrow as pa
from datasets import Features

from arhn_hf.records import Document, OutRow, Placed, SourceRow


class Format(ABC):
    """A dataset schema, bound to the columns of one dataset.

    Class attributes: `name` (as in `--to` and `arhn.json`), `columns` (one line for error messages), `grouped` (rows of
    one query are judged together), `file_type` (`parquet` or `jsonl`), `default_short_rows` (`drop` or `backfill`).
    """

    name: ClassVar[str]
    columns: ClassVar[str]
    grouped: ClassVar[bool] = False
    file_type: ClassVar[str] = "parquet"
    default_short_rows: ClassVar[str] = "drop"

    @classmethod
    @abstractmethod
    def detect(cls, features: Features) -> Format | None:
        """The format bound to these features, or `None` if they are not of this schema."""

    @property
    def negatives(self) -> int | None:
        """Negatives every written row must have (n of an n-tuple), or `None` if rows may differ."""
        return None

    def validate(self, table: pa.Table) -> None:
        """Refuses what only the values tell, over the whole source, before anything is spent (`UsageError`)."""
        return

    @abstractmethod
    def read(self, batch: pa.Table) -> list[SourceRow]:
        """The rows of a batch of the source, in order."""

    @abstractmethod
    def emit(self, placed: Placed, row: int) -> list[OutRow]:
        """The rows to write at source row `row` (one of `placed.rows`): its own, then, at the last, the added ones."""

    @abstractmethod
    def write(self, pool: pa.Table, rows: list[OutRow]) -> pa.Table:
        """A table of the source's own schema. Every `row` and `template` in `rows` is an index into `pool`."""


class Target(ABC):
    """A schema that `--to` can convert to: pure text in, an Arrow table out."""

    name: ClassVar[str]
    file_type: ClassVar[str] = "parquet"
    default_short_rows: ClassVar[str] = "drop"
    needs_negatives: ClassVar[bool] = False

    @abstractmethod
    def features(self, source: dict[str, Any]) -> Features:
        """The output features.

        `source` says what the source has, `{"query_id": bool, "subset": bool, "instruction": bool}`, and under
        `"negatives"` how many negatives a row is to have (`--negatives`), if that is fixed.
        """

    @abstractmethod
    def build(
        self, query: SourceRow, positives: list[Document], negatives: list[Document], count: int | None
    ) -> list[dict[str, Any]]:
        """The output rows of one judged row; n-tuples with fewer than `count` (`--negatives`) are left out."""
