"""A cross-encoder as a judge: the embedded reader says what answers and where, the cross-encoder ranks.

A cross-encoder gives one number for a pair and quotes nothing, so snippets, statuses and scores of answers are the
reader's. Positives are ranked like any passage. One list, one order: a score has no position bias.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from arhn_hf.engines.base import Request, Response
from arhn_hf.engines.routed import RoutedEngine
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge, place
from arhn_hf.judges.reader import ReaderJudge
from arhn_hf.records import Answer, Ranking, Row
from arhn_hf.store import Store


class RoutedAsker(Asker):
    """An asker whose responses are kept under the identity of the engine that gave them."""

    def __init__(self, engine: RoutedEngine, store: Store, *, max_in_flight: int, stop: threading.Event) -> None:
        super().__init__(engine, store, max_in_flight=max_in_flight, stop=stop)
        self._keys = engine.keys


class CrossEncoderJudge(Judge):
    """Judge over a `RoutedEngine`: requests of kind `answer` go to the reader, of kind `rank` to the cross-encoder.

    `threshold` is the reader's calibrated score from which a passage answers.
    """

    name = "cross-encoder"
    orders = 1
    english_only = True  # because the reader is

    def __init__(self, asker: Asker, *, threshold: float, max_chunks: int) -> None:
        self._asker, self._threshold, self._max_chunks = asker, threshold, max_chunks
        self._reader = ReaderJudge(asker, threshold=threshold, max_chunks=max_chunks)

    async def answers(self, row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
        """See `Judge.answers`: the reader's."""
        return await self._reader.answers(row, criterion, wanted)

    async def rank(
        self, row: Row, criterion: str, answers: Sequence[Answer], candidates: Sequence[int]
    ) -> list[Ranking]:
        """See `Judge.rank`: by score, highest first; equal scores in the order of `row.passages`."""
        rankings = [Ranking() for _ in answers]
        listed = [*range(len(row.positives)), *candidates]
        scored = []
        for i, response in zip(listed, await self._asker.ask([self._request(row, i) for i in listed]), strict=True):
            score = _score(response)
            if score is None:
                rankings[i].status = "engine_error"
            else:
                scored.append((-score, i))
        return place(rankings, [i for _, i in sorted(scored)])

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`. `answers_by` is the reader."""
        identity = self._asker.engine.identity
        ranker, reader = identity["rank"], identity["answer"]
        return {
            "kind": self.name, "model": ranker["model"], "revision": ranker["revision"], "dtype": ranker["dtype"],
            "answers_by": {"kind": "reader", "model": reader["model"], "revision": reader["revision"]},
            "answer_threshold": self._threshold, "max_chunks": self._max_chunks,
        }  # fmt: skip

    def _request(self, row: Row, index: int) -> Request:
        passage = row.passages[index]
        return Request(
            "rank",
            {
                "query": row.query, "title": passage.title or "", "text": passage.text,
                "max_chunks": self._max_chunks,
            },
        )  # fmt: skip


def _score(response: Response) -> float | None:
    return None if response.finish_reason == "error" else float(json.loads(response.text)["score"])
