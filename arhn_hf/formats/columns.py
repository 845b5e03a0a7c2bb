"""What the schemas share: recognising column types, reading texts fast, putting a table back together.

Kept apart so that each schema file holds only what is particular to that schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Features, LargeList, List, Value

from arhn_hf.records import Cell, Document, OutRow, SourceRow

QUERY_NAMES = ("anchor", "query", "question", "sentence1", "sentence_A")
PASSAGE_NAMES = (
    "positive", "pos", "answer", "document", "passage", "text", "sentence2", "sentence_B",
)  # fmt: skip
QUERY_ID_NAMES = ("query_id", "qid")

_TEXT_TYPES = frozenset({"string", "large_string", "string_view", "null"})


def is_text(feature: Any) -> bool:
    """Whether a feature holds texts. A column of nothing but nulls counts: its type is unknown."""
    return isinstance(feature, Value) and feature.dtype in _TEXT_TYPES


def is_whole_number(feature: Any) -> bool:
    """Whether a feature holds integers (and is no class label, whose integers stand for names)."""
    return isinstance(feature, Value) and bool(feature.dtype.startswith(("int", "uint")))


def is_id(feature: Any) -> bool:
    """Whether a feature can hold identifiers: texts or integers."""
    return is_text(feature) or is_whole_number(feature)


def is_label(feature: Any) -> bool:
    """Whether a feature can hold the labels 0 and 1: a number, a truth value or a class label of two names."""
    if isinstance(feature, ClassLabel):
        return bool(feature.num_classes == 2)
    return isinstance(feature, Value) and bool(feature.dtype.startswith(("int", "uint", "bool", "float")))


def list_item(feature: Any) -> Any:
    """The feature of a list's items, or `None` if it is no list whose length may change from row to row."""
    if isinstance(feature, LargeList):
        return feature.feature
    if isinstance(feature, List):
        return feature.feature if feature.length == -1 else None
    return None


def first_text(features: Features, names: Iterable[str]) -> str | None:
    """The first of `names` that is a text column of `features`."""
    return next((name for name in names if is_text(features.get(name))), None)


def describe(feature: Any) -> str:
    """A feature in one short word for error messages, such as `list<string>`."""
    if isinstance(feature, Value):
        return str(feature.dtype)
    if isinstance(feature, List | LargeList):
        fixed = f", {feature.length}" if isinstance(feature, List) and feature.length != -1 else ""
        return f"list<{describe(feature.feature)}{fixed}>"
    if isinstance(feature, dict):
        return f"struct<{', '.join(feature)}>"
    return type(feature).__name__


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy where it already is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def strings(array: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """An array of texts or integers as Python strings, nulls as `None`."""
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        array = array.cast(pa.string())
    return array.to_pylist()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Head:
    """The columns that speak of a whole row, by the names one dataset gives them (`None`: it has no such column)."""

    query: str
    query_id: str | None = None
    subset: str | None = None
    instruction: str | None = None

    @classmethod
    def of(cls, features: Features, query: str, instruction: str | None = None) -> Head:
        """Finds the optional columns beside `query`. Ids and subsets may be texts or integers."""
        query_id = next((name for name in QUERY_ID_NAMES if is_id(features.get(name))), None)
        subset = "subset" if is_id(features.get("subset")) else None
        return cls(query, query_id, subset, instruction if is_text(features.get(instruction)) else None)

    def rows(
        self, batch: pa.Table, positives: Iterable[list[Document]], negatives: Iterable[list[Document]]
    ) -> list[SourceRow]:
        """Source rows from a batch and the documents already read from it, both in the batch's order."""
        optional = (self.query_id, self.subset, self.instruction)
        rest = [repeat(None) if name is None else strings(batch.column(name)) for name in optional]
        return list(map(SourceRow, strings(batch.column(self.query)), positives, negatives, *rest))


def documents(texts: Iterable[str | None]) -> list[Document]:
    """Passages of a schema without ids and titles."""
    return [Document(None, None, text) for text in texts]


def with_columns(pool: pa.Table, rows: Sequence[OutRow], new: Mapping[str, pa.Array]) -> pa.Table:
    """The table to write: `new` columns as given, every other one copied from each row's template.

    It has exactly the schema of `pool`, metadata included (where `datasets` keeps its features).
    """
    kept = [name for name in pool.column_names if name not in new]
    columns: dict[str, pa.Array | pa.ChunkedArray] = dict(new)
    if kept:
        templates = pa.array([row.template for row in rows], pa.int64())
        taken = pool.select(kept).take(templates)
        columns.update((name, taken.column(name)) for name in kept)
    return pa.Table.from_arrays([columns[name] for name in pool.column_names], schema=pool.schema)


def take_across(pool: pa.Table, names: Sequence[str], picks: Iterable[tuple[int, int]], kind: pa.DataType) -> pa.Array:
    """Values picked as (index into `names`, row) pairs from several text columns, as type `kind`.

    Used where a passage moves from one column to another: the picks may mix columns freely.
    """
    count = pool.num_rows
    index = pa.array([column * count + row for column, row in picks], pa.int64())
    arrays = [whole(pool.column(name)) for name in names]
    return pa.concat_arrays([array if array.type == kind else array.cast(kind) for array in arrays]).take(index)


def titled(document: Document) -> str | None:
    """A passage as one text: a title, where there is one, stands in front of it, as Tevatron joins them."""
    return f"{document.title} {document.text}" if document.title else document.text


def distinct(cells: Iterable[Cell]) -> list[Cell]:
    """Cells without repetitions, in their order."""
    return list(dict.fromkeys(cells))
