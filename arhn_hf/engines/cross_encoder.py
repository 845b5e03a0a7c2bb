"""A cross-encoder as an engine: how well does this passage answer this query, as one number.

Why it exists: rerankers are the strongest small models that rank, and one score for each pair has no position bias and
needs no prompt. The number is the model's own logit, kept as it is.
"""

from __future__ import annotations

from typing import Any

from arhn_hf.engines.checkpoint_engine import CheckpointEngine
from arhn_hf.engines.checkpoints import CLASSIFICATION, Checkpoint


class CrossEncoderEngine(CheckpointEngine):
    """Scores pairs with a transformers checkpoint for sequence classification with one label; see `Checkpoint` for what
    is refused. A passage that is too long for one input counts as its best window."""

    def __init__(self, model: str, *, revision: str | None = None, threads: int | None = None) -> None:
        self._checkpoint = Checkpoint(model, revision, CLASSIFICATION)
        self.identity = {"engine": "cross-encoder", **self._checkpoint.identity}
        super().__init__(self._checkpoint.device, threads)

    def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        """`score` and `truncated` of a pair; the payload holds `query, title, text, max_chunks`."""
        query, title, text, most = (payload[name] for name in ("query", "title", "text", "max_chunks"))
        windows, complete = self._checkpoint.inputs(query, title, text, most)
        return {"score": max(float(self._checkpoint(one)[0, 0]) for one in windows), "truncated": not complete}
