"""The passages of judged rows as flat columns, positives before negatives in each row: the order of every per-passage
list.

What is computed for every passage alike (evidence, counts) is computed column by column, without an object per passage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FlatCells:
    """Every source cell: which passage it holds, its source row, and its position in that row's list.

    Sorted by judged row, and within one as evidence is: by source row, positives first, by position.
    """

    passage: Ints
    row: pa.Array
    position: pa.Array


@dataclass(frozen=True)
class FlatPassages:
    """Columns over all passages of a `ROWS` table. `owner` is the row in the table; `spots` are the source cells as the
    table has them (null: one cell, in the row's only source row, at the passage's own `position`)."""

    owner: Ints
    position: Ints
    first_row: Ints
    negative: npt.NDArray[np.bool_]
    docid: pa.Array
    title: pa.Array
    text: pa.Array
    spots: pa.Array

    @property
    def label(self) -> pa.Array:
        """`positive` or `negative`."""
        return pc.if_else(pa.array(self.negative), pa.scalar("negative"), pa.scalar("positive"))

    def cells(self) -> FlatCells:
        """All source cells in the order of evidence."""
        if self.spots.null_count == len(self.spots):
            return FlatCells(np.arange(len(self.owner)), pa.array(self.first_row), pa.array(self.position, pa.int32()))
        passage = np.repeat(np.arange(len(self.owner)), pc.list_value_length(self.spots).to_numpy())
        items = self.spots.flatten()
        row, position = (pc.struct_field(items, name).to_numpy() for name in ("row", "position"))
        order = np.lexsort((position, self.negative[passage], row, self.owner[passage]))
        return FlatCells(passage[order], pa.array(row[order]), pa.array(position[order]))


def flat_passages(table: pa.Table) -> FlatPassages:
    """The passages of a table with the columns of `ROWS`."""
    lists = [whole(table[name]) for name in ("positives", "negatives")]
    lengths = [pc.list_value_length(one).to_numpy() for one in lists]
    owners = np.concatenate([np.repeat(np.arange(len(table)), length) for length in lengths])
    positions = np.concatenate([_counted(length) for length in lengths])
    order = np.argsort(owners, kind="stable")  # keeps positives before negatives, each in their own order
    items = pa.concat_arrays([one.flatten() for one in lists]).take(order)
    owner = owners[order]
    first = pc.list_element(whole(table["rows"]), 0).to_numpy()
    return FlatPassages(
        owner, positions[order], first[owner], order >= lengths[0].sum(),
        *(pc.struct_field(items, name) for name in ("docid", "title", "text", "cells")),
    )  # fmt: skip


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _counted(lengths: Ints) -> Ints:
    """0, 1, … for each list of these lengths."""
    ends = np.cumsum(lengths)
    return np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
