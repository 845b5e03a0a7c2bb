"""What the reader in front of a cascade makes of some passages, without a run: to foresee a cascade, and to fit its band."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from arhn_hf.judges.asking import Asker
from arhn_hf.judges.cascade import read_first
from arhn_hf.judges.reader import ReaderJudge
from arhn_hf.monitor import Monitor
from arhn_hf.records import Answer, Row
from arhn_hf.store import Store

_TOGETHER = 64  # rows at a time: progress moves, and an interruption is heard


def first_reads(
    asked: Sequence[tuple[Row, str, Sequence[int]]], *, max_chunks: int, monitor: Monitor
) -> Iterator[list[Answer]]:
    """For each row, criterion and wanted indices the reader's answers, as `Band.settles` takes them; what a cascade would
    not let it read is `not_judged`. `monitor` advances by a row each."""
    from arhn_hf.engines.reader import ReaderEngine

    with tempfile.TemporaryDirectory(prefix="arhn-cascade-") as scratch:
        store = Store(Path(scratch) / "store.sqlite")
        asker = Asker(ReaderEngine(), store, max_in_flight=1024, stop=monitor.stop)
        monitor.on_interrupt.append(asker.interrupt)
        reader = ReaderJudge(asker, threshold=0.0, max_chunks=max_chunks)

        async def one(row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
            first = read_first(row, criterion, wanted)
            read = dict(zip(first, await reader.answers(row, criterion, first), strict=True))
            return [read.get(i, Answer()) for i in wanted]

        async def several(some: Sequence[tuple[Row, str, Sequence[int]]]) -> list[list[Answer]]:
            return list(await asyncio.gather(*(one(*each) for each in some)))

        try:
            for start in range(0, len(asked), _TOGETHER):
                found = asyncio.run(several(asked[start : start + _TOGETHER]))
                monitor.advance(len(found))
                yield from found
        finally:
            monitor.on_interrupt.remove(asker.interrupt)
            asker.engine.close()
            store.close()
