"""The embedded reader as an engine: two threads read requests one by one, so that two cores are used and no answer depends on
which others happen to be read at the same time."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from arhn_hf.engines.base import Engine, Request, Response

if TYPE_CHECKING:
    from arhn_hf.reader.model import ReaderModel


class ReaderEngine(Engine):
    """Runs `arhn_hf.reader.ReaderModel`. Heavy imports (onnxruntime) happen when it is built, not when this file is imported."""

    def __init__(self, model: ReaderModel | None = None, *, threads: int | None = None) -> None:
        if model is None:
            from arhn_hf.reader.model import ReaderModel

            model = ReaderModel()
        self.model = model
        self.identity: dict[str, Any] = {"engine": "reader", "model": "arhn-hf reader", "revision": model.identity}
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="arhn-reader")

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`. The payload holds `query, title, text, positives, max_chunks`."""
        return self._pool.submit(self._read, request.payload)

    def _read(self, payload: dict[str, Any]) -> Response:
        title, text = payload["title"], payload["text"]
        positives = [(one[0], one[1]) for one in payload["positives"]]
        reading = self.model.read(payload["query"], title, text, positives, max_chunks=payload["max_chunks"])
        snippet = None
        if reading.field is not None:
            snippet = (title if reading.field == "title" else text)[reading.start : reading.end]
        answer = {
            "score": reading.score, "margin": reading.margin, "field": reading.field, "start": reading.start,
            "end": reading.end, "snippet": snippet, "truncated": reading.truncated,
        }  # fmt: skip
        return Response(json.dumps(answer))

    def close(self) -> None:
        """See `Engine.close`."""
        self._pool.shutdown(wait=True, cancel_futures=True)
