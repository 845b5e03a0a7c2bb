"""Run the stages as `Dataset.map` transforms with the traps of `map` closed.

Explicit fingerprints and `load_from_cache_file=False`: `datasets`' own cache would replay rows whose judgement failed.
Arrow in, Arrow out: no decoding and re-encoding through `Features`. Work files stay in the run's own folder and go with
it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets import (
    Dataset,
    are_progress_bars_disabled,
    concatenate_datasets,
    disable_progress_bars,
    enable_progress_bars,
)
from datasets.utils import logging as datasets_logging

from arhn_hf.stages.finished import Finished
from arhn_hf.stages.tables import features

T = TypeVar("T")

# Each record batch of a work file costs some kilobytes of memory while the file is mapped, and small ones would make
# memory grow with the rows: in a large dataset several batches of a stage are written as one.
PURE_BATCH = 1000  # rows a batch in stages that only compute
ASKING_BATCH = 1000  # rows a batch in stages that await a judge, at most
_ASKING_PASSAGES = 5000  # passages a batch in stages that await a judge: fewer rows where rows are wide
_RECORD_BATCHES = 64  # from here on they grow and not their number, until one holds _MOST_TOGETHER batches
_MOST_TOGETHER = 4
_BYTES_TOGETHER = 32_000_000  # of the source
_BATCHES_AT_WORK = 4  # batches that await a judge at the same time: enough rows to keep any engine busy


class Maps:
    """Named maps over work files in `folder`, of a source whose rows have about `row_bytes` bytes (0: nothing is put together)."""

    finished: Finished | None = None
    """Where finished maps are marked; one that is marked already is not run again."""

    def __init__(self, folder: Path, run: str, row_bytes: int = 0) -> None:
        self._folder, self._run, self._row_bytes = folder, run, row_bytes

    def map(
        self, name: str, rows: Dataset, transform: Callable[..., Any], schema: pa.Schema, *, batch: int = PURE_BATCH,
        with_indices: bool = False,
    ) -> Dataset:  # fmt: skip
        """`transform` (sync or async, table → table of `schema`) over `rows`; the result holds the new columns only.

        Memory is bounded: an asynchronous transform has at most `_BATCHES_AT_WORK` batches of about `_ASKING_PASSAGES`
        passages.
        """
        if len(rows) == 0:
            return Dataset(schema.empty_table())
        file = self._folder / f"{name}.arrow"
        if (before := self._before(name, file)) is not None:
            return before
        if inspect.iscoroutinefunction(transform):
            batch = min(batch, _rows_holding(_ASKING_PASSAGES, rows))
        together = self._together(len(rows), batch)
        with _few_batches_at_work(), _rare_collections(), _first_error():
            made = rows.with_format("arrow").map(
                _in_parts(transform, batch), batched=True, batch_size=batch * together, with_indices=with_indices, features=features(schema),
                remove_columns=rows.column_names, load_from_cache_file=False, new_fingerprint=f"{self._run}{name}",
                cache_file_name=str(file), writer_batch_size=batch * together,
            )  # fmt: skip
        pa.default_memory_pool().release_unused()  # Arrow keeps what it has freed, a little more with every stage
        if self.finished is not None:
            self.finished.add(name, [file])
        return made.with_format(None)

    def _before(self, name: str, file: Path) -> Dataset | None:
        """What the same run had finished of this map; `None` too if its file is gone or damaged: then it is made again."""
        if self.finished is None or name not in self.finished.names:
            return None
        try:
            made = Dataset.from_file(str(file))
        except (OSError, pa.ArrowException):
            return None
        self.finished.take(name)
        return made

    def _together(self, rows: int, batch: int) -> int:
        """How many batches become one record batch."""
        room = _BYTES_TOGETHER // (batch * self._row_bytes) if self._row_bytes else 1
        return max(1, min(_MOST_TOGETHER, room, rows // (batch * _RECORD_BATCHES)))


def _in_parts(transform: Callable[..., Any], size: int) -> Callable[..., Any]:
    """`transform`, called with at most `size` rows at a time, whose tables become one."""

    def parts(table: pa.Table, indices: list[int] | None) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(table), size):
            part = table.slice(start, size)
            yield (part,) if indices is None else (part, indices[start : start + size])

    def joined(tables: list[pa.Table]) -> pa.Table:
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()

    async def in_turn(table: pa.Table, indices: list[int] | None = None) -> pa.Table:
        return joined([await transform(*part) for part in parts(table, indices)])

    def at_once(table: pa.Table, indices: list[int] | None = None) -> pa.Table:
        return joined([transform(*part) for part in parts(table, indices)])

    return in_turn if inspect.iscoroutinefunction(transform) else at_once


def _rows_holding(passages: int, rows: Dataset) -> int:
    """How many rows hold about this many passages."""
    held = sum(
        pc.sum(pc.list_value_length(chunk)).as_py() or 0
        for name in ("positives", "negatives")
        for chunk in rows.data.column(name).chunks
    )
    return max(1, passages * len(rows) // max(1, held))


@contextmanager
def _few_batches_at_work() -> Iterator[None]:
    """`datasets` keeps 1,000 asynchronous batches at work, so that they would have to be tiny; we ask for a few large
    ones."""
    before = datasets.config.MAX_NUM_RUNNING_ASYNC_MAP_FUNCTIONS_IN_PARALLEL
    datasets.config.MAX_NUM_RUNNING_ASYNC_MAP_FUNCTIONS_IN_PARALLEL = _BATCHES_AT_WORK
    try:
        yield
    finally:
        datasets.config.MAX_NUM_RUNNING_ASYNC_MAP_FUNCTIONS_IN_PARALLEL = before


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Batches are many small objects without cycles: looking for cycles after every 700 of them took a third of a run's
    time."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _first_error() -> Iterator[None]:
    """On a full disk `datasets` closes its file, and then fails to write its end: what failed first says why."""
    try:
        yield
    except ValueError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


async def together(rows: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Every row of a batch at once. When one fails the others are stopped, as none of them can be used any more."""
    tasks = [asyncio.ensure_future(row) for row in rows]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def beside(*parts: Dataset) -> Dataset:
    """Columns of several datasets over the same rows, as one dataset."""
    if len(parts[0]) == 0:  # `datasets` leaves empty ones out, with their columns
        return Dataset(pa.schema([field for part in parts for field in part.features.arrow_schema]).empty_table())
    return concatenate_datasets([part.with_format(None) for part in parts], axis=1)


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Silence `datasets`' own bars and warnings while a run shows its own progress; put them back afterwards.

    Also off: the request to the Hub with which `datasets` counts every load, of local files too.
    """
    bars, level = not are_progress_bars_disabled(), datasets_logging.get_verbosity()
    counts, datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, False
    disable_progress_bars()
    datasets_logging.set_verbosity_error()
    try:
        yield
    finally:
        if bars:
            enable_progress_bars()
        datasets_logging.set_verbosity(level)
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
