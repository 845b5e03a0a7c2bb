"""The evidence: one row per source passage, from which every variant can be derived again without a judge.

Version 1 of the contract. Sorted by `row`, positives before negatives, `position`. Readers tolerate extra trailing
columns.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from arhn_hf.records import VARIANTS, Answer, Placement, Ranking
from arhn_hf.stages.flat import flat_passages, whole
from arhn_hf.stages.ondisk import BLOCK, Bytes, mapped, packed, unpacked
from arhn_hf.stages.tables import answers_table, rankings_table, to_row
from arhn_hf.text import text_sha256

EVIDENCE_VERSION = 1
BATCH = 500
_PLACEMENTS = pa.list_(pa.struct([("window", pa.int32()), ("order", pa.int32()), ("rank", pa.int32())]))
EVIDENCE = pa.schema(
    [
        ("row", pa.int64()), ("query_id", pa.string()), ("subset", pa.string()), ("docid", pa.string()),
        ("label", pa.string()), ("position", pa.int32()), ("text_sha256", pa.string()), ("judge", pa.string()),
        ("answer_status", pa.string()), ("snippet", pa.string()), ("snippet_field", pa.string()),
        ("snippet_start", pa.int32()), ("snippet_end", pa.int32()), ("truncated", pa.bool_()),
        ("answer_score", pa.float32()), ("rank_status", pa.string()), ("rank", pa.float32()),
        ("placements", _PLACEMENTS), ("votes_above", pa.int16()), ("votes", pa.int16()), ("action", pa.string()),
        ("reason", pa.string()),
        ("in_combined", pa.string()), ("in_relabel", pa.string()), ("in_filter", pa.string()),
    ]
)  # fmt: skip


def evidence_table(table: pa.Table, judge: str) -> pa.Table:
    """Evidence of judged rows: a table with the columns of all stages → one row per source cell, sorted within each
    judged row. `judge` is the name of the run's judge, for answers that name none.

    Column by column, since a dataset has many more passages than rows.
    """
    passages = flat_passages(table)
    answers, rankings, decisions = (whole(table[name]).flatten() for name in ("answers", "rankings", "decisions"))
    titles, texts = passages.title.to_pylist(), passages.text.to_pylist()
    digests = pa.array([text_sha256(*one) for one in zip(titles, texts, strict=True)], pa.string())
    has_docid = pc.fill_null(pc.not_equal(passages.docid, ""), False)
    status = pc.struct_field(answers, "status")
    by = pc.coalesce(pc.struct_field(answers, "judge"), pa.scalar(judge))
    seen = pc.invert(pc.is_in(status, pa.array(["not_judged", "invalid_row"])))
    columns = {
        "query_id": whole(table["query_id"]).take(passages.owner),
        "subset": whole(table["subset"]).take(passages.owner),
        "docid": pc.if_else(has_docid, passages.docid, digests), "label": passages.label, "text_sha256": digests,
        "judge": pc.if_else(seen, by, pa.scalar(None, pa.string())), "answer_status": status,
        **{name: pc.struct_field(answers, field) for name, field in _OF_ANSWER.items()},
        "rank_status": pc.struct_field(rankings, "status"), "placements": pc.struct_field(rankings, "placements"),
        **{name: pc.struct_field(decisions, name) for name in ("rank", "votes_above", "votes", "action", "reason")},
        **{f"in_{name}": _flat_or_null(table[name], len(digests)) for name in VARIANTS},
    }  # fmt: skip
    cells = passages.cells()
    per_passage = pa.table(columns).take(cells.passage)
    for name, values in (("row", cells.row), ("position", cells.position)):
        per_passage = per_passage.append_column(name, values)
    return per_passage.select(EVIDENCE.names).cast(EVIDENCE)


_OF_ANSWER = {
    "snippet": "snippet", "snippet_field": "field", "snippet_start": "start", "snippet_end": "end",
    "truncated": "truncated", "answer_score": "score",
}  # fmt: skip


def _flat_or_null(column: pa.ChunkedArray, length: int) -> pa.Array:
    """Places of a variant, or nulls if it is not written."""
    return pa.nulls(length, pa.string()) if column.null_count else whole(column).flatten()


def make_evidence(judge: str) -> Callable[[pa.Table], pa.Table]:
    """The batched transform from all stages' columns to an evidence table (more rows than it was given)."""

    def transform(table: pa.Table) -> pa.Table:
        return evidence_table(table, judge)

    return transform


