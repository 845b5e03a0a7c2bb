"""Recorded answers as a judge (`--judge replay --responses FILE`): grades per pair, raw replies, or rankings somebody else paid for.

A grade names no words: a passage graded as relevant answers as a whole, and the card says that grades judged it. Grades rank, too; equal
ones leave the labelled positives in front, so that a tie relabels nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from arhn_hf.engines.base import Request, Response
from arhn_hf.engines.replay import ReplayEngine
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge, place
from arhn_hf.judges.grounding import ground
from arhn_hf.judges.parsing import parse_answer
from arhn_hf.records import Answer, Ranking, Row, UsageError

RELEVANT = 2.0  # as TREC grades it


class ReplayJudge(Judge):
    """Judge over `engines.replay`. Pairs that were not recorded are failed judgements, never clean ones."""

    name = "replay"
    orders = 1

    def __init__(self, asker: Asker, engine: ReplayEngine) -> None:
        self._asker, self._about, self._graded = asker, engine.about, engine.graded

    async def answers(self, row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
        """See `Judge.answers`."""
        if row.query_id is None or any(row.passages[i].docid is None for i in wanted):
            raise UsageError(
                "the source has no query ids and docids to find recorded answers by", where="--judge replay"
            )
        requests = [
            Request("answer", {"query_id": row.query_id or "", "docid": row.passages[i].docid or ""}) for i in wanted
        ]
        responses = await self._asker.ask(requests)
        return [_answer(response, row.passages[i]) for i, response in zip(wanted, responses, strict=True)]

    async def rank(
        self, row: Row, criterion: str, answers: Sequence[Answer], candidates: Sequence[int]
    ) -> list[Ranking]:
        """See `Judge.rank`: by the recorded ranking, or by grade where grades were recorded."""
        listed = [*range(len(row.positives)), *candidates]
        rankings = [Ranking() for _ in answers]
        if self._graded:
            others = [i for i in listed if answers[i].judge not in (None, self.name)]
            graded = dict(enumerate(answers))  # of passages that another judge read, the score is not a grade
            graded.update(zip(others, await self.answers(row, criterion, others), strict=True))
            order = sorted(
                (i for i in listed if graded[i].score is not None), key=lambda i: (-(graded[i].score or 0.0), i)
            )
            return _placed(rankings, listed, order, "engine_error")
        (response,) = await self._asker.ask([Request("rank", {"query_id": row.query_id or ""})])
        if response.finish_reason != "stop":
            return _placed(rankings, listed, [], "engine_error")
        named = [str(one) for one in json.loads(response.text)["ranking"]]
        first = {docid: place for place, docid in reversed(list(enumerate(named))) if named.count(docid) == 1}
        order = sorted(
            (i for i in listed if row.passages[i].docid in first), key=lambda i: first[row.passages[i].docid or ""]
        )
        return _placed(rankings, listed, order, "partial")

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`."""
        return {**self._about, "recorded": "grades" if self._graded else "responses"}


def _answer(response: Response, passage: Any) -> Answer:
    if response.finish_reason != "stop":
        return Answer("engine_error")
    said = json.loads(response.text)
    if "grade" in said:
        grade = float(said["grade"])
        if grade < RELEVANT:
            return Answer("no_answer", score=grade)
        return Answer("answered", passage.text, "text", 0, len(passage.text), score=grade)
    parsed = parse_answer(
        Response(said["response"] if isinstance(said["response"], str) else json.dumps(said["response"]))
    )
    if parsed.snippet is None:
        return Answer(parsed.status)
    place = ground(parsed.snippet, passage.title, passage.text)
    if place is None:
        return Answer("ungrounded")
    value = (passage.title if place.field == "title" else passage.text) or ""
    return Answer(place.status, value[place.start : place.end], place.field, place.start, place.end)


def _placed(rankings: list[Ranking], listed: Sequence[int], order: Sequence[int], missing: str) -> list[Ranking]:
    for i in listed:
        rankings[i].status = missing
    return place(rankings, order)
