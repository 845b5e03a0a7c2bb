"""The output folder: it *is* a Hub dataset repository, and beside it, in `.arhn/`, the run's memory that is never published.

New outputs are written aside and moved into place when all are there, `arhn.json` last: a folder never holds half a run that looks
like a whole one. Only files of ours are ever replaced.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arhn_hf.monitor import Counts
from arhn_hf.publishing.owner import Owner
from arhn_hf.records import VARIANTS, UsageError, file_error
from arhn_hf.shards import Shard, parse_shard
from arhn_hf.stages.finished import Finished

SHARD_BYTES = 500_000_000  # Arrow bytes a shard, as `push_to_hub` has it
_ROW_GROUP_BYTES = 16_000_000
PICTURE = "negatives.svg"
TABLES = (*VARIANTS, "evidence")
OURS = (*TABLES, PICTURE, "arhn.json")
_WRITTEN = "written-"


class OutputFolder:
    """A folder of ours, locked for one process. Use as a context manager. `goes_on`: what a run that broke off had finished stays, for
    `go_on` to say whether it is of any use; it leaves that behind itself when it breaks off.

    Raises `UsageError` for a folder that is not ours and not empty, `ArhnError` when another process works in it.
    """

    finished: Finished | None = None

    def __init__(self, path: Path, *, goes_on: bool = False) -> None:
        self.path = path
        self._goes_on = goes_on
        self.memory = path / ".arhn"
        self.work = self.memory / "work"
        self._aside = self.memory / "new"
        self._owner = Owner(self.memory)

    @property
    def notices(self) -> list[str]:
        """Lines for the person about who worked here before."""
        return self._owner.notices

    def __enter__(self) -> OutputFolder:
        refuse_foreign(self.path)
        try:
            self.memory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise file_error(error) from error
            raise UsageError(f"cannot be created ({error.strerror})", where=str(self.path)) from error
        self._owner.take()
        try:
            if not self._goes_on:
                self._clear()
            self._make()
        except BaseException:  # a full disk: nobody calls `__exit__` then
            self._owner.leave()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        useless = self.finished is not None and error is not None and _no_room_or_no_use(error)
        if error is None or not self._goes_on or useless or not any(self.work.iterdir()):
            self._clear()
        self._owner.leave()

    def _clear(self) -> None:
        for folder in (self.work, self._aside):
            shutil.rmtree(folder, ignore_errors=True)

    def _make(self) -> None:
        for folder in (self.work, self._aside):
            folder.mkdir(parents=True, exist_ok=True)

    def go_on(self, key: str, counts: Sequence[Counts]) -> list[str]:
        """Keep what a run with this key had finished, and nothing else; returns the names of the stages."""
        self.finished = Finished(self.work / "finished.json", key, counts)
        kept = {f"{name}.arrow" for name in self.finished.names} | {"finished.json"}
        for file in (*self.work.iterdir(), *self._aside.iterdir()):
            if file.parent == self._aside and f"{_WRITTEN}{file.name}" in self.finished.names:
                continue
            if file.parent == self._aside or not self.finished.names or file.name not in kept:
                _remove(file)
        return self.finished.names

    def state(self) -> dict[str, Any]:
        """See `folder_state`."""
        return folder_state(self.path)

    def remember(self, **state: Any) -> None:
        """Replace the state."""
        replace_text(self.memory / "state.json", json.dumps(state, indent=1))

    def clear_outputs(self) -> None:
        """Remove outputs of an older run (`--fresh`), unfinished ones too; answers, and files a person added, stay."""
        for name in OURS:
            _remove(self.path / name)
        self._clear()
        self._make()

    def write_tables(self, name: str, tables: Iterable[pa.Table], schema: pa.Schema, file_type: str) -> int:
        """Write `NAME/train-0000i-of-0000N.parquet` (or `.jsonl`) aside; returns the number of rows."""
        folder = self._aside / name
        if self.finished is not None and folder.exists():  # if not, the run broke off after moving it into place
            before = self.finished.take(f"{_WRITTEN}{name}")
            if before is not None:
                return int(before["rows"])
        folder.mkdir()
        rows = 0
        for number, shard in enumerate(_shards(tables, schema)):
            target = folder / f"part-{number:05d}"
            rows += _write_parquet(target, shard, schema) if file_type == "parquet" else _write_jsonl(target, shard)
        parts = sorted(folder.iterdir())
        for number, part in enumerate(parts):
            part.rename(folder / f"train-{number:05d}-of-{len(parts):05d}.{file_type}")
        if self.finished is not None:
            self.finished.add(f"{_WRITTEN}{name}", sorted(folder.iterdir()), rows=rows)
        return rows

    def publish(self, card: str, lineage: dict[str, Any], texts: dict[str, str]) -> None:
        """Move everything written aside into place, `texts` (name → content) too; `arhn.json` leaves first and comes
        back last."""
        for file in self._aside.rglob("train-*"):  # on disk before arhn.json says that it is
            with file.open("rb") as written:
                os.fsync(written.fileno())
        _remove(self.path / "arhn.json")
        for name in OURS:
            if name != "arhn.json":
                _remove(self.path / name)
                if (self._aside / name).exists():
                    (self._aside / name).rename(self.path / name)
        for name, text in texts.items():
            replace_text(self.path / name, text)
        replace_text(self.path / "README.md", card)
        replace_text(self.path / "arhn.json", json.dumps(lineage, indent=2, ensure_ascii=False) + "\n")


def _no_room_or_no_use(error: BaseException) -> bool:
    """Whether work files must go although the run broke off: the disk is full, or the same command will not be run again."""
    return isinstance(error, (OSError, UsageError)) or isinstance(error.__cause__, OSError)


def folder_state(path: Path) -> dict[str, Any]:
    """What the last run in a folder said of itself: `settings`, `status` (`running`, `finished`), `source_path`; empty if none."""
    text = _read_text(path / ".arhn" / "state.json")
    if text is None:
        return {}
    try:
        loaded = json.loads(text)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def refuse_foreign(path: Path) -> None:
    """Raise `UsageError` if the path is a file, or a folder that is not empty and not ours."""
    if not path.exists():
        return
    if not path.is_dir():
        raise UsageError("is a file, not a folder", where=str(path), hint="Choose another --output")
    ours = (path / ".arhn").is_dir() or (path / "arhn.json").is_file()
    if not ours and any(path.iterdir()):
        raise UsageError("is not empty and was not written by arhn-hf", where=str(path), hint="Choose another --output")


def part_of(path: Path) -> Shard | None:
    """Which part of a run (`--shard`) a folder holds, finished or not; `None` for a whole run, or nothing."""
    try:
        found = json.loads(_read_text(path / "arhn.json") or "{}").get("shard")
        if found is not None:
            return Shard(int(found["index"]), int(found["count"]))
        spelled = (folder_state(path).get("settings") or {}).get("shard")
        return None if spelled is None else parse_shard(str(spelled))
    except (ValueError, TypeError, KeyError, AttributeError, UsageError):
        return None  # broken: `read_lineage` says so where it matters


def refuse_other_part(path: Path, shard: Shard | None) -> None:
    """Raise `UsageError` if a folder holds a part of a run and this is not the same part: its answers would be lost to it."""
    there = part_of(path)
    if there is not None and there != shard:
        raise UsageError(
            f"holds {there.words}",
            where=str(path),
            hint="Every part needs a folder of its own: choose another --output",
        )


def refuse_part(path: Path, then: str) -> None:
    """Raise `UsageError` if a folder holds one part of a run: what it decided is provisional until the parts are merged."""
    there = part_of(path)
    if there is not None:
        raise UsageError(
            f"holds {there.words} of a run only",
            where=str(path),
            hint=f"Join the parts with `arhn-hf merge`, then {then}",
        )


def read_lineage(path: Path) -> dict[str, Any]:
    """`arhn.json` of a finished folder. Raises `UsageError` if there is none or it is broken."""
    file = path / "arhn.json"
    text = _read_text(file)
    if text is None:
        unfinished = (path / ".arhn").is_dir()
        raise UsageError(
            "holds an unfinished run" if unfinished else "is not a folder that arhn-hf wrote (no arhn.json)", where=str(path),
            hint="Run the same `arhn-hf refine` command again: it goes on where it stopped" if unfinished else None,
        )  # fmt: skip
    try:
        loaded = json.loads(text)
    except ValueError as error:
        raise UsageError(f"is not valid JSON ({error})", where=str(file)) from error
    if not isinstance(loaded, dict) or "evidence_version" not in loaded:
        raise UsageError("is not a lineage of arhn-hf", where=str(file))
    return loaded


def _shards(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[Iterator[pa.Table]]:
    """Split a stream of tables by Arrow size; at least one (empty) shard."""
    stream = iter(tables)
    pending: pa.Table | None = next(stream, schema.empty_table())

    def shard() -> Iterator[pa.Table]:
        nonlocal pending
        size = 0
        while pending is not None and size < SHARD_BYTES:
            table, pending = pending, next(stream, None)
            size += table.nbytes
            yield table

    while pending is not None:
        yield shard()


def _write_parquet(target: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> int:
    rows = 0
    waiting: list[pa.Table] = []
    # Content-defined chunking: variants that share most rows then share most bytes on the Hub.
    with pq.ParquetWriter(target, schema, use_content_defined_chunking=True) as writer:
        for table in tables:
            rows += table.num_rows
            waiting.append(table)
            if sum(one.nbytes for one in waiting) >= _ROW_GROUP_BYTES:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    return rows


def _write_jsonl(target: Path, tables: Iterable[pa.Table]) -> int:
    rows = 0
    with target.open("w", encoding="utf-8") as file:
        for table in tables:
            for item in table.to_pylist():
                file.write(json.dumps(item, ensure_ascii=False, default=str) + "\n")
                rows += 1
    return rows


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a file in one step: who reads it sees the old text or the new one."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
