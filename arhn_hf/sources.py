"""Loading the dataset to refine: from the Hugging Face Hub, a folder, or a file.

Everything `datasets` says when it cannot load something is turned into one line that names the place and the way out,
and what it would repair silently (JSON of mixed types, invalid UTF-8, a stale cache) is refused or read again.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import datasets
import huggingface_hub
from datasets import Dataset
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from pyarrow.dataset import ParquetFragmentScanOptions
from yaml import YAMLError

from arhn_hf.jsonl_check import read_otherwise
from arhn_hf.records import ArhnError, UsageError
from arhn_hf.source_errors import check_texts, explained, raise_fault

FILE_BUILDERS = {
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".json": "json",
    ".json.gz": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
}


@dataclass(frozen=True)
class Source:
    """A loaded dataset and where it came from.

    `label` is what may be published: the Hub id, or the last component of a local path. `revision` is the commit that
    was loaded (Hub only), `path` the absolute local path (never published). `card` holds `license` and `language` as the
    source's own card has them, where it has one and says so.
    """

    dataset: Dataset
    kind: Literal["hub", "folder", "file"]
    id: str | None
    path: Path | None
    label: str
    revision: str | None
    name: str | None
    split: str
    card: dict[str, Any] = field(default_factory=dict)


def load_source(
    source: str,
    *,
    name: str | None = None,
    split: str = "train",
    revision: str | None = None,
    cache_dir: Path | None = None,
) -> Source:
    """Loads a dataset as `datasets.load_dataset` would, pinned to a commit if it comes from the Hub.

    Args:
        source: a folder, a jsonl, json, parquet or arrow file, or a Hub dataset id.
        name: the configuration, as `load_dataset` has it.
        split: the split, slices such as `train[:100]` included.
        revision: branch, tag or commit of a Hub dataset.
        cache_dir: where the Arrow copies go; by default a folder of our own in `datasets`' cache for local data, and
            that cache itself for the Hub. Local copies are keyed by the files' sizes and times of change.

    Raises:
        UsageError: the source cannot be found, read or understood.
        ArhnError: the Hub does not answer.
    """
    if not source:
        raise UsageError("no source given", hint="Name a folder, a file or a Hub dataset id")
    path = Path(source).expanduser()
    builder = next((FILE_BUILDERS[end] for end in FILE_BUILDERS if path.name.lower().endswith(end)), None)
    if path.exists():
        if revision is not None:
            raise UsageError("a local source has no revision", where=source, hint="Leave out --revision")
        path = path.resolve()
        dataset = _load_local(source, path, builder, name, split, cache_dir)
        kind: Literal["folder", "file"] = "folder" if path.is_dir() else "file"
        return Source(dataset, kind, None, path, path.name, None, name, split, _card_of_folder(path))
    if builder is not None or source.startswith(("/", ".", "~")) or source.count("/") > 1:
        raise UsageError("no such file or folder", where=source)
    commit, card = _resolve(source, revision)
    with _quiet():
        dataset = _build(source, {"path": source, "revision": commit, "cache_dir": _text(cache_dir)}, name, split, None)
    return Source(dataset, "hub", source, None, source, commit, name, split, card)


def load_table(
    source: str,
    *,
    name: str | None = None,
    split: str = "train",
    revision: str | None = None,
    cache_dir: Path | None = None,
) -> Dataset:
    """The dataset of `load_source`: for a corpus, of which only the documents matter."""
    return load_source(source, name=name, split=split, revision=revision, cache_dir=cache_dir).dataset


def _load_local(
    source: str, path: Path, builder: str | None, name: str | None, split: str, cache_dir: Path | None
) -> Dataset:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    cache = (cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "arhn-hf") / f"local-{_state(path, files)}"
    if path.is_file():
        if builder is None:
            raise UsageError("not a dataset file", where=source, hint=f"Known are {', '.join(FILE_BUILDERS)}")
        if name is not None:
            raise UsageError("a file has no configurations", where=source, hint="Leave out --name")
        try:
            with path.open("rb") as file:
                empty = not file.read(1)
        except OSError as error:
            raise UsageError(f"cannot be read ({error.strerror})", where=source) from None
        if empty:
            raise UsageError("the file is empty", where=source)
        options: dict[str, Any] = {"path": builder, "data_files": {"train": glob.escape(str(path))}}
    else:
        if not files:
            raise UsageError("the folder is empty", where=source)
        options = {"path": str(path)}
    with _quiet():
        return _build(source, options | {"cache_dir": str(cache)}, name, split, path)


def _state(path: Path, files: list[Path]) -> str:
    """A name for what the files are now. Times of change beside times of writing, since a copy may keep the latter."""
    stats = [(str(file.relative_to(path.parent)), file.stat()) for file in files]
    known = [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in stats]
    return hashlib.sha256(repr((str(path), known)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _build(source: str, options: dict[str, Any], name: str | None, split: str, path: Path | None) -> Dataset:
    """Builds the split and looks it over, or says in one line why it cannot be used; `path` is that of local data."""
    files: list[Path] = []
    try:
        builder = datasets.load_dataset_builder(**options, name=name)
        if hasattr(builder.config, "on_mixed_types"):
            # By default the JSON loader turns columns of mixed types into one of unparsed JSON, without a word.
            builder = datasets.load_dataset_builder(**options, name=name, on_mixed_types=None)
        commit = options.get("revision")
        if commit is not None and builder.hash != commit:  # without the Hub, datasets takes any commit it has at hand
            raise ArhnError("the Hub did not answer", where=source, hint="Try again")
        if hasattr(
            builder.config, "fragment_scan_options"
        ):  # else Arrow reads most of a Parquet file ahead, into memory
            builder.config.fragment_scan_options = ParquetFragmentScanOptions(pre_buffer=False)
        wanted = [part.split("[")[0].strip() for part in split.split("+")]
        by_split = {str(key): list(found) for key, found in (builder.config.data_files or {}).items()}
        splits = list(by_split or builder.info.splits or ())
        if splits and not set(wanted) <= {*splits, "all"}:
            raise UsageError(f"no split {split!r}", where=source, hint=f"It has {', '.join(splits)}")
        if path is not None:
            files = [Path(file) for key, found in by_split.items() if {key, "all"} & {*wanted} for file in found]
            if hasattr(builder.config, "on_mixed_types"):
                raise_fault([file for file in files if read_otherwise(file)], source, path)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=split)
    except ArhnError:
        raise
    except Exception as error:  # a dozen types, and the readers' own: none may reach a person bare
        if path is not None:
            raise_fault(files, source, path)
        raise explained(error, source, name, split, options) from error
    if dataset.num_rows == 0:
        raise UsageError("no rows", where=source)
    check_texts(dataset, source, files, path)
    return dataset


def _card_of_folder(path: Path) -> dict[str, Any]:
    """What a folder's own card says; a card that cannot be read says nothing."""
    card = path / "README.md"
    if not card.is_file():
        return {}
    try:
        return _said(huggingface_hub.DatasetCard.load(card, ignore_metadata_errors=True).data)
    except (ValueError, OSError, YAMLError):
        return {}


