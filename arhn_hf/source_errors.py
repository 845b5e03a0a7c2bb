"""What goes wrong while a dataset is loaded, said in one line.

`datasets` wraps its readers' errors in its own, several deep, and names files of its cache instead of the user's.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from huggingface_hub.errors import HfHubHTTPError

from arhn_hf.jsonl_check import READ_ERRORS, first_fault
from arhn_hf.records import ArhnError, UsageError


def raise_fault(files: Iterable[Path], source: str, path: Path) -> None:
    """Raises where and why a data file is refused, if one of `files` is; other types than JSON and Parquet pass.

    Args:
        files: absolute paths.
        source: as the user wrote it, so that the message names files as the user knows them.
        path: the absolute path of `source`.

    Raises:
        UsageError: with the file and the line.
    """
    for file in files:
        where = source if file == path else str(Path(source) / file.relative_to(path))
        try:
            if file.suffix == ".parquet":
                pq.ParquetFile(file).close()
                continue
            if not any(end in (".json", ".jsonl") for end in file.suffixes):
                continue
            fault = first_fault(file)
        except READ_ERRORS as error:
            raise UsageError(f"cannot be read ({_one_line(error)})", where=where) from None
        except pa.ArrowException as error:
            raise UsageError(f"not a readable parquet file ({_one_line(error)})", where=where) from None
        if fault is not None:
            place = f"{where}:{fault.line}" if fault.unit == "line" else f"{where}, item {fault.line}"
            raise UsageError(fault.why, where=place, hint=f"Mend or remove that {fault.unit}")


def explained(error: Exception, source: str, name: str | None, split: str, options: dict[str, Any]) -> ArhnError:
    """What went wrong in `datasets`, as an error of ours; `options` are what its loader was called with."""
    chain = [error]
    while isinstance(cause := chain[-1].__cause__ or chain[-1].__context__, Exception) and cause not in chain:
        chain.append(cause)
    for link in chain:
        if isinstance(link, ConnectionError | TimeoutError | HfHubHTTPError) or _package(link).startswith("http"):
            return ArhnError(f"the Hub did not answer ({type(link).__name__})", where=source, hint="Try again")
        full = isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "Not enough disk space" in str(link):
            return ArhnError("the disk that holds the cache is full", where=source, hint="Make room, or set HF_HOME")
    text = _one_line(error)
    if "BuilderConfig" in text or "config name" in text.lower():
        names = _config_names(options)
        what = "it has several configurations" if name is None else f"no configuration {name!r}"
        return UsageError(what, where=source, hint=f"Choose one with --name: {', '.join(names)}" if names else None)
    if isinstance(error, FileNotFoundError) or type(error).__name__ == "EmptyDatasetError":
        return UsageError("it holds no data that load_dataset reads (jsonl, parquet, …)", where=source)
    if "corresponds to no data" in text or isinstance(error, StopIteration):
        return UsageError(f"split {split!r} has no rows", where=source)
    root = next((link for link in chain if isinstance(link, pa.ArrowException)), chain[-1])
    return UsageError(f"cannot be read as a dataset ({_one_line(root)[:300]})", where=source)


def check_texts(dataset: Dataset, source: str, files: list[Path], path: Path | None) -> None:
    """Refuses what is not UTF-8: neither Arrow's JSON reader nor its Parquet reader looks.

    Raises:
        UsageError: with the file and line of JSON, else the row and column.
    """
    row = 0
    for batch in dataset.data.table.to_batches():
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid:
            if path is not None:
                raise_fault(files, source, path)
            raise UsageError(_invalid_text(batch, row), where=source) from None
        row += batch.num_rows


def _invalid_text(batch: pa.RecordBatch, first_row: int) -> str:
    for name in batch.schema.names:
        for i in range(batch.num_rows):
            try:
                batch.column(name).slice(i, 1).validate(full=True)
            except pa.ArrowInvalid as error:
                return f"row {first_row + i}, column {name}: {' '.join(str(error).split())}"
    return f"invalid data in rows {first_row} to {first_row + batch.num_rows - 1}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _package(error: Exception) -> str:
    """The package an error comes from: the Hub's client has used httpx and httpx2, and exports neither."""
    return type(error).__module__.split(".")[0]


def _config_names(options: dict[str, Any]) -> list[str]:
    try:
        return [str(n) for n in datasets.get_dataset_config_names(options["path"], revision=options.get("revision"))]
    except Exception:  # noqa: BLE001 - the names only help: without them the message still says what is wrong
        return []
