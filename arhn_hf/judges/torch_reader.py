"""A reader that is not the embedded one as a judge: the same questions and the same rule, other models behind them."""

from __future__ import annotations

from typing import Any

from arhn_hf.config import RELABEL_THRESHOLD
from arhn_hf.engines.torch_reader import EMBEDDED
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.reader import ReaderJudge


class TorchReaderJudge(ReaderJudge):
    """Judge over `engines.torch_reader`. A checkpoint reads whatever language it was made for; with another encoder
    only, it is still the embedded reader that looks for spans, in English."""

    def __init__(
        self, asker: Asker, *, threshold: float, max_chunks: int, relabel_threshold: float = RELABEL_THRESHOLD
    ) -> None:
        super().__init__(asker, threshold=threshold, max_chunks=max_chunks, relabel_threshold=relabel_threshold)
        self.english_only = asker.engine.identity["model"] == EMBEDDED

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`. The kind is `reader-checkpoint` where the embedded reader does not look for spans."""
        identity = self._asker.engine.identity
        named = ("dtype", "similarity_model", "similarity_revision", "embedded")
        return {
            **super().describe(), "kind": "reader" if self.english_only else "reader-checkpoint",
            **{name: identity[name] for name in named if identity.get(name) is not None},
        }  # fmt: skip
