"""The corpus behind an id-based dataset: from a document id to its title and text, for millions of documents.

A Python dict of ids would cost a hundred bytes a document. Two sorted arrays of 16 bytes a document do the same: the
id's hash finds the row, and the id itself, read from the memory-mapped table, proves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from datasets import Dataset

from arhn_hf.formats.columns import first_text, is_id, strings
from arhn_hf.records import Document, UsageError

ID_NAMES = ("docid", "document_id", "_id", "id")
TEXT_NAMES = ("text", "document")


class Corpus:
    """Documents by id. A repeated id means its last document, as Tevatron reads it."""

    def __init__(self, dataset: Dataset) -> None:
        """Reads all ids of `dataset` once (about a microsecond each).

        Raises:
            UsageError: no id or no text column.
        """
        features = dataset.features
        ids = next((name for name in ID_NAMES if is_id(features.get(name))), None)
        text = first_text(features, TEXT_NAMES)
        if ids is None or text is None:
            raise UsageError(
                f"the corpus has the columns {', '.join(features)}",
                where="--corpus",
                hint=f"It needs an id ({', '.join(ID_NAMES)}) and a text ({', '.join(TEXT_NAMES)}); title is optional",
            )
        self.id_column, self.text_column = ids, text
        self.title_column = first_text(features, ("title",))
        if dataset._indices is not None:  # a shuffled or filtered view: its table is in another order
            dataset = dataset.flatten_indices()
        self._table: pa.Table = dataset.data.table
        columns = (self.id_column, self.title_column, self.text_column)
        self._columns = [None if name is None else self._table.column(name) for name in columns]
        id_chunks = self._table.column(ids).chunks
        self._starts = np.cumsum([0, *(len(chunk) for chunk in id_chunks)])
        hashes = np.fromiter(
            (_hash(key) for chunk in id_chunks for key in strings(chunk)), np.uint64, count=int(self._starts[-1])
        )
        self._order = np.argsort(hashes, kind="stable")  # stable: the last of equal ids stays last
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self._hashes)

    def documents(self, ids: Sequence[str | None]) -> list[Document]:
        """The documents of `ids`, in their order; one that the corpus does not hold has neither title nor text."""
        distinct = [key for key in dict.fromkeys(ids) if key is not None]
        found: dict[str | None, Document] = {}
        place = np.searchsorted(self._hashes, np.fromiter(map(_hash, distinct), np.uint64, len(distinct)), "right") - 1
        missing = list(zip(distinct, place.tolist(), strict=True))
        while missing:
            # Nearly always one turn: only another id with the same hash sends us one place back.
            missing = [(key, at) for key, at in missing if at >= 0 and self._hashes[at] == _hash(key)]
            read = self._take([at for _, at in missing])
            again = []
            for (key, at), document in zip(missing, read, strict=True):
                if document.docid == key:
                    found[key] = document
                else:
                    again.append((key, at - 1))
            missing = again
        return [found.get(key) or Document(key, None, None) for key in ids]

    def _take(self, places: list[int]) -> list[Document]:
        """The documents at places of the sorted order, chunk by chunk: one take over all could overflow 2 GiB."""
        if not places:
            return []
        rows = self._order[np.array(places)]
        by_row = np.argsort(rows, kind="stable")
        chunk_of = np.searchsorted(self._starts, rows[by_row], "right") - 1
        cuts = np.flatnonzero(np.diff(chunk_of)) + 1
        columns: list[list[str | None]] = [[], [], []]
        for part in np.split(by_row, cuts):
            chunk = int(np.searchsorted(self._starts, rows[part[0]], "right") - 1)
            local = pa.array(rows[part] - self._starts[chunk])
            for column, values in zip(self._columns, columns, strict=True):
                values.extend([None] * len(part) if column is None else strings(column.chunk(chunk).take(local)))
        read: list[Document] = [Document(None, None, None)] * len(places)
        for at, document in zip(by_row.tolist(), map(Document, *columns), strict=True):
            read[at] = document
        return read


def _hash(key: str | None) -> int:
    digest = hashlib.blake2b((key or "").encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
