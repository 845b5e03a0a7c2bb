"""One pass over the whole source: its fingerprint, which rows are judged together, which queries occur more than once.

It keeps a few numbers a row (no text), so that tens of millions of rows fit in memory; everything else stays on disk.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from arhn_hf.formats.base import Format
from arhn_hf.records import SourceRow
from arhn_hf.shards import Shard
from arhn_hf.stages.fingerprint import Fingerprint
from arhn_hf.text import normalised, passage_key

BATCH = 1000
Ints = npt.NDArray[np.int64]
Digests = npt.NDArray[np.bytes_]
_NONE = np.array([], dtype="S16")


def invalid_reason(row: SourceRow) -> str | None:
    """Why a source row cannot be judged, in words, or `None`."""
    if not (row.query or "").strip():
        return "the query is empty"
    if not row.positives:
        return "there is no positive"
    for label, documents in (("positive", row.positives), ("negative", row.negatives)):
        for i, document in enumerate(documents):
            if not (document.text or "").strip():
                return f"{label} {i} has no text"
    return None


def passage_digest(title: str | None, text: str | None) -> int:
    """64 bits of a passage's normalised title and text: what "the same passage in another row" is looked up by."""
    joined = "\0".join(passage_key(title, text))
    return int.from_bytes(hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def _digest(*parts: str | None) -> bytes:
    joined = "\0".join("\1" if part is None else part for part in parts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass
class Index:
    """Judged rows of a source. `order[starts[i]:starts[i + 1]]` are the source rows of judged row i, in source order.

    `query_group[i]` is shared by judged rows of the same normalised query and instruction (-1: it occurs once);
    `elsewhere` holds (group, judged row, passage digest) of their positives, sorted by group.
    """

    fingerprint: str
    source_rows: int
    starts: Ints
    order: Ints
    query_group: Ints
    elsewhere: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, i: int) -> list[int]:
        """Source rows of judged row `i`."""
        return [int(r) for r in self.order[self.starts[i] : self.starts[i + 1]]]

    def positives_elsewhere(self, i: int) -> frozenset[int]:
        """Digests of the positives that *other* judged rows of the same normalised query and instruction hold."""
        group = self.query_group[i]
        if group < 0:
            return frozenset()
        low, high = np.searchsorted(self.elsewhere[:, 0], [group, group + 1])
        part = self.elsewhere[low:high]
        return frozenset(int(d) for d in part[part[:, 1] != i][:, 2])

    def sample(self, n: int | None, seed: int) -> Sequence[int]:
        """Which judged rows a run takes: all, or `n` chosen by the seed; ascending."""
        if n is None or n >= len(self):
            return range(len(self))
        return sorted(random.Random(f"sample\0{seed}").sample(range(len(self)), n))

    def owner(self, i: int, place: int, count: int) -> int:
        """Which of `count` parts, from 1, the judged row `i` belongs to that stands at `place` among those chosen.

        Rows of the same normalised query and instruction stay together. The others are dealt out one by one: a part is then a
        cross-section of the source, whose subsets differ in length and often follow each other.
        """
        group = int(self.query_group[i])
        return (place if group < 0 else group) % count + 1

    def part(self, chosen: Sequence[int], shard: Shard) -> Sequence[int]:
        """Those of the chosen judged rows that belong to a part."""
        return [i for place, i in enumerate(chosen) if self.owner(i, place, shard.count) == shard.index]

    def dataset(self, chosen: Sequence[int]) -> Dataset:
        """One row per chosen judged row: `judged` (its number) and `rows` (its source rows)."""
        if len(chosen) == len(self):
            judged, offsets, values = np.arange(len(self)), self.starts, self.order
        else:
            judged = np.array(chosen, dtype=np.int64)
            offsets = np.concatenate([[0], np.cumsum(np.diff(self.starts)[judged])])
            parts = [self.order[self.starts[i] : self.starts[i + 1]] for i in chosen]
            values = np.concatenate([self.order[:0], *parts])
        rows = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
        return Dataset(pa.table({"judged": pa.array(judged, pa.int64()), "rows": rows}))


def build_index(source: Dataset, form: Format, advance: Callable[[int], None] = lambda done: None) -> Index:
    """Scan the source. `advance` is called with the rows done so far and may raise to stop."""
    fingerprint = Fingerprint()
    together: list[Digests] = []  # per source row, what groups it
    queries: list[Digests] = []  # per source row, the normalised query and instruction
    done = 0
    for batch in source.with_format("arrow").iter(BATCH):
        fingerprint.update(batch)
        grouping, asking = [], []
        for number, row in enumerate(form.read(batch), start=done):
            bad = invalid_reason(row) is not None and not (form.grouped and (row.query or "").strip() and _texts(row))
            if form.grouped:
                grouping.append(_digest(str(number)) if bad else _digest("q", row.query, row.instruction, row.subset))
            query = normalised(row.query)
            asking.append(_digest("q", query, normalised(row.instruction)) if query else _digest(str(number)))
        together.append(np.array(grouping, dtype="S16"))
        queries.append(np.array(asking, dtype="S16"))
        done += len(batch)
        advance(done)
    if form.grouped:
        _, first, inverse = np.unique(np.concatenate([_NONE, *together]), return_index=True, return_inverse=True)
        order = np.argsort(first[inverse], kind="stable").astype(np.int64)
        sorted_first = first[inverse][order]
        starts = np.concatenate([np.flatnonzero(np.diff(sorted_first, prepend=-1)), [len(order)]]).astype(np.int64)
    else:
        order = np.arange(done, dtype=np.int64)
        starts = np.arange(done + 1, dtype=np.int64)
    group, elsewhere = _repeated(source, form, np.concatenate([_NONE, *queries]), order, starts)
    return Index(fingerprint.hexdigest(), done, starts, order, group, elsewhere)


def _texts(row: SourceRow) -> bool:
    return all((document.text or "").strip() for document in (*row.positives, *row.negatives))


def _repeated(source: Dataset, form: Format, queries: Digests, order: Ints, starts: Ints) -> tuple[Ints, Ints]:
    """Groups of judged rows that share a normalised query, and the digests of their positives."""
    per_judged = queries[order[starts[:-1]]] if len(order) else queries
    _, inverse, counts = np.unique(per_judged, return_inverse=True, return_counts=True)
    group = np.where(counts[inverse] > 1, inverse, -1).astype(np.int64)
    found: list[tuple[int, int, int]] = []
    view = source.with_format("arrow")
    shared = np.flatnonzero(group >= 0)
    for start in range(0, len(shared), BATCH):
        chosen = shared[start : start + BATCH]
        owners = [int(i) for i in chosen for _ in range(int(starts[i + 1] - starts[i]))]
        rows = [int(r) for i in chosen for r in order[starts[i] : starts[i + 1]]]
        for owner, row in zip(owners, form.read(view[rows]), strict=True):
            found += [(int(group[owner]), owner, passage_digest(d.title, d.text)) for d in row.positives if d.text]
    table = np.array(found, dtype=np.int64).reshape(-1, 3)
    return group, table[np.argsort(table[:, 0], kind="stable")]
