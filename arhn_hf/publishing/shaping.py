"""Shape a variant: a pure function of source, decided rows and format, so that `check` can repeat it value by value.

Rows that nothing touched are taken from the source as they are; only changed ones go through their format's `write`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features

from arhn_hf.formats.base import Format, Target
from arhn_hf.records import Cell, Document, OutRow, Placed, Row, SourceRow
from arhn_hf.stages.ondisk import Bytes, mapped, packed, unpacked
from arhn_hf.stages.tables import to_cells, to_row

BATCH = 500


@dataclass
class Shape:
    """What a variant is shaped by. `rows` has the columns of `ROWS`, `DECISIONS` and `PLACES`; `target` is set with
    `--to`; `count` is the number of negatives of an n-tuple."""

    source: Dataset
    form: Format
    rows: Dataset
    target: Target | None
    count: int | None

    @property
    def file_type(self) -> str:
        """`parquet` or `jsonl`."""
        return (self.target or self.form).file_type

    def features(self) -> Features:
        """The variant's features: the source's own, or the target schema's."""
        if self.target is None:
            return self.source.features
        columns = ("query_id", "subset", "instruction")
        has = {name: self.rows.data.column(name).null_count < len(self.rows) for name in columns}
        return self.target.features({**has, "negatives": self.count})

    def tables(self, variant: str) -> Iterator[pa.Table]:
        """The variant's rows in order, in tables of the source's Arrow schema (or the target's)."""
        schema = self.features().arrow_schema
        for table in self._converted(variant) if self.target else self._same(variant):
            if table.num_rows:
                yield table.cast(schema)
            pa.default_memory_pool().release_unused()  # Arrow keeps what it has freed, a little more with every table

    def _same(self, variant: str) -> Iterator[pa.Table]:
        """In the order of the source rows: what each row becomes, then, at a query's last row, what is added."""
        order = self._source_order()
        view = self.source.with_format("arrow")
        columns = ["rows", "positives", "negatives", "decisions", variant, f"{variant}_donors"]
        decided = self.rows.select_columns(columns).with_format("arrow")
        for start in range(0, len(order), BATCH):
            part, owners = unpacked(order[start : start + BATCH]).tolist()
            placed = self._placed(decided, owners, variant)
            kept: list[int] = []
            written: list[OutRow] = []
            mixed: list[tuple[bool, int]] = []
            for number, owner in zip(part, owners, strict=True):
                one = placed[owner]
                if one is None:
                    continue
                if isinstance(one, _Untouched):
                    mixed.append((True, len(kept)))
                    kept.append(number)
                    continue
                for out in self.form.emit(one, number):
                    mixed.append((False, len(written)))
                    written.append(out)
            pieces = []
            if kept:
                pieces.append(view[_compact(kept)])
            if written:
                pieces.append(self._write(view, written))
            if pieces:
                places = [i if same else len(kept) + i for same, i in mixed]
                table = pa.concat_tables([piece.cast(pieces[0].schema) for piece in pieces])
                yield table if places == list(range(len(places))) else table.take(pa.array(places))

    def _source_order(self) -> Bytes:
        """Source rows and the judged rows they belong to, packed and sorted by source row."""

        def pairs() -> Iterator[Bytes]:
            first = 0
            for chunk in self.rows.data.column("rows").chunks:
                owners = first + np.repeat(np.arange(len(chunk)), pc.list_value_length(chunk).to_numpy())
                yield packed(chunk.flatten().to_numpy(), owners)
                first += len(chunk)

        found = mapped(pairs(), "S16")
        found.sort()
        return found

    def _placed(self, decided: Dataset, owners: list[int], variant: str) -> dict[int, Placed | _Untouched | None]:
        unique = sorted(set(owners))
        values = decided[_compact(unique)].to_pylist()
        return {owner: _place(value, variant) for owner, value in zip(unique, values, strict=True)}

    def _write(self, view: Dataset, written: list[OutRow]) -> pa.Table:
        needed = {out.template for out in written}
        for out in written:
            needed.update(cell.row for cell in (*out.positives, *out.negatives))
        pool = sorted(needed)
        index = {number: i for i, number in enumerate(pool)}

        def moved(cells: list[Cell]) -> list[Cell]:
            return [Cell(index[c.row], c.label, c.position) for c in cells]

        local = [OutRow(index[o.template], moved(o.positives), moved(o.negatives)) for o in written]
        return self.form.write(view[_compact(pool)].combine_chunks(), local)

    def _converted(self, variant: str) -> Iterator[pa.Table]:
        """In the order of the judged rows. Invalid rows have no faithful form in another schema and are left out."""
        if self.target is None:
            raise ValueError("no target to convert to")
        schema = self.features().arrow_schema
        view = self.rows.with_format("arrow")
        for start in range(0, len(self.rows), BATCH):
            items: list[dict[str, Any]] = []
            for value in view[range(start, min(start + BATCH, len(self.rows)))].to_pylist():
                placed = None if value["invalid"] is not None else _place(value, variant)
                if placed is None:
                    continue
                row = to_row(value)
                query = SourceRow(row.query, [], [], row.query_id, row.subset, row.instruction)
                positives, negatives = self._documents(row, value, placed, variant)
                items += self.target.build(query, positives, negatives, self.count)
            yield pa.Table.from_pylist(items, schema=schema)

    def _documents(
        self, row: Row, value: dict[str, Any], placed: Placed | _Untouched, variant: str
    ) -> tuple[list[Document], list[Document]]:
        by_cell = {p.cells[0]: Document(p.docid, p.title, p.text) for p in row.passages}
        if isinstance(placed, _Untouched):
            positives, negatives, donors = [p.cells[0] for p in row.positives], [p.cells[0] for p in row.negatives], []
        else:
            positives, negatives, donors = placed.positives, placed.negatives, placed.donors
        found = [by_cell[cell] for cell in negatives]
        if donors:
            read = self.form.read(self.source.with_format("arrow")[[cell.row for cell in donors]])
            found += [one.negatives[cell.position] for one, cell in zip(read, donors, strict=True)]
        return [by_cell[cell] for cell in positives], found


