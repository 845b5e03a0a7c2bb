"""Numbers that grow with the rows, kept in files and mapped into memory: the system writes their pages back when it needs the space.

The files have no name (they are gone with the process, also after kill -9) and lie beside the cached datasets, where there is room for
data. A file is written from front to back and only then mapped: a full disk is an error of the write, not a signal while sorting.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt

BLOCK = 65_536  # records that are worked on at once

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.bytes_]
Bools = npt.NDArray[np.bool_]


class Column:
    """A file of fixed-width records, appended to and then mapped. Use as a context manager: leaving it closes the file, not the map."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._count = 0

    def __enter__(self) -> Column:
        self._file = tempfile.TemporaryFile(dir=_folder())
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, block: npt.NDArray[Any]) -> None:
        """Write records at the end. Raises `OSError` on a full disk."""
        if len(block):
            self._file.write(np.ascontiguousarray(block, dtype=self.dtype).data)
            self._count += len(block)

    def mapped(self) -> npt.NDArray[Any]:
        """All records as an array that lies in the file and may be changed, sorted in place too."""
        self._file.flush()
        if not self._count:  # an empty file cannot be mapped
            return np.empty(0, self.dtype)
        return np.memmap(self._file, dtype=self.dtype, mode="r+", shape=(self._count,))


def mapped(blocks: Iterable[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """All blocks one after the other as one array in a file."""
    with Column(dtype) as column:
        for block in blocks:
            column.append(block)
        return column.mapped()


def in_blocks(array: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Where each block of an array begins, and the block."""
    for start in range(0, len(array), BLOCK):
        yield start, array[start : start + BLOCK]


def counted(count: int) -> Iterator[Ints]:
    """0 to `count` - 1, in blocks."""
    for start in range(0, count, BLOCK):
        yield np.arange(start, min(start + BLOCK, count), dtype=np.int64)


def with_number(keys: Bytes, numbers: Ints) -> Bytes:
    """Keys of 16 bytes, each followed by its number: sorting these sorts by key, equal ones by number, and keeps the two together."""
    both = np.empty((len(keys), 24), dtype=np.uint8)
    both[:, :16] = np.ascontiguousarray(keys).view(np.uint8).reshape(-1, 16)
    both[:, 16:] = _big_endian(numbers)
    return both.reshape(-1).view("S24")


def keys_and_numbers(both: Bytes) -> tuple[npt.NDArray[np.uint8], Ints]:
    """The two halves again: keys as rows of 16 bytes."""
    table = np.ascontiguousarray(both).view(np.uint8).reshape(-1, 24)
    return table[:, :16], np.ascontiguousarray(table[:, 16:]).view(">i8").reshape(-1).astype(np.int64)


def packed(*columns: Ints) -> Bytes:
    """Columns of numbers from 0 as records that sort by the first column, then the second, and so on."""
    table = np.concatenate([_big_endian(one) for one in columns], axis=1)
    return np.ascontiguousarray(table).reshape(-1).view(f"S{8 * len(columns)}")


def unpacked(records: Bytes) -> Ints:
    """The columns of packed records: an array of (columns, records)."""
    width = records.dtype.itemsize // 8
    return np.ascontiguousarray(records).view(">i8").reshape(-1, width).T.astype(np.int64)


def _big_endian(numbers: Ints) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(numbers).astype(">i8").view(np.uint8).reshape(-1, 8)


def _folder() -> str | None:
    """Where the datasets are cached; the system's temporary folder if nothing can be written there."""
    cache = datasets.config.HF_DATASETS_CACHE
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return str(cache)
    return None
