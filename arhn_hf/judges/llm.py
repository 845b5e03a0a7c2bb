"""An LLM as a judge, whatever engine runs it: stage 1 asks each passage for a verbatim snippet, stage 2 ranks lists of
passages.

Source: ARHN (arXiv 2604.11092) for the two stages; prompts, chunks, windows, orders and the second attempt are our
choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arhn_hf.engines.base import Request, Response
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge
from arhn_hf.judges.grounding import ground
from arhn_hf.judges.parsing import parse_answer, parse_ranking
from arhn_hf.prompts import fenced, instructions, listed_part, passage_part, shared_part, template
from arhn_hf.records import GROUNDED, Answer, Placement, Ranking, Row
from arhn_hf.windows import Window, cut

CHUNK = 24_000  # code points of a passage in one request
OVERLAP = 2_000
ANSWER_TOKENS = 512
_SCHEMA = {
    "type": "object", "properties": {"answer": {"type": ["string", "null"]}}, "required": ["answer"],
    "additionalProperties": False,
}  # fmt: skip
_PROBLEMS = {
    "ungrounded": "These words are not in the passage. Copy them exactly as the passage has them, or answer null.",
    "malformed": "That was not the JSON asked for.",
}


class LLMJudge(Judge):
    """Judge over any engine that takes chat messages. `orders`, `window_size`, `window_positives`, `seed` and
    `rank_input` are the options of the same names; `about` is what `describe` adds (model, revision, sampling)."""

    def __init__(
        self, asker: Asker, *, name: str, about: dict[str, Any], orders: int, window_size: int, window_positives: int,
        seed: int, rank_input: str, max_chunks: int,
    ) -> None:  # fmt: skip
        self._asker, self.name, self._about, self.orders = asker, name, about, orders
        self._window_size, self._window_positives, self._seed = window_size, window_positives, seed
        self._rank_input, self._max_chunks = rank_input, max_chunks

    async def answers(self, row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
        """See `Judge.answers`. All requests of the row are in flight at once; only second attempts follow."""
        opening = instructions("answer", criterion)
        shared = shared_part(criterion, row.query, row.instruction)
        pieces: list[tuple[int, int, str]] = []  # (which wanted, offset, text)
        for number, i in enumerate(wanted):
            pieces += [(number, offset, text) for offset, text in self._chunks(row.passages[i].text)]
        messages = [
            [
                {"role": "system", "content": opening},
                {"role": "user", "content": shared + passage_part(row.passages[wanted[number]].title, text)},
            ]
            for number, _, text in pieces
        ]
        responses = await self._asker.ask([_request("answer", one, _SCHEMA, ANSWER_TOKENS) for one in messages])
        found: list[list[Answer]] = [[] for _ in wanted]
        second: list[tuple[int, int, str, Request]] = []
        for (number, offset, text), one, response in zip(pieces, messages, responses, strict=True):
            answer = _grounded(response, row.passages[wanted[number]].title, text, offset)
            if answer.status in _PROBLEMS:
                turn = template("again").substitute(problem=_PROBLEMS[answer.status]).strip()
                again = [*one, {"role": "assistant", "content": response.text}, {"role": "user", "content": turn}]
                second.append((number, offset, text, _request("answer", again, _SCHEMA, ANSWER_TOKENS, attempt=2)))
            else:
                found[number].append(answer)
        if second:
            for (number, offset, text, _), response in zip(
                second, await self._asker.ask([item[3] for item in second]), strict=True
            ):
                found[number].append(_grounded(response, row.passages[wanted[number]].title, text, offset))
        return [
            _best_chunk(chunks, truncated=not self._wholly_seen(row.passages[i].text))
            for i, chunks in zip(wanted, found, strict=True)
        ]

    async def rank(
        self, row: Row, criterion: str, answers: Sequence[Answer], candidates: Sequence[int]
    ) -> list[Ranking]:
        """See `Judge.rank`. Every window and order of the row is in flight at once."""
        positives = list(range(len(row.positives)))[: self._window_positives]
        windows = cut(row, positives, candidates, size=self._window_size, orders=self.orders, seed=self._seed)
        requests = [self._ranking_request(row, criterion, answers, window) for window in windows]
        responses = await self._asker.ask(requests)
        rankings = [Ranking() for _ in answers]
        failures: dict[int, str] = {}
        for window, response in zip(windows, responses, strict=True):
            parsed = parse_ranking(response, len(window.items))
            for rank, place in enumerate(parsed.places, start=1):
                rankings[window.items[place]].placements.append(Placement(window.window, window.order, rank))
            named = {window.items[place] for place in parsed.places}
            for i in window.items:
                if i not in named:
                    failures.setdefault(i, "partial" if parsed.status == "ranked" else parsed.status)
        for window in windows:
            for i in window.items:
                rankings[i].status = failures.get(i, "ranked")
        return rankings

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`."""
        return {**self._about, "prompts": {name: template(name).template for name in ("answer", "ranking", "again")}}

    def _ranking_request(self, row: Row, criterion: str, answers: Sequence[Answer], window: Window) -> Request:
        count = len(window.items)
        body = shared_part(criterion, row.query, row.instruction) + listed_part(
            [self._shown(row, i, answers[i]) for i in window.items]
        )
        schema = {
            "type": "array", "items": {"type": "integer", "enum": list(range(1, count + 1))}, "minItems": count,
            "maxItems": count,
        }  # fmt: skip
        messages = [
            {"role": "system", "content": instructions("ranking", criterion, count)},
            {"role": "user", "content": body},
        ]
        return _request("rank", messages, schema, 8 * count + 32)

    def _shown(self, row: Row, index: int, answer: Answer) -> str:
        passage = row.passages[index]
        whole = f"Title: {passage.title}\n{passage.text}" if passage.title else passage.text
        if answer.status not in GROUNDED or self._rank_input == "passage":
            return whole[:CHUNK]
        if self._rank_input == "snippet":
            return answer.snippet or ""
        return f"{whole[:CHUNK]}\nAnswer in it: {fenced('answer', answer.snippet or '')}"

    def _chunks(self, text: str) -> list[tuple[int, str]]:
        if len(text) <= CHUNK:
            return [(0, text)]
        starts = range(0, max(1, len(text) - OVERLAP), CHUNK - OVERLAP)
        return [(start, text[start : start + CHUNK]) for start in starts][: self._max_chunks]

    def _wholly_seen(self, text: str) -> bool:
        offset, last = self._chunks(text)[-1]
        return offset + len(last) >= len(text)


def _request(
    kind: str, messages: list[dict[str, str]], schema: dict[str, Any], max_tokens: int, attempt: int = 1
) -> Request:
    return Request(kind, {"messages": messages, "schema": schema, "max_tokens": max_tokens}, attempt)


def _grounded(response: Response, title: str | None, text: str, offset: int) -> Answer:
    """The answer of one chunk, with offsets in the whole field."""
    parsed = parse_answer(response)
    if parsed.snippet is None:
        return Answer(parsed.status)
    place = ground(parsed.snippet, title, text)
    if place is None:
        return Answer("ungrounded")
    value, shift = (title or "", 0) if place.field == "title" else (text, offset)
    snippet = value[place.start : place.end]
    return Answer(place.status, snippet, place.field, place.start + shift, place.end + shift)


def _best_chunk(chunks: Sequence[Answer], *, truncated: bool) -> Answer:
    """The first chunk that answers, else the first failure, else "no answer"."""
    order = {"answered": 0, "approximate": 1, "no_answer": 3}
    best = min(chunks, key=lambda answer: order.get(answer.status, 2))
    best.truncated = truncated
    return best
