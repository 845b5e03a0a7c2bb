"""What needs no LLM, on the same candidates: a judge that does not beat these is not worth its price.

BM25 and bi-encoder ratios are how positive-aware mining drops false negatives (NV-Retriever; `mine_hard_negatives` of
sentence-transformers); the bi-encoder is the embedded all-MiniLM-L6-v2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from arhn_hf.auditing.candidates import Audited
from arhn_hf.auditing.measures import Floats
from arhn_hf.engines.base import Engine, Request
from arhn_hf.records import ArhnError, Document

PERC_POS, MARGIN_POS = 0.95, 0.05
_K1, _B = 0.9, 0.4  # Anserini's defaults
_WORD = re.compile(r"\w+")

Embed = Callable[[str | None, str], Any]
"""Title and text → unit vectors, one a window."""

WINDOWS = 32
"""The most windows of one passage that a cross-encoder reads."""


def baselines(audited: Audited, embed: Embed, cross_encoder: Engine | None = None) -> dict[str, tuple[Floats, Any]]:
    """Name → (score per candidate, flags at the usual threshold or `None`).

    Raises `ArhnError` if the cross-encoder fails on a pair.
    """
    words = bm25_ratio(audited)
    to_query, positive_to_query, to_positive = similarities(audited, embed)
    count = len(audited.candidates)
    return {
        "BM25, ratio to the positive": (words, None),
        "cosine to the query": (to_query, None),
        f"TopK-PercPos {PERC_POS}": (
            (to_query - positive_to_query) / np.maximum(np.abs(positive_to_query), 1e-9), to_query >= positive_to_query - (1 - PERC_POS) * np.abs(positive_to_query)
        ),
        f"TopK-MarginPos {MARGIN_POS}": (to_query - positive_to_query, to_query >= positive_to_query - MARGIN_POS),
        "cosine to the labelled positive": (to_positive, None),
        **({} if cross_encoder is None else {named(cross_encoder): (pair_scores(audited, cross_encoder), None)}),
        "flag everything": (np.zeros(count), np.ones(count, dtype=bool)),
    }  # fmt: skip


def named(cross_encoder: Engine) -> str:
    """What the tables call a cross-encoder."""
    return f"cross-encoder {cross_encoder.identity['model']}"


def pair_scores(audited: Audited, engine: Engine) -> Floats:
    """What a cross-encoder gives each candidate with its query. Raises `ArhnError` if it fails on a pair."""
    asked = [
        engine.submit(
            Request(
                "rank",
                {
                    "query": audited.queries[one.query], "title": one.document.title or "", "text": one.document.text or "",
                    "max_chunks": WINDOWS,
                },
            )
        )
        for one in audited.candidates
    ]  # fmt: skip
    scores = []
    for one, future in zip(audited.candidates, asked, strict=True):
        response = future.result()
        if response.finish_reason == "error":
            raise ArhnError(
                f"fails on a passage ({response.text})", where=f"{named(engine)}, row {one.cell.row}",
                hint="Leave --cross-encoder out, or name another one",
            )  # fmt: skip
        scores.append(json.loads(response.text)["score"])
    return np.array(scores)


def similarities(audited: Audited, embed: Embed) -> tuple[Floats, Floats, Floats]:
    """Cosines of each candidate with its query and with its nearest labelled positive, and the best positive's with the query."""
    queries = [embed(None, text) for text in audited.queries]
    positives = [[_embedded(one, embed) for one in many] for many in audited.positives]
    best = [max((_nearest(one, queries[i]) for one in many), default=1.0) for i, many in enumerate(positives)]
    to_query, positive, to_positive = [], [], []
    for one in audited.candidates:
        vectors = _embedded(one.document, embed)
        to_query.append(_nearest(vectors, queries[one.query]))
        positive.append(best[one.query])
        to_positive.append(max((_nearest(vectors, other) for other in positives[one.query]), default=0.0))
    return np.array(to_query), np.array(positive), np.array(to_positive)


def bm25_ratio(audited: Audited) -> Floats:
    """BM25 of the candidate ÷ that of the query's best labelled positive; document frequencies over all these passages."""
    texts = [_words(one.document) for one in audited.candidates]
    positives = [[_words(one) for one in many] for many in audited.positives]
    every = [*texts, *(text for many in positives for text in many)]
    frequency: dict[str, int] = {}
    for text in every:
        for word in set(text):
            frequency[word] = frequency.get(word, 0) + 1
    mean = sum(map(len, every)) / max(1, len(every))

    def score(query: list[str], text: list[str]) -> float:
        total = 0.0
        for word in set(query):
            count = text.count(word)
            idf = np.log(1 + (len(every) - frequency.get(word, 0) + 0.5) / (frequency.get(word, 0) + 0.5))
            total += idf * count / (count + _K1 * (1 - _B + _B * len(text) / mean))
        return float(total)

    asked = [_WORD.findall(text.casefold()) for text in audited.queries]
    best = [max((score(asked[i], text) for text in many), default=0.0) for i, many in enumerate(positives)]
    return np.array(
        [
            score(asked[one.query], text) / max(best[one.query], 1e-9)
            for one, text in zip(audited.candidates, texts, strict=True)
        ]
    )


def _words(document: Document) -> list[str]:
    return _WORD.findall(f"{document.title or ''} {document.text or ''}".casefold())


def _embedded(document: Document, embed: Embed) -> Any:
    return embed(document.title, document.text or "")


def _nearest(first: Floats, second: Floats) -> float:
    """The largest cosine between any two windows."""
    return float((np.atleast_2d(first) @ np.atleast_2d(second).T).max())