def _said(data: Any) -> dict[str, Any]:
    """`license` and `language` of a card, where they are text or a list of texts."""
    found = {name: getattr(data, name, None) for name in ("license", "language")}
    return {
        name: value
        for name, value in found.items()
        if (isinstance(value, str) and value)
        or (isinstance(value, list) and value and all(isinstance(one, str) for one in value))
    }


def _resolve(source: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """The commit a Hub dataset's revision stands for now, and what its card says."""
    try:
        info = huggingface_hub.HfApi().dataset_info(source, revision=revision)
    except HFValidationError:
        raise UsageError("neither a file or folder here nor a Hub dataset id (namespace/name)", where=source) from None
    except GatedRepoError:
        raise UsageError(
            "a gated dataset", where=source, hint="Ask for access on its page, then hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise UsageError(
            f"no revision {revision!r} on the Hub", where=source, hint="See its branches and tags"
        ) from None
    except RepositoryNotFoundError:
        raise UsageError(
            "no such file, folder or Hub dataset", where=source, hint="If it is private, log in (hf auth login)"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever the network does, its texts are not shown: they hold addresses
        raise ArhnError(
            f"no such file or folder, and the Hub did not answer ({type(error).__name__})",
            where=source,
            hint="Try again when it is reachable, or give a local copy",
        ) from None
    if info.sha is None:
        raise ArhnError("the Hub names no commit", where=source)
    return str(info.sha), _said(info.card_data)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of `datasets` and `huggingface_hub` on stderr: what matters is said by us, in one line."""
    libraries: tuple[Any, ...] = (datasets.utils, huggingface_hub.utils)
    before = [(library.logging.get_verbosity(), library.are_progress_bars_disabled()) for library in libraries]
    try:
        for library in libraries:
            library.logging.set_verbosity(library.logging.CRITICAL)
            library.disable_progress_bars()
        yield
    finally:
        for library, (verbosity, disabled) in zip(libraries, before, strict=True):
            library.logging.set_verbosity(verbosity)
            if not disabled:
                library.enable_progress_bars()


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
