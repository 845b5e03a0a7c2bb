"""Loading local sources: what loads, how it is named, and that an edited file is read again."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from datasets import Dataset, List, Value
from source_helpers import ROW, Load, Make, parquet_file, said

from arhn_hf.records import UsageError
from arhn_hf.sources import load_table

CONFIGS = """---
configs:
- config_name: first
  data_files: first/*.jsonl
- config_name: second
  data_files:
  - split: train
    path: second/train.jsonl
  - split: test
    path: second/test.jsonl
---
"""


def arrow_file() -> bytes:
    """A stream as `datasets` writes it."""
    sink = pa.BufferOutputStream()
    table = pa.table({"query": ["a", "b"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_files(make: Make, load: Load, tmp_path: Path) -> None:
    contents = {
        "a.jsonl": ROW * 2,
        "b.JSONL": ROW * 2,
        "c.jsonl.gz": gzip.compress(ROW * 2),
        "d.json": b"[" + ROW + b"," + ROW + b"]",
        "e.parquet": parquet_file(pa.table({"query": ["a", "b"]})),
        "f.arrow": arrow_file(),
        "g.jsonl": b"\xef\xbb\xbf" + ROW + b"\n\n" + ROW.strip(),
    }
    folder = make(contents)
    for name in contents:
        source = load(folder / name)
        assert source.dataset.num_rows == 2, name
        assert (source.kind, source.id, source.revision, source.name, source.split) == (
            "file",
            None,
            None,
            None,
            "train",
        )
        assert (source.path, source.label) == ((folder / name).resolve(), name)


def test_missing_fields_are_nulls(make: Make, load: Load) -> None:
    path = make({"a.jsonl": b'{"p": [{"text": "x"}]}\n{"p": [{"title": "t", "text": "y"}]}\n'})
    assert load(path).dataset.features["p"] == List({"text": Value("string"), "title": Value("string")})


def test_folders(make: Make, load: Load) -> None:
    folder = make({"train.jsonl": ROW * 3, "test.jsonl": ROW})
    source = load(folder)
    assert (source.kind, source.label, source.dataset.num_rows) == ("folder", "data", 3)
    assert load(folder, split="test").dataset.num_rows == 1
    assert load(folder, split="train[:2]").dataset.num_rows == 2
    assert load(folder, split="train+test").dataset.num_rows == 4


def test_a_relative_path(make: Make, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make({"train.jsonl": ROW, "test.jsonl": ROW})
    monkeypatch.chdir(folder.parent)
    source = load("data")
    assert (source.path, source.label) == (folder.resolve(), "data")


def test_configurations(make: Make, load: Load, tmp_path: Path) -> None:
    folder = make(
        {
            "README.md": CONFIGS.encode(),
            "first/a.jsonl": ROW,
            "second/train.jsonl": ROW * 2,
            "second/test.jsonl": ROW * 3,
        }
    )
    assert load(folder, name="first").dataset.num_rows == 1
    assert load(folder, name="second", split="test").dataset.num_rows == 3
    with pytest.raises(UsageError) as caught:
        load(folder)
    assert said(caught, tmp_path) == "DATA: it has several configurations. Choose one with --name: first, second"
    with pytest.raises(UsageError) as caught:
        load(folder, name="third")
    assert said(caught, tmp_path) == "DATA: no configuration 'third'. Choose one with --name: first, second"
    with pytest.raises(UsageError) as caught:
        load(folder, name="second", split="dev")
    assert said(caught, tmp_path) == "DATA: no split 'dev'. It has train, test"


def test_an_edited_file_is_read_again(make: Make, load: Load) -> None:
    path = make({"a.jsonl": b'{"query": "one"}\n'})
    before = path.stat()
    assert load(path).dataset[0] == {"query": "one"}
    path.write_bytes(b'{"query": "two"}\n')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps times would leave it
    assert load(path).dataset[0] == {"query": "two"}


def test_an_edited_folder_is_read_again(make: Make, load: Load) -> None:
    folder = make({"train-0.jsonl": ROW, "train-1.jsonl": ROW})
    assert load(folder).dataset.num_rows == 2
    (folder / "train-2.jsonl").write_bytes(ROW)
    assert load(folder).dataset.num_rows == 3
    (folder / "train-0.jsonl").write_bytes(ROW * 2)
    assert load(folder).dataset.num_rows == 4


def test_nothing_on_stderr_and_settings_restored(make: Make, load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    verbosity, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    load(make({"a.jsonl": ROW * 2}))
    with pytest.raises(UsageError):
        load(make({"b.jsonl": ROW + b"?\n"}))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert (datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()) == (verbosity, bars)


def test_load_table_is_the_dataset(make: Make, tmp_path: Path) -> None:
    table = load_table(str(make({"a.jsonl": ROW * 2})), cache_dir=tmp_path / "cache")
    assert isinstance(table, Dataset)
    assert table.num_rows == 2
