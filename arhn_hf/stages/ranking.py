"""Stage 2 as an asynchronous `Dataset.map` transform: listwise rankings of the rows whose decision depends on one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pyarrow as pa

from arhn_hf.judges.base import Judge
from arhn_hf.methods.arhn import needs_ranking
from arhn_hf.records import GROUNDED, Ranking
from arhn_hf.rules import Rules
from arhn_hf.stages.maps import together
from arhn_hf.stages.tables import rankings_table, to_answers, to_prepared, to_row
from arhn_hf.stages.treat import Treatments


def make_ranking(
    judge: Judge, treatments: Treatments, rules: Rules, *, rank_all: bool, report: Callable[[int], None]
) -> Callable[[pa.Table], Awaitable[pa.Table]]:
    """The transform from `ROWS` + `ANSWERS` to a `RANKINGS` table. `rank_all`: also rank passages without a snippet."""

    async def one(value: dict[str, Any]) -> list[Ranking]:
        rankings = await _row_rankings(judge, value, treatments, rules, rank_all)
        report(1)
        return rankings

    async def transform(table: pa.Table) -> pa.Table:
        return rankings_table(await together(one(value) for value in table.to_pylist()))

    return transform


async def _row_rankings(
    judge: Judge, value: dict[str, Any], treatments: Treatments, rules: Rules, rank_all: bool
) -> list[Ranking]:
    answers, prepared = to_answers(value), to_prepared(value)
    count = len(value["positives"])
    treatment = treatments.of(value)
    row = to_row(value)
    if not needs_ranking(row, prepared, answers, treatment, rules):
        return [Ranking() for _ in answers]
    candidates = [
        count + i
        for i, settled in enumerate(prepared.outcome)
        if settled is None and (rank_all or answers[count + i].status in GROUNDED)
    ]
    return await judge.rank(row, value["criterion"], answers, candidates)
