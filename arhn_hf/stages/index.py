"""One pass over the whole source: its fingerprint, which rows are judged together, which queries occur more than once.

Nothing that grows with the rows stays in memory, not even a number: the index lies in mapped files (see `ondisk`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from datasets import Dataset

from arhn_hf.formats.base import Format
from arhn_hf.records import SourceRow
from arhn_hf.shards import Shard
from arhn_hf.stages.fingerprint import Fingerprint
from arhn_hf.stages.ondisk import (
    BLOCK,
    Bools,
    Bytes,
    Column,
    Ints,
    counted,
    in_blocks,
    keys_and_numbers,
    mapped,
    packed,
    unpacked,
    with_number,
)
from arhn_hf.text import normalised, passage_key

BATCH = 1000


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

    `query_group[i]` is shared by judged rows of the same normalised query and instruction (-1: it occurs once); entry k of
    `elsewhere` (group, judged row, passage digest) is one of their positives, sorted by group.
    """

    fingerprint: str
    source_rows: int
    starts: Ints
    order: Ints
    query_group: Ints
    elsewhere: tuple[Ints, Ints, Ints]

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
        groups, owners, digests = self.elsewhere
        low, high = np.searchsorted(groups, [group, group + 1])
        return frozenset(int(d) for d in digests[low:high][owners[low:high] != i])

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

    def part(self, chosen: Sequence[int], shard: Shard) -> Ints:
        """Those of the chosen judged rows that belong to a part (see `owner`)."""

        def blocks() -> Iterator[Ints]:
            for start in range(0, len(chosen), BLOCK):
                rows = np.array(chosen[start : start + BLOCK], dtype=np.int64)
                group, place = self.query_group[rows], np.arange(start, start + len(rows))
                yield rows[np.where(group < 0, place, group) % shard.count + 1 == shard.index]

        return mapped(blocks(), np.int64)

    def dataset(self, chosen: Sequence[int] | Ints) -> Dataset:
        """One row per chosen judged row: `judged` (its number) and `rows` (its source rows)."""
        if len(chosen) == len(self):
            judged, offsets, values = mapped(counted(len(self)), np.int64), self.starts, self.order
        else:
            blocks = [np.array(chosen[i : i + BLOCK], dtype=np.int64) for i in range(0, len(chosen), BLOCK)]
            judged = mapped(blocks, np.int64)
            offsets = mapped(
                _offsets(self.starts[rows + 1] - self.starts[rows] for _, rows in in_blocks(judged)), np.int64
            )
            values = mapped((self._rows_of(rows) for _, rows in in_blocks(judged)), np.int64)
        rows = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values, pa.int64()))
        return Dataset(pa.table({"judged": pa.array(judged, pa.int64()), "rows": rows}))

    def _rows_of(self, judged: Ints) -> Ints:
        """Source rows of many judged rows, one after the other."""
        first, lengths = self.starts[judged], self.starts[judged + 1] - self.starts[judged]
        before = np.repeat(np.cumsum(lengths) - lengths, lengths)
        found: Ints = self.order[np.repeat(first, lengths) + np.arange(len(before)) - before]
        return found


def _offsets(lengths: Iterator[Ints]) -> Iterator[Ints]:
    """Where lists of these lengths begin, and where the last one ends."""
    end = 0
    yield np.zeros(1, dtype=np.int64)
    for block in lengths:
        ends = end + np.cumsum(block)
        yield ends
        end = int(ends[-1])


def build_index(source: Dataset, form: Format, advance: Callable[[int], None] = lambda done: None) -> Index:
    """Scan the source. `advance` is called with the rows done so far and may raise to stop."""
    fingerprint = Fingerprint()
    done = 0
    # Per source row: the normalised query and instruction, and what groups it (with its number).
    with Column("S16") as asked, Column("S24") as together:
        for batch in source.with_format("arrow").iter(BATCH):
            fingerprint.update(batch)
            grouping, asking = [], []
            for number, row in enumerate(form.read(batch), start=done):
                bad = invalid_reason(row) is not None and not (
                    form.grouped and (row.query or "").strip() and _texts(row)
                )
                if form.grouped:
                    grouping.append(
                        _digest(str(number)) if bad else _digest("q", row.query, row.instruction, row.subset)
                    )
                query = normalised(row.query)
                asking.append(_digest("q", query, normalised(row.instruction)) if query else _digest(str(number)))
            together.append(with_number(np.array(grouping, dtype="S16"), np.arange(done, done + len(grouping))))
            asked.append(np.array(asking, dtype="S16"))
            done += len(batch)
            advance(done)
        queries, keys = asked.mapped(), together.mapped()
    if form.grouped:
        order, starts = _grouped(keys)
    else:
        order, starts = mapped(counted(done), np.int64), mapped(counted(done + 1), np.int64)
    group = _query_groups(queries, order, starts)
    return Index(fingerprint.hexdigest(), done, starts, order, group, _elsewhere(source, form, order, starts, group))


