"""The embedded reader: does this passage answer this query, and where?

Why it exists: a trial run, a CI job or the first stage of a cascade needs a judge that is in the package, needs no
download and no GPU, and says the same today as yesterday. Three signals make one score: the span margin of a small
extractive reader (MiniLM-L6 trained on SQuAD 1.1), the similarity of passage and query, and the similarity of the
passage and the labelled positives. One pass of one network over query and passage gives all three; its vectors are
distilled from all-MiniLM-L6-v2, which is here too for those who want vectors of texts alone. `training/reader/` made the
weights and documents them. English only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from arhn_hf.reader.cache import Cache
from arhn_hf.reader.fusion import Fusion, Similarities, compare
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
    similarities: how near the passage is to the query and to the labelled positives.
    chunks: windows read. truncated: the passage has more of them than were allowed.
    """

    score: float
    margin: float
    field: Field | None
    start: int | None
    end: int | None
    similarities: Similarities
    chunks: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Span:
    margin: float
    field: Field
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Passes:
    """What the network says of a query and a passage, over all windows: the best span, and a vector of each a window."""

    span: _Span | None
    query: Floats
    passage: Floats
    truncated: bool


class ReaderModel:
    """The reader and the encoder with their weights; made once, shared by threads.

    Args:
        folder: holds the files of FILES; default: the weights inside the package.
        cached_vectors: how many vectors (1.5 KB each) of passages and texts seen lately to keep.

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
        self._open_encoder = lru_cache(maxsize=1)(lambda: Network(folder / "encoder.onnx", words))
        self.fusion = Fusion(folder / "fusion.json")
        self._read_lately: Cache[_Passes] = Cache(cached_vectors, lambda one: 2 * len(one.passage))
        self._texts: Cache[Floats] = Cache(cached_vectors, len)

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
        own = self._kept(query, title, text, max_chunks)
        if own.span is None:
            return Reading(0.0, EMPTY_MARGIN, None, None, None, Similarities(0.0), 0, own.truncated)
        others = [self._kept(query, *positive, max_chunks) for positive in positives]
        near = compare((own.query, own.passage), [(one.query, one.passage) for one in others])
        return Reading(
            score=self.fusion.score(own.span.margin, near),
            margin=own.span.margin,
            field=own.span.field,
            start=own.span.start,
            end=own.span.end,
            similarities=near,
            chunks=len(own.passage),
            truncated=own.truncated,
        )

    def _kept(self, query: str, title: str | None, text: str, max_chunks: int) -> _Passes:
        """`_passes`, remembered: a labelled positive is read once, for itself and for all that is compared with it."""
        key = hashlib.sha256("\0".join([str(max_chunks), query, title or "", text]).encode("utf-8", "surrogatepass"))
        return self._read_lately.get(key.digest(), lambda: self._passes(query, title, text, max_chunks))

    def _passes(self, query: str, title: str | None, text: str, max_chunks: int) -> _Passes:
        """Reads the windows of a passage."""
        asked = self._tokenizer.tokens(query, QUERY_TOKENS).ids[:QUERY_TOKENS]
        limit = max_chunks * WINDOW
        titled, body = self._tokenizer.tokens(title or "", limit), self._tokenizer.tokens(text, limit)
        windows, covered = reader_windows(len(asked), len(titled.ids), len(body.ids), max_chunks)
        truncated = not (covered and titled.complete and body.complete)
        if not windows:
            nothing = np.zeros((0, 384), np.float32)
            return _Passes(None, nothing, nothing, truncated)
        read = [self._window(asked, titled, body, window) for window in windows]
        best = max((span for span, _ in read), key=lambda span: span.margin)
        vectors = np.stack([both for _, both in read])
        return _Passes(best, vectors[:, 0], vectors[:, 1], truncated)

    def _window(self, asked: list[int], title: Tokens, text: Tokens, window: Window) -> tuple[_Span, Floats]:
        """The best span of one window (among equals, the first) and the vectors of query and passage, shape (2, 384)."""
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
        pool = np.zeros((2, len(ids)), np.float32)
        pool[0, 1 : start_of_passage - 1] = 1 / max(1, start_of_passage - 2)
        pool[1, start_of_passage:-1] = 1 / (len(ids) - 1 - start_of_passage)
        logits, vectors = self._reader(ids, start_of_passage, pool)
        if not asked:
            vectors[0] = 0  # an empty query is near to nothing
        nothing = float(logits[0, 0]) + float(logits[0, 1])
        for field, tokens, first, last, at in shown:
            score, i, j = _best_pair(logits[at : at + last - first], tokens.words[first:last])
            spans.append((score, field, tokens.places[first + i][0], tokens.places[first + j][1]))
        score, field, start, end = max(spans, key=lambda span: span[0])
        return _Span(score - nothing, field, start, end), vectors

    def embed(self, title: str | None, text: str, most: int = 32) -> Floats:
        """Unit vectors of all-MiniLM-L6-v2 for a passage, shape (windows, 384); no rows for one without a token.

        The title stands in front of the text; windows of WINDOW tokens do not overlap, and `most` are looked at.
        """
        key = hashlib.sha256(f"{most}\0{title or ''}\0{text}".encode("utf-8", "surrogatepass")).digest()
        return self._texts.get(key, lambda: self._vectors(title, text, most))

    def _vectors(self, title: str | None, text: str, most: int) -> Floats:
        room = WINDOW - 2
        ids = self._tokenizer.tokens(title or "", room * most).ids
        ids = (ids + self._tokenizer.tokens(text, room * most).ids)[: room * most]
        rows = [[CLS, *ids[at : at + room], SEP] for at in range(0, len(ids), room)]
        encoder = self._open_encoder()
        made = [encoder(row, len(row), np.full((1, len(row)), 1 / len(row), np.float32))[0] for row in rows]
        return np.concatenate(made) if made else np.zeros((0, 384), np.float32)


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
