"""One line for everything that does not load."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from source_helpers import ROW, Load, Make, parquet_file, said

from arhn_hf.records import ArhnError, UsageError
from arhn_hf.sources import load_source

BAD_JSON = {
    "lone surrogates": (rb'{"query": "\ud800", "pos": ["p"], "neg": ["n"]}', "query holds a lone surrogate"),
    "mixed types": (b'{"query": "q", "pos": "p", "neg": ["n"]}', "mixed types: pos is a string, but a list in line 1"),
    "mixed types in a list": (b'{"query": "q", "pos": [1], "neg": ["n"]}', "mixed types: pos[] is a number"),
    "truncated": (b'{"query": "q", "pos": ["p"', "JSON that is cut off"),
    "not JSON": (b"query", "not JSON"),
    "not an object": (b'["q", "p", "n"]', "a list instead of an object"),
    "not UTF-8": (b'{"query": "\xff", "pos": ["p"], "neg": ["n"]}', "not UTF-8 (byte 0xff at byte 12)"),
    "a repeated key": (b'{"query": "q", "query": "q", "pos": ["p"], "neg": ["n"]}', "the key 'query' appears twice"),
}


@pytest.mark.parametrize(("line", "why"), BAD_JSON.values(), ids=list(BAD_JSON))
@pytest.mark.parametrize("form", ["file", "gz", "folder"])
def test_jsonl_that_is_refused(form: str, line: bytes, why: str, make: Make, load: Load, tmp_path: Path) -> None:
    content = ROW + b"\n" + line + b"\n"
    if form == "folder":
        source, file = make({"train-0.jsonl": ROW * 2, "train-1.jsonl": content}), "DATA/train-1.jsonl"
        why = why.split(", but")[0]
    else:
        name = "a.jsonl" if form == "file" else "a.jsonl.gz"
        source, file = make({name: content if form == "file" else gzip.compress(content)}), f"DATA/{name}"
    with pytest.raises(UsageError) as caught:
        load(source)
    line_said = said(caught, tmp_path)
    assert line_said.startswith(f"{file}:3: {why}"), line_said
    assert line_said.endswith("Mend or remove that line")


def test_a_single_bad_line_is_not_bent_into_shape(make: Make, load: Load, tmp_path: Path) -> None:
    for content, place in (
        (rb'{"query": "\ud800"}', "a.jsonl:1"),
        (rb'[{"query": "q"}, {"query": "\ud800"}]', "a.jsonl, item 2"),
    ):
        with pytest.raises(UsageError) as caught:
            load(make({"a.jsonl": content}))
        assert said(caught, tmp_path).startswith(f"DATA/{place}: query holds a lone surrogate")


BAD_FILES = {
    "empty": ({"a.jsonl": b""}, "DATA/a.jsonl: the file is empty"),
    "blank": ({"a.jsonl": b"\n\n"}, "DATA/a.jsonl: split 'train' has no rows"),
    "not gzip": ({"a.jsonl.gz": b"nope"}, "DATA/a.jsonl.gz: cannot be read (Not a gzipped file (b'no'))"),
    "cut gzip": ({"a.jsonl.gz": gzip.compress(ROW * 9)[:-9]}, "DATA/a.jsonl.gz: cannot be read (Compressed file ended"),
    "not parquet": ({"a.parquet": b"parquet?" * 9}, "DATA/a.parquet: not a readable parquet file (Parquet magic bytes"),
    "a parquet shard": (
        {"train-0.parquet": parquet_file(pa.table({"query": ["a"]})), "train-1.parquet": b"parquet?" * 9},
        "DATA/train-1.parquet: not a readable parquet file",
    ),
    "no rows": ({"a.parquet": parquet_file(pa.table({"query": pa.array([], pa.string())}))}, "DATA/a.parquet: "),
    "unknown type": ({"a.docx": b"?"}, "DATA/a.docx: not a dataset file. Known are .jsonl, .jsonl.gz, "),
    "a folder of something else": ({"a.docx": b"?", "b.docx": b"?"}, "DATA: it holds no data that load_dataset reads"),
    "invalid texts in parquet": (
        {"a.parquet": parquet_file(pa.table({"query": pa.array([b"a", b"\xff"]).view(pa.string())}))},
        "DATA/a.parquet: row 1, column query: Invalid UTF8",
    ),
}


@pytest.mark.parametrize(("files", "line"), BAD_FILES.values(), ids=list(BAD_FILES))
def test_files_that_are_refused(files: dict[str, bytes], line: str, make: Make, load: Load, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(make(files))
    assert said(caught, tmp_path).startswith(line)


def test_an_empty_folder(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "data")
    assert said(caught, tmp_path) == "DATA: the folder is empty"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(make: Make, load: Load, tmp_path: Path) -> None:
    path = make({"a.jsonl": ROW})
    path.chmod(0)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert said(caught, tmp_path) == "DATA/a.jsonl: cannot be read (Permission denied)"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"split": "test"}, "DATA/a.jsonl: no split 'test'. It has train"),
        ({"split": "train[:2"}, "DATA/a.jsonl: cannot be read as a dataset (Unrecognized instruction format"),
        ({"name": "default"}, "DATA/a.jsonl: a file has no configurations. Leave out --name"),
        ({"revision": "main"}, "DATA/a.jsonl: a local source has no revision. Leave out --revision"),
    ],
)
def test_options_that_do_not_fit_a_file(
    options: dict[str, str], line: str, make: Make, load: Load, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        load(make({"a.jsonl": ROW}), **options)
    assert said(caught, tmp_path).startswith(line)


@pytest.mark.parametrize("source", ["/no/such", "./nope", "~/nope-nope", "a/b/c", "namespace/train.jsonl", "x.parquet"])
def test_paths_that_do_not_exist(source: str) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        load_source(source)
    with pytest.raises(UsageError, match="no source given"):
        load_source("")


def test_a_full_disk_is_no_wrong_usage(monkeypatch: pytest.MonkeyPatch, make: Make, load: Load) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets.DatasetBuilder, "download_and_prepare", full)
    with pytest.raises(ArhnError, match="the disk that holds the cache is full") as caught:
        load(make({"a.jsonl": ROW * 2}))
    assert caught.value.exit_code == 1
