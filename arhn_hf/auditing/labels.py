"""Labels that people gave to passages, whatever form they come in: a field of the passages, a gold file, a second dataset.

All become a grade per source cell: 0 = not relevant, from `RELEVANT` on relevant (a false negative, among the negatives), between them
ambiguous. TREC's grades are read as they are.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from arhn_hf.formats import detect
from arhn_hf.records import Cell, UsageError
from arhn_hf.sources import load_source

RELEVANT = 2.0
WORDS: dict[str, float | None] = {
    "false_negative": 2.0, "relevant": 2.0, "positive": 2.0, "ambiguous": 1.0, "partial": 1.0, "clean": 0.0, "negative": 0.0,
    "not_relevant": 0.0, "irrelevant": 0.0, "duplicate": None,
}  # fmt: skip
"""What words mean as grades; a duplicate is neither right nor wrong to touch and is left out."""

Ids = Mapping[tuple[str, str], list[Cell]]
"""(query id, docid) → the source cells that hold the pair."""


@dataclass
class Labels:
    """Grades by source cell. `kind` and `name` say where from; `unjoined` counts labels that belong to no passage of the source,
    with up to three `examples`; `set_aside` those that are no grade (`duplicate`)."""

    kind: str
    name: str
    grades: dict[Cell, float] = field(default_factory=dict)
    unjoined: int = 0
    set_aside: int = 0
    examples: list[str] = field(default_factory=list)

    def miss(self, what: str) -> None:
        """Note a label that joins to nothing."""
        self.unjoined += 1
        if len(self.examples) < 3:
            self.examples.append(what)


def from_field(dataset: Dataset, name: str) -> Labels:
    """Grades that stand in the passages (`{"docid", "text", NAME}`), or in lists beside them (`neg_NAME`, `pos_NAME`).

    Raises `UsageError` if the negatives have no such field, or a value is no grade.
    """
    labels = Labels("field", name)
    columns = _columns(dataset, name)
    for column, (side, inside) in columns.items():
        row = 0
        for batch in dataset.select_columns([column]).iter(1000):
            for items in batch[column]:
                values = _values(items, name) if inside else items if isinstance(items, list) else [items]
                for position, value in enumerate(values or ()):
                    grade = as_grade(value, where=f"row {row}, {column}, item {position}")
                    if grade is not None:
                        labels.grades[Cell(row, side, position)] = grade
                row += 1
    return labels


def from_gold(path: str, ids: Ids) -> Labels:
    """A file of one JSON object a line with `query_id`, `docid` and `gold` or `grade`.

    Raises `UsageError` for a file that cannot be read, a pair with two different grades, or labels that join to nothing at all.
    """
    labels = Labels("file", Path(path).name)
    for number, item in _lines(path):
        where = f"{path}, line {number}"
        raw = item.get("gold", item.get("grade"))
        if "query_id" not in item or "docid" not in item or raw is None:
            raise UsageError("needs query_id, docid and gold or grade", where=where)
        _give(labels, ids, (str(item["query_id"]), str(item["docid"])), as_grade(raw, where=where), where)
    return _joined(labels, path)


def from_dataset(
    source: str, ids: Ids, *, name: str | None = None, split: str = "train", revision: str | None = None
) -> Labels:
    """A second dataset over the same rows, as `rlhn/rlhn-680K` is over `rlhn/default-680K`: a passage that is a positive there is
    relevant, one that is a negative there is clean; what is missing there has no label.

    Raises `UsageError` if the two share no pair of query id and docid.
    """
    loaded = load_source(source, name=name, split=split, revision=revision)
    form = detect(loaded.dataset.features, None, None)
    labels = Labels("dataset", loaded.label)
    for batch in loaded.dataset.with_format("arrow").iter(1000):
        for row in form.read(batch):
            for grade, passages in ((RELEVANT, row.positives), (0.0, row.negatives)):
                for passage in passages:
                    if row.query_id is None or passage.docid is None:
                        raise UsageError("has no query ids or docids to join on", where=source)
                    _give(labels, ids, (row.query_id, passage.docid), grade, f"{source}, query {row.query_id}")
    return _joined(labels, source)


def as_grade(value: Any, *, where: str) -> float | None:
    """A label as a grade; nothing, and `duplicate`, give `None`. Raises `UsageError` for anything else."""
    if value is None:
        return None
    if isinstance(value, bool):
        return RELEVANT if value else 0.0
    text = str(value).strip()
    word = text.casefold().replace(" ", "_").replace("-", "_")
    if word in WORDS:
        return WORDS[word]
    try:
        grade = float(text)
    except ValueError:
        raise UsageError(f"unknown label {value!r}", where=where, hint=f"Known: numbers, {', '.join(WORDS)}") from None
    if not math.isfinite(grade):
        raise UsageError(f"{value} is no grade", where=where)
    return grade


def _columns(dataset: Dataset, name: str) -> dict[str, tuple[Any, bool]]:
    """The columns that hold the grades → (positive or negative, whether inside the passages)."""
    found: dict[str, tuple[Any, bool]] = {}
    for column, feature in dataset.features.items():
        side = "negative" if column.startswith("neg") else "positive" if column.startswith("pos") else None
        item = getattr(feature, "feature", feature if isinstance(feature, dict) else None)
        if side and isinstance(item, dict) and name in item:
            found[column] = (side, True)
        elif side and column in (f"neg_{name}", f"pos_{name}", f"negative_{name}", f"positive_{name}"):
            found[column] = (side, False)
    if not any(side == "negative" for side, _ in found.values()):
        if name in dataset.features:
            raise UsageError(
                f"{name!r} is a column of the rows, not a field of the negatives", where="--grades",
                hint="Grades stand beside each passage: as its field, or as lists neg_NAME and pos_NAME",
            )  # fmt: skip
        raise UsageError(
            f"the negatives have no field {name!r}",
            where="--grades",
            hint=f"The columns are {', '.join(dataset.features)}",
        )
    return found


def _values(items: Any, name: str) -> list[Any]:
    """One field of a list of passages, which `datasets` gives as a list of structs or a struct of lists."""
    if isinstance(items, dict):
        return list(items[name] or ())
    return [None if item is None else item.get(name) for item in items or ()]


def _lines(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    file, number = Path(path).expanduser(), 0
    opener: Any = gzip.open if file.name.endswith(".gz") else open
    try:
        with opener(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    item = json.loads(line)
                    if not isinstance(item, dict):
                        raise UsageError("is not an object", where=f"{path}, line {number}")
                    yield number, item
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read ({error.__class__.__name__})", where=path) from error
    except json.JSONDecodeError as error:
        raise UsageError(f"is not JSON ({error.msg})", where=f"{path}, line {number}") from error


def _give(labels: Labels, ids: Ids, pair: tuple[str, str], grade: float | None, where: str) -> None:
    """One label to the cells of its pair."""
    cells = ids.get(pair)
    if cells is None:
        labels.miss(f"{pair[0]}, {pair[1]}")
        return
    if grade is None:
        labels.set_aside += 1
        return
    for cell in cells:
        before = labels.grades.setdefault(cell, grade)
        if before != grade:
            raise UsageError(
                f"query {pair[0]} and passage {pair[1]} have two grades, {before:g} and {grade:g}", where=where
            )


def _joined(labels: Labels, source: str) -> Labels:
    if not labels.grades:
        example = f", such as {labels.examples[0]}" if labels.examples else ""
        raise UsageError(
            f"none of {labels.unjoined} labels belongs to a passage of the judged source{example}", where=source,
            hint="They are joined on query_id and docid",
        )  # fmt: skip
    return labels
