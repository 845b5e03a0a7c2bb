"""Tevatron and RLHN: a query with lists of positive and negative passages, each with its docid, title and text.

Trainers read `title + " " + text` of one positive a step; nested fields beyond these three are the dataset's own and
survive.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features, List, Value

from arhn_hf.formats.base import Format, Target
from arhn_hf.formats.columns import Head, is_id, is_text, list_item, strings, whole, with_columns
from arhn_hf.formats.lists import bounds, gather_columns, item_slice, picks
from arhn_hf.records import Document, OutRow, Placed, SourceRow
from arhn_hf.text import text_sha256

POSITIVES, NEGATIVES = "positive_passages", "negative_passages"


def _is_passages(feature: Any) -> bool:
    """A list of structs, or a struct of lists, with a `text`; a list that is always empty has items of type null."""
    item = list_item(feature)
    if isinstance(item, Value) and item.dtype == "null":
        return True
    if item is None and isinstance(feature, dict):
        item = {name: list_item(child) for name, child in feature.items()}
        if any(child is None for child in item.values()):
            return False
    if not isinstance(item, dict) or not is_text(item.get("text")):
        return False
    return all(name not in item or is_id(item[name]) for name in ("docid", "title"))


def one_row(placed: Placed, row: int) -> list[OutRow]:
    """How every schema with lists is shaped: one row out for one row in, the donors after its own negatives."""
    return [OutRow(row, placed.positives, placed.negatives + placed.donors)]


@dataclass(frozen=True)
class Tevatron(Format):
    """`query_id, query, positive_passages, negative_passages`, and any other column."""

    name = "tevatron"
    columns = "query, positive_passages, negative_passages (lists of docid, title, text)"

    head: Head

    @classmethod
    def detect(cls, features: Features) -> Tevatron | None:
        """Bound to the features, if both passage columns and a text column `query` are there."""
        if not is_text(features.get("query")):
            return None
        if not all(_is_passages(features.get(name)) for name in (POSITIVES, NEGATIVES)):
            return None
        return cls(Head.of(features, "query"))

    def read(self, batch: pa.Table) -> list[SourceRow]:
        """The rows of a batch. A null list reads as an empty one, a null passage as one without text."""
        return self.head.rows(batch, _documents(batch.column(POSITIVES)), _documents(batch.column(NEGATIVES)))

    def emit(self, placed: Placed, row: int) -> list[OutRow]:
        """One row."""
        return one_row(placed, row)

    def write(self, pool: pa.Table, rows: list[OutRow]) -> pa.Table:
        """The rows in the source's schema; a promoted negative keeps the nested fields that positives have, too."""
        positives, negatives = whole(pool.column(POSITIVES)), whole(pool.column(NEGATIVES))
        own = picks(bounds(_list(positives)), "positive", [(row.template, row.positives) for row in rows])
        left = picks(bounds(_list(negatives)), "negative", [(row.template, row.negatives) for row in rows])
        new = {
            POSITIVES: gather_columns(positives, negatives, "positive", own),
            NEGATIVES: gather_columns(negatives, None, "negative", left),
        }
        return with_columns(pool, rows, new)


def _list(array: pa.Array) -> pa.Array:
    """The list array that says how many passages a row has."""
    return pc.struct_field(array, "text") if pa.types.is_struct(array.type) else array


def _documents(column: pa.ChunkedArray) -> list[list[Document]]:
    """The passages of each row of a passage column."""
    array = whole(column)
    if pa.types.is_struct(array.type):
        return _parallel_documents(array)
    items, extents = item_slice(array)
    # Items of type null have no fields: every list is empty, or holds nulls.
    fields = {items.type.field(i).name for i in range(items.type.num_fields)}
    read = [strings(pc.struct_field(items, n)) if n in fields else repeat(None) for n in ("docid", "title", "text")]
    flat = list(map(Document, *read)) if fields else [Document(None, None, None)] * len(items)
    return [flat[start:stop] for start, stop in zip(extents.starts, extents.stops, strict=True)]


def _parallel_documents(array: pa.Array) -> list[list[Document]]:
    """The passages of the older layout: a struct of lists, which need not be equally long; the texts count."""
    fields = {array.type.field(i).name for i in range(array.type.num_fields)}
    lists: list[list[list[str | None]]] = []
    for name in ("docid", "title", "text"):
        if name not in fields:
            lists.append([[] for _ in range(len(array))])
            continue
        items, extents = item_slice(pc.struct_field(array, name))
        flat = strings(items)
        lists.append([flat[start:stop] for start, stop in zip(extents.starts, extents.stops, strict=True)])
    rows = []
    for docids, titles, texts in zip(*lists, strict=True):
        padded = [column + [None] * (len(texts) - len(column)) for column in (docids, titles)]
        rows.append([Document(*fields) for fields in zip(*padded, texts, strict=False)])
    return rows


class TevatronTarget(Target):
    """`--to tevatron`: what Tevatron 0.1 and RLHN's own recipes read."""

    name = "tevatron"

    def features(self, source: dict[str, Any]) -> Features:
        """`query_id, query, positive_passages, negative_passages`, and `subset` if the source has one."""
        passages = List({"docid": Value("string"), "title": Value("string"), "text": Value("string")})
        columns: dict[str, Any] = {"query_id": Value("string"), "query": Value("string")}
        columns |= {POSITIVES: passages, NEGATIVES: passages}
        return Features(columns | ({"subset": Value("string")} if source.get("subset") else {}))

    def build(
        self, query: SourceRow, positives: list[Document], negatives: list[Document], count: int | None
    ) -> list[dict[str, Any]]:
        """One row. Missing ids become hashes of the content; a missing title is empty, since Tevatron joins both."""
        row: dict[str, Any] = {
            "query_id": query.query_id if query.query_id is not None else text_sha256(None, query.query),
            "query": query.query,
            POSITIVES: [_passage(document) for document in positives],
            NEGATIVES: [_passage(document) for document in negatives],
        }
        return [row if query.subset is None else row | {"subset": query.subset}]


def _passage(document: Document) -> dict[str, str | None]:
    docid, title, text = document
    return {"docid": text_sha256(title, text) if docid is None else docid, "title": title or "", "text": text}