def in_order(evidence: Dataset) -> Iterator[pa.Table]:
    """Evidence tables sorted as the contract says: already so for formats with lists, re-ordered where groups are
    spread."""
    view = evidence.with_format("arrow")
    if _ascending(evidence.data.column("row")):
        yield from view.iter(BATCH * 8)
        return
    order = mapped(_keys(evidence), "S32")
    order.sort()
    for start in range(0, len(order), BATCH * 8):
        yield view[unpacked(order[start : start + BATCH * 8])[3].tolist()]


def _keys(evidence: Dataset) -> Iterator[Bytes]:
    """Row, whether it is a negative, position and place of every cell, packed to be sorted."""
    done = 0
    for batch in evidence.select_columns(["row", "label", "position"]).with_format("arrow").iter(BLOCK):
        negative = pc.not_equal(whole(batch["label"]), "positive").cast(pa.int64())
        columns = (whole(batch["row"]), negative, whole(batch["position"]).cast(pa.int64()))
        yield packed(*(one.to_numpy() for one in columns), np.arange(done, done + len(batch)))
        done += len(batch)


def _ascending(column: pa.ChunkedArray) -> bool:
    """Whether numbers never get smaller, looked at chunk by chunk."""
    last = 0
    for chunk in column.chunks:
        numbers = np.concatenate([[last], chunk.to_numpy()])
        if np.any(numbers[1:] < numbers[:-1]):
            return False
        last = numbers[-1]
    return True


class StoredEvidence:
    """Look stored evidence up by source cell, to derive or check without a judge. A judge that is none of `judges` is
    forgotten: then the run's own stands there again, and `check` sees the difference."""

    def __init__(self, evidence: Dataset, judges: Container[str]) -> None:
        self._judges = judges
        self._view = evidence.with_format("arrow")
        self._rows = mapped((chunk.to_numpy() for chunk in evidence.data.column("row").chunks), np.int64)

    def of(self, numbers: Sequence[int]) -> dict[tuple[int, str, int], dict[str, Any]]:
        """Evidence of the given source rows, by (row, label, position); a repeated cell keeps its last."""
        found = {}
        for number in numbers:
            low, high = np.searchsorted(self._rows, [number, number + 1])
            if high > low:
                for item in self._view[range(int(low), int(high))].to_pylist():
                    found[item["row"], item["label"], item["position"]] = item
        return found

    def make_answers(self) -> Callable[[pa.Table], pa.Table]:
        """The transform from `ROWS` to `ANSWERS` that reads the evidence instead of asking a judge."""

        def transform(table: pa.Table) -> pa.Table:
            return answers_table(
                [[stored_answer(one, self._judges) for one in self.of_row(value)] for value in table.to_pylist()]
            )

        return transform

    def make_rankings(self) -> Callable[[pa.Table], pa.Table]:
        """The transform from `ROWS` to `RANKINGS` that reads the evidence."""

        def transform(table: pa.Table) -> pa.Table:
            return rankings_table([[stored_ranking(one) for one in self.of_row(value)] for value in table.to_pylist()])

        return transform

    def of_row(self, value: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Evidence of one `ROWS` item's passages, positives first; `None` where there is none."""
        row = to_row(value)
        found = self.of(row.rows)
        return [found.get((p.cells[0].row, p.label, p.cells[0].position)) for p in row.passages]


def stored_answer(item: dict[str, Any] | None, judges: Container[str]) -> Answer:
    """The answer that a row of the evidence holds; of none, that nobody judged. `judges` are the names that may stand there."""
    if item is None:
        return Answer()
    judge = item["judge"] if item["judge"] in judges else None
    return Answer(
        item["answer_status"], item["snippet"], item["snippet_field"], item["snippet_start"], item["snippet_end"],
        item["answer_score"], item["truncated"], judge,
    )  # fmt: skip


def stored_ranking(item: dict[str, Any] | None) -> Ranking:
    """The ranking that a row of the evidence holds; of none, that nobody ranked."""
    if item is None:
        return Ranking()
    return Ranking(item["rank_status"], [Placement(p["window"], p["order"], p["rank"]) for p in item["placements"]])


def evidence_files(folder: Path) -> list[Path]:
    """The evidence parquet files of a folder, in order."""
    return sorted((folder / "evidence").glob("train-*.parquet"))
