"""What a broken-off run had finished, so that the same command begins where it stopped and not at the first row.

A stage's work file may be taken as it is only by the very same run: same settings, same source, same judge, same code. All of that
is one key, and the marks of any other key are worth nothing. A stage with a judgement that failed is never marked: it is asked again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import arhn_hf
from arhn_hf.monitor import Counts


class Finished:
    """Marks of finished stages, in order, in a file beside their work files (our choice; the store alone would do, more slowly).

    A mark is written after the stage's files are on disk. `counts` are the run's requests, and those of judges that work with its
    own: a mark keeps the first, and taking a stage counts its requests as answered from the store.
    """

    def __init__(self, path: Path, key: str, counts: Sequence[Counts]) -> None:
        self._path, self._key, self._counts, self._all = path, key, counts[0], counts
        found = _read(path)
        self._marks: dict[str, dict[str, Any]] = found["marks"] if found.get("key") == key else {}
        self._broken = False

    @property
    def names(self) -> list[str]:
        """Stages that are finished."""
        return list(self._marks)

    def take(self, name: str) -> dict[str, Any] | None:
        """The facts of a finished stage, or `None` if it has to be done."""
        mark = self._marks.get(name)
        if mark is None:
            return None
        before = mark["requests"]
        self._counts.by_kind = dict(before["by_kind"])
        self._counts.from_store, self._counts.joined = before["from_store"], before["joined"]
        return dict(mark["facts"])

    def add(self, name: str, files: list[Path], **facts: Any) -> None:
        """Mark a stage whose `files` are complete; from the first stage on in which a judgement failed, nothing is marked."""
        self._broken = self._broken or any("error" in counts.failed for counts in self._all)
        if self._broken:
            return
        for file in files:
            with file.open("rb") as written:
                os.fsync(written.fileno())
        counts = self._counts
        requests = {
            "by_kind": dict(counts.by_kind), "from_store": counts.from_store + counts.sent, "joined": counts.joined,
        }  # fmt: skip
        self._marks[name] = {"facts": facts, "requests": requests}
        aside = self._path.with_name(self._path.name + ".new")
        with aside.open("w", encoding="utf-8") as marks:
            json.dump({"key": self._key, "marks": self._marks}, marks)
            marks.flush()
            os.fsync(marks.fileno())
        aside.replace(self._path)


def run_key(**parts: Any) -> str:
    """Lower-case hex of sha256 over everything that work files depend on: `parts`, as JSON, and this package's own code."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(f"{_code()}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _code() -> str:
    """A hash of this package's Python files: a parser that was repaired must read the answers again."""
    whole = hashlib.sha256()
    folder = Path(arhn_hf.__file__).parent
    for file in sorted(folder.rglob("*.py")):
        whole.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or one that broke off: everything is done again
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("marks"), dict) else {}
