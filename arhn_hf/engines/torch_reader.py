"""Another reader as an engine: an extractive question-answering checkpoint, another encoder, or both.

Why it exists: the embedded reader is small so that it can be shipped; who has a GPU can read with a model that knows
more, or another language. Requests and responses are those of `engines.reader`, and so is the way from three signals
to one score: the embedded reader's coefficients, because nobody has fitted any for the model at hand. The scores rank
passages but are on a scale of their own, so the threshold must be set anew: `arhn-hf audit --thresholds`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from arhn_hf.engines.checkpoint_engine import CheckpointEngine
from arhn_hf.engines.checkpoints import QUESTION_ANSWERING, Checkpoint, Floats, Input, Part
from arhn_hf.engines.encoders import Encoder
from arhn_hf.reader.fusion import Similarities, Vectors, compare
from arhn_hf.reader.model import EMPTY_MARGIN, SPAN_TOKENS, ReaderModel
from arhn_hf.reader.tokens import Field

EMBEDDED = "arhn-hf reader"
"""The embedded reader's name in identities, cards and lineages."""


class Found(NamedTuple):
    """The best span of a passage: its margin over "no answer" and its place; `field` is None without any token."""

    margin: float
    field: Field | None
    start: int
    end: int
    complete: bool


class TorchReaderEngine(CheckpointEngine):
    """Reads with the checkpoint `model` (None: the embedded reader) and compares passages with `similarity_model`
    (None: the embedded encoder). Raises `UsageError` for what `Checkpoint` and `Encoder` refuse.

    The margin is the best span's start and end logits minus those of the model's "no answer" token, the largest over
    the windows: a checkpoint trained on questions without an answer too (SQuAD 2) is needed for it to mean anything.
    """

    def __init__(
        self, model: str | None, *, revision: str | None = None, similarity_model: str | None = None,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        self._checkpoint = None if model is None else Checkpoint(model, revision, QUESTION_ANSWERING)
        self._encoder = None if similarity_model is None else Encoder(similarity_model)
        self._embedded = ReaderModel()
        own = {"model": EMBEDDED, "revision": self._embedded.identity}
        self.identity = {
            "engine": "torch-reader", **(self._checkpoint.identity if self._checkpoint else own),
            "similarity_model": None, "similarity_revision": None, "embedded": self._embedded.identity,
        }  # fmt: skip
        if self._encoder is not None:
            about = self._encoder.identity
            self.identity |= {"similarity_model": about["model"], "similarity_revision": about["revision"]}
        device = next((one.device for one in (self._checkpoint, self._encoder) if one is not None), "cpu")
        super().__init__(device, threads)

    def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The response of `engines.reader` to its request: `query, title, text, positives, max_chunks`."""
        query, title, text, most = (payload[name] for name in ("query", "title", "text", "max_chunks"))
        found = self._find(query, title, text, most)
        if found.field is None:
            return {
                "score": 0.0, "margin": EMPTY_MARGIN, "field": None, "start": None, "end": None, "snippet": None,
                "truncated": not found.complete,
            }  # fmt: skip
        near = self._similarities(query, title, text, payload["positives"], most)
        return {
            "score": self._embedded.fusion.score(found.margin, near), "margin": found.margin,
            "field": found.field, "start": found.start, "end": found.end,
            "snippet": (title if found.field == "title" else text)[found.start : found.end],
            "truncated": not found.complete,
        }  # fmt: skip

    def _similarities(self, query: str, title: str, text: str, positives: list[list[str]], most: int) -> Similarities:
        """How near passage and positives are to the query and to each other, by vectors of texts alone."""
        asked = self._encoder.query(query) if self._encoder else self._embedded.embed(None, query, 1)

        def vectors(title: str, text: str) -> Vectors:
            windows = self._passage(title, text, most)
            return np.repeat(asked, len(windows), axis=0) if len(asked) else asked, windows

        return compare(vectors(title, text), [vectors(one[0], one[1]) for one in positives])

    def _passage(self, title: str, text: str, most: int) -> Floats:
        return (self._encoder.passage if self._encoder else self._embedded.embed)(title, text, most)

    def _find(self, query: str, title: str, text: str, most: int) -> Found:
        if self._checkpoint is None:
            read = self._embedded.read(query, title, text, [], most)
            return Found(read.margin, read.field, read.start or 0, read.end or 0, not read.truncated)
        best = Found(-np.inf, None, 0, 0, True)
        windows, complete = self._checkpoint.inputs(query, title, text, most)
        for window in windows:
            if window.parts:
                logits, nothing = self._checkpoint(window), self._checkpoint.nothing_at(window)
                best = max(best, best_found(window, logits, nothing, title, text), key=lambda one: one.margin)
        return best._replace(complete=complete)


def best_found(window: Input, logits: Floats, nothing: int, title: str, text: str) -> Found:
    """The best span of one window, in the title or in the text, never across; among equals, the first.

    `logits` are those of the whole window; the token at `nothing` stands for "no answer".
    """
    floor = float(logits[nothing].sum(dtype=np.float64))
    best = Found(-np.inf, None, 0, 0, True)
    for part in window.parts:
        source = title if part.field == "title" else text
        score, first, last = best_span(logits[part.at : part.at + part.last - part.first], visible(part, source))
        if score - floor > best.margin:
            start, end = part.tokens.places[part.first + first][0], part.tokens.places[part.first + last][1]
            words = source[start:end]  # some tokenizers count the white space before a word as part of it
            start += len(words) - len(words.lstrip())
            best = Found(score - floor, part.field, start, start + len(words.strip()), True)
    return best


def visible(part: Part, source: str) -> list[bool]:
    """Per token of the part: whether it is made of something a reader could quote."""
    return [bool(source[start:end].strip()) for start, end in part.tokens.places[part.first : part.last]]


def best_span(logits: Floats, allowed: list[bool]) -> tuple[float, int, int]:
    """Score, first and last token of the best span of at most SPAN_TOKENS that begins and ends at allowed tokens.

    `logits` has shape (tokens, 2). The score is -inf where no token is allowed. Among equals the shorter, then the
    earlier span.
    """
    wide = np.where(np.asarray(allowed, dtype=bool)[:, None], logits.astype(np.float64), -np.inf)
    best = (-np.inf, 0, 0)
    for length in range(min(SPAN_TOKENS, len(wide))):
        totals = wide[: len(wide) - length, 0] + wide[length:, 1]
        first = int(np.argmax(totals))
        if totals[first] > best[0]:
            best = (float(totals[first]), first, first + length)
    return best
