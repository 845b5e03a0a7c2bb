"""What share of the negatives a cascade would leave to its LLM, foreseen by `plan`: the embedded reader reads a few rows.

Nothing is sent: the reader is in the package. It reads some dozen negatives a second, so a sample has to do.
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset

from arhn_hf.config import RunConfig
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.cascade import Band, read_first
from arhn_hf.judges.reader import ReaderJudge
from arhn_hf.monitor import Monitor
from arhn_hf.records import Answer
from arhn_hf.stages.answers import wanted_passages
from arhn_hf.stages.tables import to_prepared, to_row
from arhn_hf.store import Store

READ = 300  # negatives that are read, about: some seconds


def share_left(rows: Dataset, config: RunConfig, monitor: Monitor) -> dict[str, Any]:
    """`read` negatives of `rows` seeded rows, and the `share` of them that the strong judge would read as `mean, low, high`:
    a 95 % interval over rows, null where there are too few. `rows` is a `ROWS` dataset."""
    order = list(range(len(rows)))
    random.Random(f"cascade\0{config.seed}").shuffle(order)
    chosen: list[dict[str, Any]] = []
    count = 0
    for number in order:
        value = rows[number]
        wanted = _negatives(value)
        if wanted:
            chosen.append(value)
            count += len(wanted)
        if count >= READ:
            break
    band = Band(config.cascade_low, config.cascade_high)
    parts = [(len(read), sum(band.settles(one) is None for one in read)) for read in _read(chosen, config, monitor)]
    return {"rows": len(chosen), "read": count, "share": _ratio(parts)}


def _negatives(value: dict[str, Any]) -> list[int]:
    row = to_row(value)
    wanted = wanted_passages(row, to_prepared(value), not_english=value["not_english"], criterion=value["criterion"])
    return [i for i in wanted if i >= len(row.positives)]


def _read(chosen: list[dict[str, Any]], config: RunConfig, monitor: Monitor) -> list[list[Answer]]:
    """What the reader makes of each row's negatives; those that it would not read first are `not_judged`."""
    from arhn_hf.engines.reader import ReaderEngine

    with tempfile.TemporaryDirectory(prefix="arhn-cascade-") as scratch:
        store = Store(Path(scratch) / "store.sqlite")
        asker = Asker(ReaderEngine(), store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        monitor.on_interrupt.append(asker.interrupt)
        reader = ReaderJudge(asker, threshold=0.0, max_chunks=config.max_chunks)

        async def one(value: dict[str, Any]) -> list[Answer]:
            row, wanted = to_row(value), _negatives(value)
            first = read_first(row, value["criterion"], wanted)
            return await reader.answers(row, value["criterion"], first) if first else [Answer() for _ in wanted]

        async def every() -> list[list[Answer]]:
            return list(await asyncio.gather(*(one(value) for value in chosen)))

        try:
            return asyncio.run(every())
        finally:
            asker.close()
            store.close()


def _ratio(parts: list[tuple[int, int]]) -> dict[str, float | None]:
    """Left ÷ read over rows, with the interval of a ratio estimator (Cochran, Sampling Techniques, 1977, chapter 6)."""
    read, left = sum(n for n, _ in parts), sum(k for _, k in parts)
    if not read:
        return {"mean": None, "low": None, "high": None}
    share = left / read
    if len(parts) < 2:
        return {"mean": round(share, 4), "low": None, "high": None}
    spread = sum((k - share * n) ** 2 for n, k in parts) / (len(parts) - 1) * len(parts)
    half = 1.96 * math.sqrt(spread) / read
    return {"mean": round(share, 4), "low": round(max(0.0, share - half), 4), "high": round(min(1.0, share + half), 4)}
