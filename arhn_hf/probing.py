"""Send a few real requests before a run, to say what the whole will take (`plan --probe N`).

Stage 1 and stage 2 of seeded rows go through the judge as in a run; nothing is kept. The interval comes from the spread between rows: it
knows nothing of a machine that slows down later.
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from arhn_hf.config import RunConfig
from arhn_hf.engines.closing import closing
from arhn_hf.judges.base import Judge
from arhn_hf.judges.opening import open_judge
from arhn_hf.judges.stalling import watched
from arhn_hf.methods.arhn import Treatment, needs_ranking
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import JudgeFactory
from arhn_hf.records import GROUNDED, Answer
from arhn_hf.stages.answers import wanted_passages
from arhn_hf.stages.tables import to_prepared, to_row
from arhn_hf.store import Store

PARTS = 5  # the probe's rows in equal parts: their speeds give the interval


def probe(
    rows: Dataset, config: RunConfig, requests: int, monitor: Monitor, factory: JudgeFactory = open_judge
) -> dict[str, Any]:
    """Judge seeded rows until `requests` requests are spent; `rows` is a `ROWS` dataset.

    Returns requests and rows sent, requests per second, rows per hour and hours for all rows, each with a 95 % interval where there
    are rows enough for one.
    """
    order = list(range(len(rows)))
    random.Random(f"probe\0{config.seed}").shuffle(order)
    chosen, spent = [], 0
    for number in order:
        value = rows[number]
        wanted = _wanted(value)
        if wanted:
            chosen.append(value)
            spent += len(wanted)
        if spent >= requests:
            break
    with tempfile.TemporaryDirectory(prefix="arhn-probe-") as scratch:
        store = Store(Path(scratch) / "store.sqlite")
        judge, asker = factory(config, store, monitor)
        try:
            with watched(asker, monitor, config), closing(*(one.engine for one in asker.everyone)):
                speeds = asyncio.run(_timed(judge, chosen, config))
        finally:
            store.close()
    return _estimate(speeds, len(chosen), asker.counts.sent, len(rows))


def _wanted(value: dict[str, Any]) -> list[int]:
    return wanted_passages(
        to_row(value), to_prepared(value), not_english=value["not_english"], criterion=value["criterion"]
    )


async def _timed(judge: Judge, chosen: Sequence[dict[str, Any]], config: RunConfig) -> list[float]:
    """Rows per second of each part, the rows of a part in flight together."""
    size = max(1, math.ceil(len(chosen) / PARTS))
    speeds = []
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        began = time.monotonic()
        await asyncio.gather(*(_row(judge, value, config) for value in part))
        speeds.append(len(part) / (time.monotonic() - began))
    return speeds


async def _row(judge: Judge, value: dict[str, Any], config: RunConfig) -> None:
    row, prepared = to_row(value), to_prepared(value)
    wanted = _wanted(value)
    answers = [Answer() for _ in row.passages]
    for i, answer in zip(wanted, await judge.answers(row, value["criterion"], wanted), strict=True):
        answers[i] = answer
    treatment = Treatment(ranks=config.variant_names != ("filter",))
    if needs_ranking(row, prepared, answers, treatment, config):
        candidates = [i for i in wanted if i >= len(row.positives) and answers[i].status in GROUNDED]
        await judge.rank(row, value["criterion"], answers, candidates)


def _estimate(speeds: list[float], rows: int, sent: int, total: int) -> dict[str, Any]:
    """Rows per hour and hours, from the mean speed of the parts (the first one also warms the engine up)."""
    mean = sum(speeds) / len(speeds)
    spread = (
        math.sqrt(sum((s - mean) ** 2 for s in speeds) / (len(speeds) - 1) / len(speeds)) if len(speeds) > 1 else None
    )
    low = None if spread is None else max(mean - 1.96 * spread, mean / 10)
    high = None if spread is None else mean + 1.96 * spread

    def span(*values: float | None) -> dict[str, float | None]:
        mean, low, high = (None if one is None else float(f"{one:.4g}") for one in values)
        return {"mean": mean, "low": low, "high": high}

    hour = 3600
    return {
        "requests": sent, "rows": rows,
        "rows_per_hour": span(mean * hour, low and low * hour, high and high * hour),
        "hours": span(total / mean / hour, high and total / high / hour, low and total / low / hour),
    }  # fmt: skip
