"""What share of the negatives a cascade would leave to its LLM, foreseen by `plan`: the embedded reader reads a few rows.

Nothing is sent: the reader is in the package. It reads some dozen negatives a second, so a sample has to do.
"""

from __future__ import annotations

import math
import random
from typing import Any

from datasets import Dataset

from arhn_hf.config import RunConfig
from arhn_hf.judges.cascade import Band
from arhn_hf.judges.first_reads import first_reads
from arhn_hf.monitor import Monitor
from arhn_hf.records import Row
from arhn_hf.stages.answers import wanted_passages
from arhn_hf.stages.tables import to_prepared, to_row

READ = 300  # negatives that are read, about: some seconds


def share_left(rows: Dataset, config: RunConfig, monitor: Monitor) -> dict[str, Any]:
    """`read` negatives of `rows` seeded rows, and the `share` of them that the strong judge would read as `mean, low, high`:
    a 95 % interval over rows, null where there are too few. `rows` is a `ROWS` dataset."""
    order = list(range(len(rows)))
    random.Random(f"cascade\0{config.seed}").shuffle(order)
    chosen: list[tuple[Row, str, list[int]]] = []
    count = 0
    for number in order:
        value = rows[number]
        row = to_row(value)
        wanted = wanted_passages(
            row, to_prepared(value), not_english=value["not_english"], criterion=value["criterion"]
        )
        if wanted:
            chosen.append((row, value["criterion"], wanted[len(row.positives) :]))
            count += len(chosen[-1][2])
        if count >= READ:
            break
    band = Band(config.cascade_low, config.cascade_high)
    monitor.begin("reading a sample", len(chosen))
    parts = [
        (len(read), sum(band.settles(one) is None for one in read))
        for read in first_reads(chosen, max_chunks=config.max_chunks, monitor=monitor)
    ]
    return {"rows": len(chosen), "read": count, "share": _ratio(parts)}


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