def _texts(row: SourceRow) -> bool:
    return all((document.text or "").strip() for document in (*row.positives, *row.negatives))


def _grouped(keys: Bytes) -> tuple[Ints, Ints]:
    """Order and starts of judged rows: source rows with the same key together, in the order of their first."""

    def by_first() -> Iterator[Bytes]:
        first = np.zeros(1, dtype=np.int64)  # of the run of equal keys that goes on
        for rows, begins, _ in _runs(keys):
            firsts = np.concatenate([first, rows[begins]])[np.cumsum(begins)]
            first = firsts[-1:]
            yield packed(firsts, rows)

    keys.sort()
    pairs = mapped(by_first(), "S16")
    pairs.sort()
    order = mapped((unpacked(block)[1] for _, block in in_blocks(pairs)), np.int64)

    def starts() -> Iterator[Ints]:
        last = -1
        for at, block in in_blocks(pairs):
            firsts = unpacked(block)[0]
            yield at + np.flatnonzero(np.diff(firsts, prepend=last))
            last = int(firsts[-1])
        yield np.array([len(pairs)])

    return order, mapped(starts(), np.int64)


def _runs(keys: Bytes) -> Iterator[tuple[Ints, Bools, Bools]]:
    """Sorted keys, in blocks: their numbers, whether each begins a run of equal keys, and whether it is alone in it."""
    before = None
    for at, block in in_blocks(keys):
        own, numbers = keys_and_numbers(block)
        after, _ = keys_and_numbers(keys[at + len(block) : at + len(block) + 1])
        begins = np.ones(len(own) + 1, dtype=bool)  # the last one: the first of the next block
        begins[1:-1] = (own[1:] != own[:-1]).any(axis=1)
        begins[0] = before is None or bool((own[0] != before).any())
        begins[-1] = not len(after) or bool((after[0] != own[-1]).any())
        before = own[-1].copy()
        yield numbers, begins[:-1], begins[:-1] & begins[1:]


def _query_groups(queries: Bytes, order: Ints, starts: Ints) -> Ints:
    """Per judged row a number shared by those of the same query, or -1."""
    count = len(starts) - 1
    keys = mapped((with_number(queries[order[starts[i]]], i) for i in counted(count)), "S24")
    keys.sort()
    group = mapped((np.full(len(block), -1) for block in counted(count)), np.int64)
    last = -1
    for judged, begins, alone in _runs(keys):
        numbers = last + np.cumsum(begins & ~alone)
        group[judged[~alone]] = numbers[~alone]
        last = int(numbers[-1])
    return group


def _elsewhere(source: Dataset, form: Format, order: Ints, starts: Ints, group: Ints) -> tuple[Ints, Ints, Ints]:
    """Group, judged row and digest of every positive of the judged rows that share their query, sorted by group."""
    view = source.with_format("arrow")

    def positives() -> Iterator[Bytes]:
        for at, block in in_blocks(group):
            shared = at + np.flatnonzero(block >= 0)
            for start in range(0, len(shared), BATCH):
                chosen = shared[start : start + BATCH]
                owners = [int(i) for i in chosen for _ in range(int(starts[i + 1] - starts[i]))]
                rows = [int(r) for i in chosen for r in order[starts[i] : starts[i + 1]]]
                found = [
                    (int(group[owner]), owner, passage_digest(d.title, d.text))
                    for owner, row in zip(owners, form.read(view[rows]), strict=True)
                    for d in row.positives
                    if d.text
                ]
                yield packed(*np.array(found, dtype=np.int64).reshape(-1, 3).T)

    records = mapped(positives(), "S24")
    records.sort()
    columns = [mapped((unpacked(block)[i] for _, block in in_blocks(records)), np.int64) for i in range(3)]
    return columns[0], columns[1], columns[2]
