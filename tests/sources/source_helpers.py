"""Shared by the tests of sources: how errors are looked at, and files that are quick to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arhn_hf.records import ArhnError
from arhn_hf.sources import Source

ROW = b'{"query": "q", "pos": ["p"], "neg": ["n"]}\n'
Make = Callable[[dict[str, bytes]], Path]
Load = Callable[..., Source]


def said(caught: pytest.ExceptionInfo[ArhnError], tmp_path: Path) -> str:
    """The error's line, paths made relative, and sure to be one line that names nothing of the cache."""
    line = str(caught.value)
    assert "\n" not in line
    assert "cache" not in line
    return line.replace(str(tmp_path / "data"), "DATA")


def parquet_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())
