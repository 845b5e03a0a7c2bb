"""Stage 1 as an asynchronous `Dataset.map` transform: an answer snippet, or none, for every passage that needs one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pyarrow as pa

from arhn_hf.judges.asking import ROW
from arhn_hf.judges.base import Judge
from arhn_hf.methods.duplicates import Prepared
from arhn_hf.records import Answer, Row
from arhn_hf.stages.maps import together
from arhn_hf.stages.tables import answers_table, to_prepared, to_row


def wanted_passages(row: Row, prepared: Prepared, *, not_english: bool, criterion: str) -> list[int]:
    """Indices into `row.passages` that stage 1 must read: the positives and the unsettled negatives, if there are any
    of those."""
    if row.invalid is not None or criterion == "skip" or not_english:
        return []
    count = len(row.positives)
    open_ones = [count + i for i, settled in enumerate(prepared.outcome) if settled is None]
    return [*range(count), *open_ones] if open_ones else []


def make_answers(judge: Judge, report: Callable[[int], None]) -> Callable[[pa.Table], Awaitable[pa.Table]]:
    """The transform from a `ROWS` table to an `ANSWERS` table. `report` is called with the number of rows finished.

    All rows of a batch ask at once; the asker's own limit bounds what is with the engine.
    """

    async def one(value: dict[str, Any]) -> list[Answer]:
        answers = await _row_answers(judge, value)
        report(1)
        return answers

    async def transform(table: pa.Table) -> pa.Table:
        return answers_table(await together(one(value) for value in table.to_pylist()))

    return transform


async def _row_answers(judge: Judge, value: dict[str, Any]) -> list[Answer]:
    row = to_row(value)
    ROW.set(row.index)
    wanted = wanted_passages(row, to_prepared(value), not_english=value["not_english"], criterion=value["criterion"])
    answers = [Answer("invalid_row" if row.invalid is not None else "not_judged") for _ in row.passages]
    if wanted:
        for i, answer in zip(wanted, await judge.answers(row, value["criterion"], wanted), strict=True):
            answers[i] = answer
    return answers
