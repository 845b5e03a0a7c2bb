"""Stage 2 as an asynchronous `Dataset.map` transform: listwise rankings of the rows whose decision depends on one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pyarrow as pa

from arhn_hf.judges.asking import ROW
from arhn_hf.judges.base import Judge
from arhn_hf.methods.arhn import decide, needs_ranking
from arhn_hf.records import GROUNDED, Decision, Ranking
from arhn_hf.rules import Rules
from arhn_hf.stages.maps import together
from arhn_hf.stages.tables import rankings_table, to_answers, to_prepared, to_row
from arhn_hf.stages.treat import Treatments


def make_ranking(
    judge: Judge, treatments: Treatments, rules: Rules, *, rank_all: bool, report: Callable[[Sequence[Decision]], None]
) -> Callable[[pa.Table], Awaitable[pa.Table]]:
    """The transform from `ROWS` + `ANSWERS` to a `RANKINGS` table. `rank_all`: also rank passages without a snippet.

    `report` is called with what each finished row would be decided as, so that progress can say what a long run finds.
    """

    async def one(value: dict[str, Any]) -> list[Ranking]:
        row, prepared, answers, treatment = to_row(value), to_prepared(value), to_answers(value), treatments.of(value)
        ROW.set(row.index)
        rankings = [Ranking() for _ in answers]
        if needs_ranking(row, prepared, answers, treatment, rules):
            candidates = [
                i
                for i, settled in enumerate(prepared.outcome, start=len(row.positives))
                if settled is None and (rank_all or answers[i].status in GROUNDED)
            ]
            rankings = await judge.rank(row, value["criterion"], answers, candidates)
        report(decide(row, prepared, answers, rankings, treatment, rules, judge.orders))
        return rankings

    async def transform(table: pa.Table) -> pa.Table:
        return rankings_table(await together(one(value) for value in table.to_pylist()))

    return transform
