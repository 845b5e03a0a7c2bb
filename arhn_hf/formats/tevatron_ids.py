"""Tevatron's id form: a query with lists of document ids, the documents in a corpus of their own.

PyLate's and sentence-transformers' contrastive id data has the same shape. The output is ids again: the corpus is not
changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
from datasets import Features

from arhn_hf.formats.base import Format
from arhn_hf.formats.columns import Head, first_text, is_id, list_item, strings, whole, with_columns
from arhn_hf.formats.corpus import Corpus
from arhn_hf.formats.lists import bounds, gather, item_slice, picks
from arhn_hf.formats.tevatron import one_row
from arhn_hf.records import Document, OutRow, Placed, SourceRow, UsageError

POSITIVES, NEGATIVES = "positive_document_ids", "negative_document_ids"


@dataclass(frozen=True)
class TevatronIds(Format):
    """`query_id, query_text, positive_document_ids, negative_document_ids`, and any other column."""

    name = "tevatron-ids"
    columns = "query_text, positive_document_ids, negative_document_ids (lists of ids, with --corpus)"

    head: Head
    corpus: Corpus | None = None

    @classmethod
    def detect(cls, features: Features) -> TevatronIds | None:
        """Bound to the features, but not yet to a corpus, if both id lists and the query's text are there."""
        query = first_text(features, ("query_text", "query"))
        if query is None or not all(is_id(list_item(features.get(name))) for name in (POSITIVES, NEGATIVES)):
            return None
        return cls(Head.of(features, query))

    def with_corpus(self, corpus: Corpus) -> TevatronIds:
        """The same format with the documents to read."""
        return replace(self, corpus=corpus)

    def read(self, batch: pa.Table) -> list[SourceRow]:
        """The rows of a batch with the corpus' documents; an id that is not in it has no text.

        Raises:
            UsageError: no corpus.
        """
        if self.corpus is None:
            raise UsageError("the dataset holds document ids, not texts", hint="Name the corpus with --corpus")
        sides = [item_slice(whole(batch.column(name))) for name in (POSITIVES, NEGATIVES)]
        ids = [strings(items) for items, _ in sides]
        flat = self.corpus.documents(ids[0] + ids[1])
        read: list[list[list[Document]]] = []
        for documents, (_, extents) in zip((flat[: len(ids[0])], flat[len(ids[0]) :]), sides, strict=True):
            read.append([documents[start:stop] for start, stop in zip(extents.starts, extents.stops, strict=True)])
        return self.head.rows(batch, *read)

    def emit(self, placed: Placed, row: int) -> list[OutRow]:
        """One row."""
        return one_row(placed, row)

    def write(self, pool: pa.Table, rows: list[OutRow]) -> pa.Table:
        """The rows in the source's schema."""
        positives, negatives = whole(pool.column(POSITIVES)), whole(pool.column(NEGATIVES))
        own = picks(bounds(positives), "positive", [(row.template, row.positives) for row in rows])
        left = picks(bounds(negatives), "negative", [(row.template, row.negatives) for row in rows])
        new = {
            POSITIVES: gather(positives, negatives, "positive", own),
            NEGATIVES: gather(negatives, None, "negative", left),
        }
        return with_columns(pool, rows, new)
