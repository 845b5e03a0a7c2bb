"""Loading sources: what loads, what is pinned, and one line for everything that does not load."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, List, Value
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from arhn_hf import sources
from arhn_hf.records import ArhnError, UsageError
from arhn_hf.sources import load_source, load_table

ROW = b'{"query": "q", "pos": ["p"], "neg": ["n"]}\n'
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


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes files below a folder; a single one is returned itself."""

    def write(files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "data" / next(iter(files)) if len(files) == 1 else tmp_path / "data"

    return write


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., sources.Source]:
    """`load_source` with a cache of its own."""
    return lambda source, **options: load_source(str(source), cache_dir=tmp_path / "cache", **options)


def said(caught: pytest.ExceptionInfo[ArhnError], tmp_path: Path) -> str:
    """The error's line, paths made relative, and sure to be one line that names nothing of the cache."""
    line = str(caught.value)
    assert "\n" not in line and "cache" not in line
    return line.replace(str(tmp_path / "data"), "DATA")


def arrow_file(tmp_path: Path) -> bytes:
    """A stream as `datasets` writes it."""
    sink = pa.BufferOutputStream()
    table = pa.table({"query": ["a", "b"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_files(make: Callable[..., Path], load: Callable[..., sources.Source], tmp_path: Path) -> None:
    contents = {
        "a.jsonl": ROW * 2,
        "b.JSONL": ROW * 2,
        "c.jsonl.gz": gzip.compress(ROW * 2),
        "d.json": b"[" + ROW + b"," + ROW + b"]",
        "e.parquet": parquet_file(pa.table({"query": ["a", "b"]})),
        "f.arrow": arrow_file(tmp_path),
        "g.jsonl": b"\xef\xbb\xbf" + ROW + b"\n\n" + ROW.strip(),
    }
    folder = make(contents)
    for name in contents:
        source = load(folder / name)
        assert source.dataset.num_rows == 2, name
        assert (source.kind, source.id, source.revision, source.name, source.split) == ("file", None, None, None, "train")
        assert (source.path, source.label) == ((folder / name).resolve(), name)


def test_missing_fields_are_nulls(make: Callable[..., Path], load: Callable[..., sources.Source]) -> None:
    path = make({"a.jsonl": b'{"p": [{"text": "x"}]}\n{"p": [{"title": "t", "text": "y"}]}\n'})
    assert load(path).dataset.features["p"] == List({"text": Value("string"), "title": Value("string")})


def test_folders(make: Callable[..., Path], load: Callable[..., sources.Source]) -> None:
    folder = make({"train.jsonl": ROW * 3, "test.jsonl": ROW})
    source = load(folder)
    assert (source.kind, source.label, source.dataset.num_rows) == ("folder", "data", 3)
    assert load(folder, split="test").dataset.num_rows == 1
    assert load(folder, split="train[:2]").dataset.num_rows == 2
    assert load(folder, split="train+test").dataset.num_rows == 4


def test_a_relative_path(
    make: Callable[..., Path], load: Callable[..., sources.Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make({"train.jsonl": ROW, "test.jsonl": ROW})
    monkeypatch.chdir(folder.parent)
    source = load("data")
    assert (source.path, source.label) == (folder.resolve(), "data")


def test_configurations(make: Callable[..., Path], load: Callable[..., sources.Source], tmp_path: Path) -> None:
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


@pytest.mark.parametrize("line, why", BAD_JSON.values(), ids=list(BAD_JSON))
@pytest.mark.parametrize("form", ["file", "gz", "folder"])
def test_jsonl_that_is_refused(
    form: str, line: bytes, why: str, make: Callable[..., Path], load: Callable[..., sources.Source], tmp_path: Path
) -> None:
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


def test_a_single_bad_line_is_not_bent_into_shape(
    make: Callable[..., Path], load: Callable[..., sources.Source], tmp_path: Path
) -> None:
    for content, place in ((rb'{"query": "\ud800"}', "a.jsonl:1"), (rb'[{"query": "q"}, {"query": "\ud800"}]', "a.jsonl, item 2")):
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


@pytest.mark.parametrize("files, line", BAD_FILES.values(), ids=list(BAD_FILES))
def test_files_that_are_refused(
    files: dict[str, bytes], line: str, make: Callable[..., Path], load: Callable[..., sources.Source], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        load(make(files))
    assert said(caught, tmp_path).startswith(line)


def test_an_empty_folder(load: Callable[..., sources.Source], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "data")
    assert said(caught, tmp_path) == "DATA: the folder is empty"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(make: Callable[..., Path], load: Callable[..., sources.Source], tmp_path: Path) -> None:
    path = make({"a.jsonl": ROW})
    path.chmod(0)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert said(caught, tmp_path) == "DATA/a.jsonl: cannot be read (Permission denied)"


@pytest.mark.parametrize(
    "options, line",
    [
        ({"split": "test"}, "DATA/a.jsonl: no split 'test'. It has train"),
        ({"split": "train[:2"}, "DATA/a.jsonl: cannot be read as a dataset (Unrecognized instruction format"),
        ({"name": "default"}, "DATA/a.jsonl: a file has no configurations. Leave out --name"),
        ({"revision": "main"}, "DATA/a.jsonl: a local source has no revision. Leave out --revision"),
    ],
)
def test_options_that_do_not_fit_a_file(
    options: dict[str, str], line: str, make: Callable[..., Path], load: Callable[..., sources.Source], tmp_path: Path
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


def test_an_edited_file_is_read_again(make: Callable[..., Path], load: Callable[..., sources.Source]) -> None:
    path = make({"a.jsonl": b'{"query": "one"}\n'})
    before = path.stat()
    assert load(path).dataset[0] == {"query": "one"}
    path.write_bytes(b'{"query": "two"}\n')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps times would leave it
    assert load(path).dataset[0] == {"query": "two"}


def test_an_edited_folder_is_read_again(make: Callable[..., Path], load: Callable[..., sources.Source]) -> None:
    folder = make({"train-0.jsonl": ROW, "train-1.jsonl": ROW})
    assert load(folder).dataset.num_rows == 2
    (folder / "train-2.jsonl").write_bytes(ROW)
    assert load(folder).dataset.num_rows == 3
    (folder / "train-0.jsonl").write_bytes(ROW * 2)
    assert load(folder).dataset.num_rows == 4


def test_nothing_on_stderr_and_settings_restored(
    make: Callable[..., Path], load: Callable[..., sources.Source], capfd: pytest.CaptureFixture[str]
) -> None:
    verbosity, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    load(make({"a.jsonl": ROW * 2}))
    with pytest.raises(UsageError):
        load(make({"b.jsonl": ROW + b"?\n"}))
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""
    assert (datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()) == (verbosity, bars)


def test_load_table_is_the_dataset(make: Callable[..., Path], tmp_path: Path) -> None:
    table = load_table(str(make({"a.jsonl": ROW * 2})), cache_dir=tmp_path / "cache")
    assert isinstance(table, Dataset) and table.num_rows == 2


# ---- the Hub, without a network: the two calls that reach it are replaced

SHA = "0123456789abcdef0123456789abcdef01234567"


ConnectError = type("ConnectError", (Exception,), {})  # of whatever HTTP library the Hub's client uses


def answer(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, make: Callable[..., Path]) -> dict[str, Any]:
    """A Hub with one dataset, `me/data`, whose files are local; what was asked of it is kept."""
    seen: dict[str, Any] = {"error": None, "hash": SHA}
    folder = make({"train.jsonl": ROW * 2, "test.jsonl": ROW})
    build = datasets.load_dataset_builder

    def dataset_info(self: Any, repo_id: str, *, revision: str | None = None) -> SimpleNamespace:
        seen["asked"] = (repo_id, revision)
        if seen["error"] is not None:
            raise seen["error"]
        return SimpleNamespace(sha=SHA)

    def load_dataset_builder(path: str, revision: str, **options: Any) -> Any:
        seen["built"] = (path, revision)
        assert "trust_remote_code" not in options
        builder = build(str(folder), **options)
        builder.hash = seen["hash"]
        return builder

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    return seen


def test_a_hub_dataset_is_pinned(hub: dict[str, Any], load: Callable[..., sources.Source]) -> None:
    source = load("me/data", revision="v1", split="test")
    assert hub["asked"] == ("me/data", "v1") and hub["built"] == ("me/data", SHA)
    assert (source.kind, source.id, source.path, source.label) == ("hub", "me/data", None, "me/data")
    assert (source.revision, source.split, source.dataset.num_rows) == (SHA, "test", 1)
    with pytest.raises(UsageError, match=r"me/data: no split 'dev'\. It has train, test"):
        load("me/data", split="dev")


HUB_ERRORS = [
    (RepositoryNotFoundError("secret", response=answer(401)), 2, "no such file, folder or Hub dataset. If it is private"),
    (RevisionNotFoundError("secret", response=answer(404)), 2, "no revision 'v9' on the Hub"),
    (GatedRepoError("secret", response=answer(403)), 2, "a gated dataset. Ask for access"),
    (ConnectError("secret"), 1, "no such file or folder, and the Hub did not answer (ConnectError)"),
    (RuntimeError("secret"), 1, "no such file or folder, and the Hub did not answer (RuntimeError)"),
]


@pytest.mark.parametrize("error, code, line", HUB_ERRORS, ids=[type(e[0]).__name__ for e in HUB_ERRORS])
def test_hub_errors(hub: dict[str, Any], error: Exception, code: int, line: str, load: Callable[..., sources.Source]) -> None:
    hub["error"] = error
    with pytest.raises(ArhnError) as caught:
        load("me/data", revision="v9")
    assert caught.value.exit_code == code
    assert str(caught.value).startswith(f"me/data: {line}") and "secret" not in str(caught.value)


def test_a_commit_from_the_cache_is_not_taken_for_another(hub: dict[str, Any], load: Callable[..., sources.Source]) -> None:
    hub["hash"] = "f" * 40
    with pytest.raises(ArhnError, match="the Hub did not answer"):
        load("me/data")


def test_an_impossible_id() -> None:
    with pytest.raises(UsageError, match="neither a file or folder here nor a Hub dataset id"):
        load_source("no spaces please")


def test_a_full_disk_is_no_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Path], load: Callable[..., sources.Source]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets.DatasetBuilder, "download_and_prepare", full)
    with pytest.raises(ArhnError, match="the disk that holds the cache is full") as caught:
        load(make({"a.jsonl": ROW * 2}))
    assert caught.value.exit_code == 1
