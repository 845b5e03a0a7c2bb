"""The Arrow shapes of what the stages hand to each other, and the way back into records.

Every stage is a `Dataset.map` over the same rows that adds its own columns; none rewrites the passages. Work files hold
judged rows (one per query where the format spreads a query over several source rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets import Features

from arhn_hf.methods.duplicates import Prepared
from arhn_hf.records import Answer, Cell, Decision, Label, Passage, Placement, Ranking, Row

_CELL = pa.struct([("row", pa.int64()), ("position", pa.int32())])
_PASSAGE = pa.struct(
    [("docid", pa.string()), ("title", pa.string()), ("text", pa.string()), ("cells", pa.list_(_CELL))]
)
_PLACEMENT = pa.struct([("window", pa.int32()), ("order", pa.int32()), ("rank", pa.int32())])

ROWS = pa.schema(
    [
        ("rows", pa.list_(pa.int64())), ("query_id", pa.string()), ("subset", pa.string()), ("query", pa.string()),
        ("instruction", pa.string()), ("invalid", pa.string()), ("criterion", pa.string()), ("not_english", pa.bool_()),
        ("positives", pa.list_(_PASSAGE)), ("negatives", pa.list_(_PASSAGE)),
        ("settled", pa.list_(pa.string())), ("cluster", pa.list_(pa.int32())),
    ]
)  # fmt: skip
ANSWERS = pa.schema(
    [
        (
            "answers",
            pa.list_(
                pa.struct(
                    [
                        ("status", pa.string()), ("snippet", pa.string()), ("field", pa.string()),
                        ("start", pa.int32()), ("end", pa.int32()), ("score", pa.float32()), ("truncated", pa.bool_()),
                        ("judge", pa.string()),
                    ]
                )
            ),
        ),
    ]
)  # fmt: skip
RANKINGS = pa.schema(
    [("rankings", pa.list_(pa.struct([("status", pa.string()), ("placements", pa.list_(_PLACEMENT))])))]
)
DECISIONS = pa.schema(
    [
        (
            "decisions",
            pa.list_(
                pa.struct(
                    [
                        ("action", pa.string()), ("reason", pa.string()), ("votes_above", pa.int16()),
                        ("votes", pa.int16()), ("rank", pa.float32()), ("new_position", pa.int32()),
                    ]
                )
            ),
        ),
    ]
)  # fmt: skip
_CELLS = pa.list_(_CELL)
PLACES = pa.schema(
    [
        ("combined", pa.list_(pa.string())), ("relabel", pa.list_(pa.string())), ("filter", pa.list_(pa.string())),
        ("combined_donors", _CELLS), ("relabel_donors", _CELLS), ("filter_donors", _CELLS),
    ]
)  # fmt: skip


def features(schema: pa.Schema) -> Features:
    """The schema as `datasets` wants it."""
    return Features.from_arrow_schema(schema)


def to_cells(passages: Sequence[dict[str, Any]], label: Label, index: int) -> list[list[Cell]]:
    """The source cells of each of a row's positives or negatives; `index` is the row's first source row."""
    return [
        [Cell(index, label, position)]
        if passage["cells"] is None
        else [Cell(cell["row"], label, cell["position"]) for cell in passage["cells"]]
        for position, passage in enumerate(passages)
    ]


def _passages(values: Sequence[dict[str, Any]], label: Label, index: int) -> list[Passage]:
    return [
        Passage(label, position, value["title"], value["text"], value["docid"], cells)
        for position, (value, cells) in enumerate(zip(values, to_cells(values, label, index), strict=True))
    ]


def to_row(value: dict[str, Any]) -> Row:
    """A judged row from one item of a `ROWS` table."""
    index = value["rows"][0]
    return Row(
        index, value["rows"], value["query"], _passages(value["positives"], "positive", index),
        _passages(value["negatives"], "negative", index), value["query_id"], value["subset"], value["instruction"],
        value["invalid"],
    )  # fmt: skip


def to_prepared(value: dict[str, Any]) -> Prepared:
    """The settled outcomes and clusters of one item of a `ROWS` table."""
    settled: list[tuple[str, str] | None] = []
    for item in value["settled"]:
        action, _, reason = (item or "").partition("/")
        settled.append((action, reason) if item else None)
    return Prepared(settled, value["cluster"])


def to_answers(value: dict[str, Any]) -> list[Answer]:
    """Answers of one item of an `ANSWERS` table."""
    return [Answer(**one) for one in value["answers"]]


def to_rankings(value: dict[str, Any]) -> list[Ranking]:
    """Rankings of one item of a `RANKINGS` table."""
    return [Ranking(one["status"], [Placement(**p) for p in one["placements"]]) for one in value["rankings"]]


def to_decisions(value: dict[str, Any]) -> list[Decision]:
    """Decisions of one item of a `DECISIONS` table."""
    return [Decision(**one) for one in value["decisions"]]


def answers_table(records: Sequence[Sequence[Answer]]) -> pa.Table:
    """An `ANSWERS` table: a list of answers per row."""
    return _one_column(
        ANSWERS,
        [
            [
                {
                    "status": a.status, "snippet": a.snippet, "field": a.field, "start": a.start, "end": a.end,
                    "score": a.score, "truncated": a.truncated, "judge": a.judge,
                }
                for a in row
            ]
            for row in records
        ],
    )  # fmt: skip


def rankings_table(records: Sequence[Sequence[Ranking]]) -> pa.Table:
    """A `RANKINGS` table: a list of rankings per row."""
    return _one_column(
        RANKINGS,
        [
            [
                {
                    "status": r.status,
                    "placements": [{"window": p.window, "order": p.order, "rank": p.rank} for p in r.placements],
                }
                for r in row
            ]
            for row in records
        ],
    )


def decisions_table(records: Sequence[Sequence[Decision]]) -> pa.Table:
    """A `DECISIONS` table: a list of decisions per row."""
    return _one_column(
        DECISIONS,
        [
            [
                {
                    "action": d.action, "reason": d.reason, "votes_above": d.votes_above, "votes": d.votes,
                    "rank": d.rank, "new_position": d.new_position,
                }
                for d in row
            ]
            for row in records
        ],
    )  # fmt: skip


def _one_column(schema: pa.Schema, values: list[list[dict[str, Any]]]) -> pa.Table:
    return pa.table([pa.array(values, type=schema.field(0).type)], schema=schema)
