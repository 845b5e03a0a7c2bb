"""FlagEmbedding: `query, pos, neg` as plain texts, with optional teacher scores and a task instruction, in jsonl.

Its loader reads nothing but json and jsonl, and indexes `pos_scores` and `neg_scores` like `pos` and `neg`: a passage
that moves takes its score along.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pyarrow as pa
from datasets import Features, List, Value

from arhn_hf.formats.base import Format, Target
from arhn_hf.formats.columns import Head, is_id, is_text, list_item, strings, titled, whole, with_columns
from arhn_hf.formats.lists import bounds, gather, item_slice, picks
from arhn_hf.formats.tevatron import one_row
from arhn_hf.records import Document, OutRow, Placed, SourceRow

SCORES = "scores"


def _beside(features: Features) -> tuple[tuple[str | None, str | None], ...]:
    """The lists that run beside `pos` and `neg`: scores, and others of which both sides exist (`pos_id, neg_id`)."""
    suffixes = [n.removeprefix("pos_") for n in features if n.startswith("pos_")]
    suffixes += [n.removeprefix("neg_") for n in features if n.startswith("neg_")]
    pairs = []
    for suffix in dict.fromkeys(suffixes):
        found = [n if list_item(features.get(n)) is not None else None for n in (f"pos_{suffix}", f"neg_{suffix}")]
        if all(found) or (suffix == SCORES and any(found)):
            pairs.append((found[0], found[1]))
    return tuple(pairs)


@dataclass(frozen=True)
class FlagEmbedding(Format):
    """`query, pos, neg`; optional `pos_scores, neg_scores, prompt, type` and any other column."""

    name = "flagembedding"
    columns = "query, pos, neg (lists of texts)"
    file_type = "jsonl"

    head: Head
    beside: tuple[tuple[str | None, str | None], ...] = ()
    ids: tuple[str, str] | None = None

    @classmethod
    def detect(cls, features: Features) -> FlagEmbedding | None:
        """Bound to the features, if `query` is a text and `pos` and `neg` are lists of texts."""
        if not is_text(features.get("query")) or not all(is_text(list_item(features.get(n))) for n in ("pos", "neg")):
            return None
        beside = _beside(features)
        ids = next(
            ((p, n) for p, n in beside if p in ("pos_id", "pos_ids") and n and is_id(list_item(features[p]))), None
        )
        return cls(Head.of(features, "query", instruction="prompt"), beside, ids)

    def read(self, batch: pa.Table) -> list[SourceRow]:
        """The rows of a batch; `prompt` is the row's instruction, `pos_id`/`neg_id` are docids where both exist."""
        docids = self.ids or (None, None)
        sides = [_documents(batch, name, ids) for name, ids in zip(("pos", "neg"), docids, strict=True)]
        return self.head.rows(batch, *sides)

    def emit(self, placed: Placed, row: int) -> list[OutRow]:
        """One row."""
        return one_row(placed, row)

    def write(self, pool: pa.Table, rows: list[OutRow]) -> pa.Table:
        """The rows in the source's schema.

        A score belongs to a query and a passage: it moves with its passage inside the row, is null for a passage from
        another row, and a row whose list of scores is null keeps that null.
        """
        positives, negatives = whole(pool.column("pos")), whole(pool.column("neg"))
        own = picks(bounds(positives), "positive", [(row.template, row.positives) for row in rows])
        left = picks(bounds(negatives), "negative", [(row.template, row.negatives) for row in rows])
        new = {
            "pos": gather(positives, negatives, "positive", own),
            "neg": gather(negatives, None, "negative", left),
        }
        for pos, neg in self.beside:
            foreign = SCORES not in (pos or neg or "")
            mine = None if pos is None else whole(pool.column(pos))
            theirs = None if neg is None else whole(pool.column(neg))
            if pos is not None:
                new[pos] = gather(mine, theirs, "positive", own, beside=True, foreign=foreign)
            if neg is not None:
                new[neg] = gather(theirs, None, "negative", left, beside=True, foreign=foreign)
        return with_columns(pool, rows, new)


def _documents(batch: pa.Table, name: str, ids: str | None) -> list[list[Document]]:
    """The passages of each row; ids that do not run in parallel with the texts are not used."""
    items, extents = item_slice(whole(batch.column(name)))
    docids: Any = repeat(None)
    if ids is not None:
        id_items, id_extents = item_slice(whole(batch.column(ids)))
        docids = strings(id_items) if id_extents == extents else docids
    flat = list(map(Document, docids, repeat(None), strings(items)))
    return [flat[start:stop] for start, stop in zip(extents.starts, extents.stops, strict=True)]


class FlagEmbeddingTarget(Target):
    """`--to flagembedding`: jsonl as FlagEmbedding 1.4 reads it."""

    name = "flagembedding"
    file_type = "jsonl"

    def features(self, source: dict[str, Any]) -> Features:
        """`query, pos, neg`, and `prompt` if the source has an instruction."""
        texts = List(Value("string"))
        prompt = {"prompt": Value("string")} if source.get("instruction") else {}
        return Features({"query": Value("string"), "pos": texts, "neg": texts} | prompt)

    def build(
        self, query: SourceRow, positives: list[Document], negatives: list[Document], count: int | None
    ) -> list[dict[str, Any]]:
        """One row, titles in front of the texts."""
        row: dict[str, Any] = {
            "query": query.query,
            "pos": [titled(document) for document in positives],
            "neg": [titled(document) for document in negatives],
        }
        return [row if query.instruction is None else row | {"prompt": query.instruction}]