class _Untouched:
    """A row whose every passage stays where it was."""


def _compact(numbers: list[int]) -> list[int] | range:
    """A range where the numbers are consecutive: `datasets` slices it without copying."""
    if numbers and numbers[-1] - numbers[0] + 1 == len(numbers):
        return range(numbers[0], numbers[-1] + 1)
    return numbers


def _place(value: dict[str, Any], variant: str) -> Placed | _Untouched | None:
    """What one decided row becomes in a variant: `None` if it is dropped."""
    where = value[variant]
    if "row_dropped" in where:
        return None
    donors = [Cell(d["row"], "negative", d["position"]) for d in value[f"{variant}_donors"]]
    count, index = len(value["positives"]), value["rows"][0]
    if not donors and where == ["positive"] * count + ["negative"] * (len(where) - count):
        return _Untouched()
    originals = to_cells(value["positives"], "positive", index)
    negatives = to_cells(value["negatives"], "negative", index)
    promoted = [i for i in range(len(negatives)) if where[count + i] == "positive"]
    promoted.sort(key=lambda i: (value["decisions"][count + i]["new_position"] or 0, i))
    new = [negatives[i] for i in promoted]
    left = [cells for i, cells in enumerate(negatives) if where[count + i] == "negative"]
    return Placed(
        rows=value["rows"],
        positives=[cells[0] for cells in (*originals, *new)],
        negatives=[cells[0] for cells in left],
        new_positives=[cells[0] for cells in new],
        promoted=frozenset(cell for cells in new for cell in cells),
        left=frozenset(cell for cells in left for cell in cells),
        donors=donors,
        originals=frozenset(cell for cells in originals for cell in cells),
    )
