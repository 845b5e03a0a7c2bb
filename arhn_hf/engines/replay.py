"""Recorded answers as an engine: a file instead of a model, so that a judge of the past can be measured and re-used without it.

One JSON object a line, each with `query_id` and one of: `docid` and `grade` (how relevant somebody found the pair), `docid` and
`response` (a raw reply, read as an LLM's answer is), or `ranking` (docids, best first).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from arhn_hf.engines.base import Engine, Request, Response
from arhn_hf.records import UsageError


class ReplayEngine(Engine):
    """Answers requests of kind `answer` (`query_id`, `docid`) and `rank` (`query_id`) from a file; what it does not hold is an error
    of that one request. Raises `UsageError` for a file that cannot be read or a line that is none of the three."""

    def __init__(self, path: str) -> None:
        file = Path(path).expanduser()
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot be read ({error.strerror})", where=f"--responses {path}") from error
        self.identity: dict[str, Any] = {"engine": "replay", "responses": hashlib.sha256(content).hexdigest()}
        self.about: dict[str, Any] = {
            "kind": "replay", "model": file.name, "revision": f"sha256:{self.identity['responses']}",
        }  # fmt: skip
        self._found: dict[tuple[str, ...], str] = {}
        self.graded = self._ranked = False
        try:
            text = (gzip.decompress(content) if file.name.endswith(".gz") else content).decode()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot be read ({error.__class__.__name__})", where=f"--responses {path}") from error
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                self._take(line, f"{path}, line {number}")
        if not self._found:
            raise UsageError("holds no responses", where=f"--responses {path}")

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`."""
        future: Future[Response] = Future()
        found = self._found.get(_key(request.kind, request.payload))
        future.set_result(Response("not recorded", "error") if found is None else Response(found))
        return future

    def _take(self, line: str, where: str) -> None:
        try:
            item = json.loads(line)
        except ValueError as error:
            raise UsageError("is not JSON", where=where) from error
        if not isinstance(item, dict) or item.get("query_id") is None:
            raise UsageError("is not an object with a query_id", where=where)
        kept = {name: item[name] for name in ("grade", "response", "ranking") if item.get(name) is not None}
        if len(kept) != 1 or ("ranking" not in kept and item.get("docid") is None):
            raise UsageError("needs docid and grade, docid and response, or ranking", where=where)
        kind = "rank" if "ranking" in kept else "answer"
        if "grade" in kept and (
            isinstance(kept["grade"], bool)
            or not isinstance(kept["grade"], (int, float))
            or kept["grade"] != kept["grade"]
        ):
            raise UsageError(f"{kept['grade']!r} is no grade", where=where)
        if kind == "rank" and not isinstance(kept["ranking"], list):
            raise UsageError("ranking is not a list of docids", where=where)
        self.graded = self.graded or "grade" in kept
        self._ranked = self._ranked or kind == "rank"
        if self.graded and self._ranked:
            raise UsageError("grades rank by themselves: a file holds grades or rankings", where=where)
        text = json.dumps(kept, sort_keys=True)
        if self._found.setdefault(_key(kind, item), text) != text:
            raise UsageError("says something else than an earlier line of the same pair", where=where)


def _key(kind: str, item: dict[str, Any]) -> tuple[str, ...]:
    return (str(item["query_id"]),) if kind == "rank" else (str(item["query_id"]), str(item["docid"]))
