"""The embedded reader as a judge: one calibrated score per passage decides "answers or not" and the ranking.

No LLM reads anything here, and the card says so. A labelled positive is never compared with itself: it is scored with the row's
other positives or, if there are none, by the reader's second fusion. One window, one order: a score has no position bias.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from arhn_hf.config import RELABEL_THRESHOLD
from arhn_hf.engines.base import Request, Response
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge, place
from arhn_hf.records import Answer, Ranking, Row


class ReaderJudge(Judge):
    """Judge over `engines.reader`. `threshold` is the calibrated score from which a passage answers, `relabel_threshold` that
    from which it may stand above a labelled positive."""

    name = "reader"
    orders = 1
    english_only = True

    def __init__(
        self, asker: Asker, *, threshold: float, max_chunks: int, relabel_threshold: float = RELABEL_THRESHOLD
    ) -> None:
        self._asker, self._threshold, self._max_chunks = asker, threshold, max_chunks
        self._relabel_threshold = relabel_threshold

    async def answers(self, row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
        """See `Judge.answers`. The reader reads claims as it reads questions; the criterion is part of the request all the same."""
        responses = await self._asker.ask([self._request(row, i, criterion) for i in wanted])
        return [self._parse(response) for response in responses]

    async def rank(
        self, row: Row, criterion: str, answers: Sequence[Answer], candidates: Sequence[int]
    ) -> list[Ranking]:
        """See `Judge.rank`: by score, highest first; equal scores in the order of `row.passages`. Sends nothing.

        A positive is a positive because a person said so, and often scores low: a negative that does not reach
        `relabel_threshold` stands below all of them, whatever they score.
        """
        rankings = [Ranking() for _ in answers]
        listed = [*range(len(row.positives)), *candidates]
        scored = []
        for i in listed:
            score = answers[i].score
            if score is None:
                rankings[i].status = answers[i].status if answers[i].status == "engine_error" else "malformed"
            else:
                unsure = i >= len(row.positives) and score < self._relabel_threshold
                scored.append((unsure, -score, i))
        return place(rankings, [i for *_, i in sorted(scored)])

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`."""
        identity = self._asker.engine.identity
        return {
            "kind": "reader", "model": identity["model"], "revision": identity["revision"],
            "answer_threshold": self._threshold, "relabel_threshold": self._relabel_threshold,
            "max_chunks": self._max_chunks,
        }  # fmt: skip

    def _request(self, row: Row, index: int, criterion: str) -> Request:
        passage = row.passages[index]
        own = None if index >= len(row.positives) else index
        positives = {(p.title or "", p.text) for i, p in enumerate(row.positives) if i != own}
        positives.discard((passage.title or "", passage.text))
        return Request(
            "answer",
            {
                "query": row.query, "instruction": row.instruction, "criterion": criterion, "title": passage.title or "",
                "text": passage.text, "positives": sorted(positives), "max_chunks": self._max_chunks,
            },
        )  # fmt: skip

    def _parse(self, response: Response) -> Answer:
        if response.finish_reason == "error":
            return Answer("engine_error")
        reading = json.loads(response.text)
        answered = reading["score"] >= self._threshold and reading["field"] is not None
        if not answered:
            return Answer("no_answer", score=reading["score"], truncated=reading["truncated"])
        return Answer(
            "answered", reading["snippet"], reading["field"], reading["start"], reading["end"], reading["score"],
            reading["truncated"],
        )  # fmt: skip
