"""Run the stages as `Dataset.map` transforms with the traps of `map` closed.

Explicit fingerprints and `load_from_cache_file=False`: `datasets`' own cache would replay rows whose judgement failed. Arrow in,
Arrow out: no decoding and re-encoding through `Features`. Work files stay in the run's own folder and go with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, are_progress_bars_disabled, concatenate_datasets, disable_progress_bars, enable_progress_bars
from datasets.utils import logging as datasets_logging

from arhn_hf.stages.tables import features

PURE_BATCH = 200  # rows a batch in stages that only compute
ASKING_BATCH = 8  # rows a batch in stages that await a judge: small, because 1,000 batches are in flight


class Maps:
    """Named maps over work files in `folder`."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._run = folder, run

    def map(
        self, name: str, rows: Dataset, transform: Callable[..., Any], schema: pa.Schema, *, batch: int = PURE_BATCH,
        with_indices: bool = False,
    ) -> Dataset:  # fmt: skip
        """`transform` (sync or async, table → table of `schema`) over `rows`; the result holds the new columns only."""
        if len(rows) == 0:
            return Dataset(schema.empty_table())
        return rows.with_format("arrow").map(
            transform, batched=True, batch_size=batch, with_indices=with_indices, features=features(schema),
            remove_columns=rows.column_names, load_from_cache_file=False, new_fingerprint=f"{self._run}{name}",
            cache_file_name=str(self._folder / f"{name}.arrow"), writer_batch_size=1000,
        ).with_format(None)  # fmt: skip


def beside(*parts: Dataset) -> Dataset:
    """Columns of several datasets over the same rows, as one dataset."""
    return concatenate_datasets([part.with_format(None) for part in parts], axis=1)


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Silence `datasets`' own bars and warnings while a run shows its own progress; put them back afterwards."""
    bars, level = not are_progress_bars_disabled(), datasets_logging.get_verbosity()
    disable_progress_bars()
    datasets_logging.set_verbosity_error()
    try:
        yield
    finally:
        if bars:
            enable_progress_bars()
        datasets_logging.set_verbosity(level)
