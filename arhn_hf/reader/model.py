"""The embedded reader: does this passage answer this query, and where?

Why it exists: a trial run, a CI job or the first stage of a cascade needs a judge that is in the package, needs no
download and no GPU, and says the same today as yesterday. Three signals make one score: the span margin of a small
extractive reader (MiniLM-L6 trained on SQuAD 1.1), the similarity of passage and query, and the similarity of the
passage and the labelled positives (all-MiniLM-L6-v2). `training/reader/` made the weights and documents them.
English only.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arhn_hf.reader.network import CLS, SEP, Floats, Network, WordVectors
from arhn_hf.reader.tokens import QUERY_TOKENS, WINDOW, Field, PieceTokenizer, Tokens, Window, reader_windows

FILES = ("encoder.onnx", "fusion.json", "reader.onnx", "tokenizer.json", "word_scales.npy", "words.npy")
"""What the reader computes with, in the order in which `ReaderModel.identity` hashes it."""
SPAN_TOKENS = 30
"""The longest span, in word pieces."""
EMPTY_MARGIN = -30.0
"""The margin of a passage without a single token."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reader makes of one query and one passage.

    score: calibrated probability in [0, 1] that the passage answers the query; 0.5 is the border.
    margin: logits of the best span's ends minus those of "no answer", the largest over the windows read.
    field, start, end: where the best span lies ("title" or "text"; code points of the original string, end
        exclusive). Given also when the score is low; None only if the passage has no tokens.
    similarity_query, similarity_positive: cosines, the largest over windows (and positives). The first is 0 for a
        query without a token, the second None where no labelled positive has one.
    chunks: windows read. truncated: the passage has more of them than were allowed.
    """

    score: float
    margin: float
    field: Field | None
    start: int | None
    end: int | None
    similarity_query: float
    similarity_positive: float | None
    chunks: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Span:
    margin: float
    field: Field
    start: int
    end: int


class ReaderModel:
    """The reader and the encoder with their weights loaded (about 200 MB of memory); made once, shared by threads.

    Args:
        folder: holds the files of FILES; default: the weights inside the package.
        cached_vectors: how many embeddings (1.5 KB each) of queries and passages seen lately to keep.

    Raises:
        FileNotFoundError: a file is missing in `folder`.

    `read` may be called from any number of threads. Each call works on one CPU core and lets go of Python's lock
    while it computes, so that as many threads as cores keep the machine busy. A pair's result depends on nothing
    but the pair, the labelled positives and `max_chunks`.
    """

    identity: str
    """Lower-case hex of sha256 over the names and sha256 digests of the files the reader computes with."""

    def __init__(self, folder: Path | None = None, cached_vectors: int = 8192) -> None:
        folder = folder or Path(__file__).parent / "weights"
        whole = hashlib.sha256()
        for name in FILES:
            whole.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
        self.identity = whole.hexdigest()
        words = WordVectors(folder)
        self._tokenizer = PieceTokenizer(folder / "tokenizer.json")
        self._reader = Network(folder / "reader.onnx", words)
        self._encoder = Network(folder / "encoder.onnx", words)
        self._fusion = json.loads((folder / "fusion.json").read_text(encoding="utf-8"))
        self._cache = _Cache(cached_vectors)

    def count_tokens(self, text: str) -> int:
        """Number of word pieces in `text`, special tokens not counted."""
        return len(self._tokenizer.tokens(text).ids)

    def read(
        self,
        query: str,
        title: str | None,
        text: str,
        positives: Sequence[tuple[str | None, str]],
        max_chunks: int = 32,
    ) -> Reading:
        """Judges the passage (`title`, `text`).

        Args:
            query: the query; the reader sees its first QUERY_TOKENS word pieces.
            title: shown in front of the text in every window; None and "" are the same.
            text: the passage. Long ones are read in windows of WINDOW tokens that overlap by OVERLAP.
            positives: (title, text) of the row's labelled positives, without the passage itself. Without any, a
                second fusion, calibrated to the same scale, does without the similarity to them.
            max_chunks: the most windows to read; only as much of the passage is tokenised as they need.

        Raises:
            ValueError: `max_chunks` is less than 1.
        """
        if max_chunks < 1:
            raise ValueError(f"max_chunks is {max_chunks}; give 1 or more")
        asked = self._tokenizer.tokens(query, QUERY_TOKENS).ids[:QUERY_TOKENS]
        limit = max_chunks * WINDOW
        titled, body = self._tokenizer.tokens(title or "", limit), self._tokenizer.tokens(text, limit)
        windows, covered = reader_windows(len(asked), len(titled.ids), len(body.ids), max_chunks)
        if not windows:
            return Reading(0.0, EMPTY_MARGIN, None, None, None, 0.0, None, 0, not (titled.complete and body.complete))
        best = max((self._best_span(asked, titled, body, window) for window in windows), key=lambda span: span.margin)
        vectors = self.embed(title, text, max_chunks)
        wanted = self.embed(None, query, 1)
        to_query = float(np.max(vectors @ wanted.T)) if len(wanted) else 0.0
        others = [self.embed(*positive, max_chunks) for positive in positives]
        close = [float(np.max(vectors @ other.T)) for other in others if len(other)]
        to_positive = max(close) if close else None
        return Reading(
            score=self.score(best.margin, to_query, to_positive),
            margin=best.margin,
            field=best.field,
            start=best.start,
            end=best.end,
            similarity_query=to_query,
            similarity_positive=to_positive,
            chunks=len(windows),
            truncated=not (covered and titled.complete and body.complete),
        )

    def _best_span(self, asked: list[int], title: Tokens, text: Tokens, window: Window) -> _Span:
        """The best span of one window; among equals, the first."""
        ids = [CLS, *asked, SEP]
        start_of_passage = len(ids)
        spans: list[tuple[float, Field, int, int]] = []
        shown: list[tuple[Field, Tokens, int, int, int]] = []
        if window.title_to > window.title_from:
            shown.append(("title", title, window.title_from, window.title_to, len(ids)))
            ids += [*title.ids[window.title_from : window.title_to], SEP]
        if window.text_to > window.text_from:
            shown.append(("text", text, window.text_from, window.text_to, len(ids)))
            ids += [*text.ids[window.text_from : window.text_to], SEP]
        logits = self._reader(ids, start_of_passage)
        nothing = float(logits[0, 0]) + float(logits[0, 1])
        for field, tokens, first, last, at in shown:
            score, i, j = _best_pair(logits[at : at + last - first], tokens.words[first:last])
            spans.append((score, field, tokens.places[first + i][0], tokens.places[first + j][1]))
        score, field, start, end = max(spans, key=lambda span: span[0])
        return _Span(score - nothing, field, start, end)

    def embed(self, title: str | None, text: str, most: int = 32) -> Floats:
        """Unit vectors of all-MiniLM-L6-v2 for a passage, shape (windows, 384); no rows for one without a token.

        The title stands in front of the text; windows of WINDOW tokens do not overlap, and `most` are looked at.
        """
        key = hashlib.sha256(f"{most}\0{title or ''}\0{text}".encode("utf-8", "surrogatepass")).digest()
        if (known := self._cache.get(key)) is not None:
            return known
        room = WINDOW - 2
        ids = self._tokenizer.tokens(title or "", room * most).ids
        ids = (ids + self._tokenizer.tokens(text, room * most).ids)[: room * most]
        rows = [[CLS, *ids[at : at + room], SEP] for at in range(0, len(ids), room)]
        vectors = np.stack([self._encoder(row, len(row)) for row in rows]) if rows else np.zeros((0, 384), np.float32)
        self._cache.put(key, vectors)
        return vectors

    def score(self, margin: float, to_query: float, to_positive: float | None) -> float:
        """The calibrated score in [0, 1] of three signals, `to_positive` None where there is nothing to compare with.

        A logistic regression on them, the margin squashed; `training/reader/fuse.py` fits it.
        """
        fusion = self._fusion["without_positives" if to_positive is None else "with_positives"]
        width = self._fusion["margin_width"]
        total: float = fusion["intercept"]
        total += fusion["margin"] * width * math.tanh(margin / width) + fusion["similarity_query"] * to_query
        if to_positive is not None:
            total += fusion["similarity_positive"] * to_positive
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, total))))


def _best_pair(logits: Floats, words: list[int]) -> tuple[float, int, int]:
    """Score, first and last token of the best span in one field: whole words where that is possible."""
    n = len(words)
    order = np.asarray(words)
    begins = np.ones(n, dtype=bool)
    begins[1:] = order[1:] != order[:-1]
    ends = np.ones(n, dtype=bool)
    ends[:-1] = begins[1:]
    total = logits[:, :1].astype(np.float64) + logits[:, 1].astype(np.float64)
    distance = np.arange(n) - np.arange(n)[:, None]
    allowed = (distance >= 0) & (distance < SPAN_TOKENS)
    whole = allowed & begins[:, None] & ends
    total = np.where(whole if whole.any() else allowed, total, -np.inf)
    i, j = divmod(int(np.argmax(total)), n)
    return float(total[i, j]), i, j


class _Cache:
    """Vectors of texts seen lately, at most `capacity` rows in all; threads may share it."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._rows = capacity, 0
        self._items: OrderedDict[bytes, Floats] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Floats | None:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: bytes, vectors: Floats) -> None:
        with self._lock:
            if key in self._items:
                return
            self._items[key] = vectors
            self._rows += 1 + len(vectors)
            while self._rows > self._capacity:
                _, old = self._items.popitem(last=False)
                self._rows -= 1 + len(old)
