"""Rebuilding list columns by index, at Arrow level.

A refined row is the source's own passages in another arrangement. Taking them by index from the flattened list,
instead of through Python objects, keeps every nested field, its order, its type and its value as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arhn_hf.records import Cell, Label


class Pick(NamedTuple):
    """One list to write: the row whose list it replaces, its cells, and whether they are just that row's list again."""

    template: int
    cells: Sequence[Cell]
    untouched: bool


class Bounds(NamedTuple):
    """Where each row's items lie in a list array's `values`, and whether its list is there at all (not null)."""

    starts: list[int]
    stops: list[int]
    valid: list[bool]


def bounds(array: pa.Array) -> Bounds:
    """The extents of a list array; a null list is empty, whatever its offsets say."""
    if len(array) == 0:
        return Bounds([], [], [])
    offsets = array.offsets.to_numpy()
    starts, stops = offsets[:-1], offsets[1:]
    valid = np.ones(len(array), bool)
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        stops = np.where(valid, stops, starts)
    return Bounds(starts.tolist(), stops.tolist(), valid.tolist())


def item_slice(array: pa.Array) -> tuple[pa.Array, Bounds]:
    """The items that the rows of a list array refer to, and their bounds within them.

    A slice of a large table refers to all of its values: cutting them first keeps reading a batch as cheap as the
    batch.
    """
    extents = bounds(array)
    if not extents.starts:
        return array.values[:0], extents
    first = extents.starts[0]
    values = array.values.slice(first, max(extents.stops[-1], extents.starts[-1]) - first)
    return values, Bounds([s - first for s in extents.starts], [s - first for s in extents.stops], extents.valid)


def picks(lengths: Bounds, label: Label, rows: Sequence[tuple[int, Sequence[Cell]]]) -> list[Pick]:
    """Marks which (template, cells) pairs are the template's own list, whole and in order.

    Lists that run beside the passages (scores) are then copied as they are, even where their length does not fit.
    """
    made = []
    for template, cells in rows:
        own = len(cells) == lengths.stops[template] - lengths.starts[template] and all(
            cell == (template, label, i) for i, cell in enumerate(cells)
        )
        made.append(Pick(template, cells, own))
    return made


def align(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Values as another type: struct fields by name, missing ones null, fields unknown to `kind` left out.

    A single value that the type cannot hold becomes null: decided value by value, so that the outcome never depends on
    which other rows happen to be in the batch.
    """
    if values.type == kind:
        return values
    if pa.types.is_struct(values.type) and pa.types.is_struct(kind):
        have = {values.type.field(i).name: i for i in range(values.type.num_fields)}
        fields = [kind.field(i) for i in range(kind.num_fields)]
        children = [
            align(values.field(have[f.name]), f.type) if f.name in have else pa.nulls(len(values), f.type)
            for f in fields
        ]
        return pa.StructArray.from_arrays(children, fields=fields, mask=values.is_null())
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return pa.concat_arrays([_cast_one(values.slice(i, 1), kind) for i in range(len(values))])


def _cast_one(value: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return value.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return pa.nulls(1, kind)


def gather(
    own: pa.Array,
    other: pa.Array | None,
    label: Label,
    lists: Sequence[Pick],
    *,
    beside: bool = False,
    foreign: bool = True,
) -> pa.Array:
    """A list array of `own`'s type whose lists hold the picked cells.

    Args:
        own: the column of the cells that carry `label`.
        other: the column of the other cells (negatives that became positives), or `None` if there is none.
        lists: what to write, a list each.
        beside: the column runs beside the passages (scores, ids): a null list of the template stays null, a cell it
            does not reach is null. Otherwise every cell must exist.
        foreign: whether a cell of another row than the template brings its item along (a score of another query
            does not).

    Raises:
        IndexError: a cell that does not exist, unless `beside`.
    """
    mine, theirs = bounds(own), bounds(other) if other is not None else None
    count = len(own.values)
    index: list[int | None] = []
    moved: list[int] = []
    offsets, null = [0], []
    for template, cells, untouched in lists:
        present, begin = mine.valid[template], len(index)
        if untouched:
            index.extend(range(mine.starts[template], mine.stops[template]))
        elif present or not beside:
            for row, cell_label, position in cells:
                extents = mine if cell_label == label else theirs
                at = extents.starts[row] + position if extents is not None else 0
                if extents is None or at >= extents.stops[row] or not (foreign or row == template):
                    if not beside:
                        raise IndexError(f"no {cell_label} {position} in row {row}")
                    index.append(None)
                elif extents is mine:
                    index.append(at)
                else:
                    index.append(count + len(moved))
                    moved.append(at)
            if beside and all(at is None for at in index[begin:]):
                del index[begin:]
        null.append(not present and len(index) == begin)
        offsets.append(len(index))
    values = own.values
    if moved and other is not None:
        values = pa.concat_arrays([values, align(other.values.take(pa.array(moved, pa.int64())), own.type.value_type)])
    items = values.take(pa.array(index, pa.int64()))
    large = pa.types.is_large_list(own.type)
    make = pa.LargeListArray if large else pa.ListArray
    positions = pa.array(offsets, pa.int64() if large else pa.int32())
    return make.from_arrays(positions, items, type=own.type, mask=pa.array(null, pa.bool_()) if any(null) else None)


def gather_columns(own: pa.Array, other: pa.Array | None, label: Label, lists: Sequence[Pick]) -> pa.Array:
    """`gather` for the older layout of nested lists, a struct of lists that run in parallel (one child per field)."""
    if not pa.types.is_struct(own.type):
        return gather(own, other, label, lists)
    known = {other.type.field(i).name for i in range(other.type.num_fields)} if other is not None else set()
    fields = [own.type.field(i) for i in range(own.type.num_fields)]
    children = [
        gather(
            pc.struct_field(own, field.name),
            pc.struct_field(other, field.name) if field.name in known else None,
            label,
            lists,
            beside=field.name != "text",
        )
        for field in fields
    ]
    present = own.is_valid().to_pylist()
    null = pa.array([not present[pick.template] and not pick.cells for pick in lists], pa.bool_())
    return pa.StructArray.from_arrays(children, fields=fields, mask=null)
