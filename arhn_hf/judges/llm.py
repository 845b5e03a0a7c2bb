"""An LLM as a judge, whatever engine runs it: stage 1 asks each passage for a verbatim snippet, stage 2 ranks lists of
passages.

Source: ARHN (arXiv 2604.11092) for the two stages; prompts, chunks, windows, orders and the second attempt are our
choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
SMALLEST_CHUNK = 500
ANSWER_TOKENS = 512
_SCHEMA = {
    "type": "object", "properties": {"answer": {"type": ["string", "null"]}}, "required": ["answer"],
    "additionalProperties": False,
}  # fmt: skip
_PROBLEMS = {
    "ungrounded": "These words are not in the passage. Copy them exactly as the passage has them, or answer null.",
    "malformed": "That was not the JSON asked for.",
}


class _Piece(NamedTuple):
    """One chunk of a passage: which of the wanted, where it begins, its text and its request."""

    number: int
    offset: int
    text: str
    request: Request


class LLMJudge(Judge):
    """Judge over any engine that takes chat messages. `orders`, `window_size`, `window_positives`, `seed` and
    `rank_input` are the options of the same names; `about` is what `describe` adds (model, revision, sampling)."""

    def __init__(
        self, asker: Asker, *, name: str, about: dict[str, Any], orders: int, window_size: int, window_positives: int,
        seed: int, rank_input: str, max_chunks: int, max_tokens: int = ANSWER_TOKENS, prompts: str | None = None,
        notice: Callable[[str], None] = lambda line: None,
    ) -> None:  # fmt: skip
        self._asker, self.name, self._about, self.orders = asker, name, about, orders
        self._window_size, self._window_positives, self._seed = window_size, window_positives, seed
        self._rank_input, self._max_chunks = rank_input, max_chunks
        self._max_tokens, self._prompts, self._notice = max_tokens, prompts, notice
        self._shrunk = False

    async def answers(self, row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
        """See `Judge.answers`. All requests of the row are in flight at once; only second attempts follow, and smaller
        chunks of what the engine found too long."""
        pieces, responses = await self._read(row, criterion, wanted)
        found: list[list[Answer]] = [[] for _ in wanted]
        second: list[_Piece] = []
        seen = [0] * len(wanted)
        for (number, offset, text, request), response in zip(pieces, responses, strict=True):
            seen[number] = max(seen[number], offset + len(text))
            answer = _grounded(response, row.passages[wanted[number]].title, text, offset)
            if answer.status in _PROBLEMS:
                second.append(_Piece(number, offset, text, self._again(request, response, answer.status)))
            else:
                found[number].append(answer)
        if second:
            for (number, offset, text, _), response in zip(
                second, await self._asker.ask([piece.request for piece in second]), strict=True
            ):
                found[number].append(_grounded(response, row.passages[wanted[number]].title, text, offset))
        return [
            _best_chunk(chunks, truncated=reach < len(row.passages[i].text))
            for i, chunks, reach in zip(wanted, found, seen, strict=True)
        ]

    async def rank(
        self, row: Row, criterion: str, answers: Sequence[Answer], candidates: Sequence[int]
    ) -> list[Ranking]:
        """See `Judge.rank`. Every window and order of the row is in flight at once."""
        positives = list(range(len(row.positives)))[: self._window_positives]
        size = self._window_size
        while True:
            windows = cut(row, positives, candidates, size=size, orders=self.orders, seed=self._seed)
            requests = [self._ranking_request(row, criterion, answers, window) for window in windows]
            smallest = size <= len(positives) + 1
            if smallest or all(self._asker.engine.fits(request) for request in requests):
                responses = await self._asker.ask(requests)
                if smallest or not _too_long(responses):
                    break
            size = max(len(positives) + 1, min(size, len(positives) + len(candidates)) * 2 // 3)
            self._say_shrunk()
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
        texts = {name: template(name, self._prompts).template for name in ("answer", "ranking", "again")}
        return {**self._about, "prompts": texts}

    async def _read(self, row: Row, criterion: str, wanted: Sequence[int]) -> tuple[list[_Piece], list[Response]]:
        """Every chunk of every wanted passage with its response; a passage whose chunks do not fit is cut into smaller ones."""
        sizes = [CHUNK] * len(wanted)
        done: dict[int, list[tuple[_Piece, Response]]] = {}
        while len(done) < len(wanted):
            pieces: list[_Piece] = []
            for number, i in enumerate(wanted):
                if number not in done:
                    sizes[number], cut_up = self._pieces(row, criterion, i, sizes[number])
                    pieces += [_Piece(number, *piece) for piece in cut_up]
            answered: dict[int, list[tuple[_Piece, Response]]] = {}
            for piece, response in zip(pieces, await self._asker.ask([p.request for p in pieces]), strict=True):
                answered.setdefault(piece.number, []).append((piece, response))
            for number, chunks in answered.items():
                length = len(row.passages[wanted[number]].text)
                if min(sizes[number], length) <= SMALLEST_CHUNK or not _too_long([one for _, one in chunks]):
                    done[number] = chunks
                else:
                    sizes[number] = max(SMALLEST_CHUNK, min(sizes[number], length) // 2)
        flat = [pair for number in range(len(wanted)) for pair in done[number]]
        return [piece for piece, _ in flat], [response for _, response in flat]

    def _pieces(self, row: Row, criterion: str, index: int, size: int) -> tuple[int, list[tuple[int, str, Request]]]:
        """The chunks of one passage with their requests; chunks are halved until they fit into the model's context."""
        passage = row.passages[index]
        while True:
            pieces = [
                (offset, text, self._answer_request(row, criterion, passage.title, text))
                for offset, text in _chunks(passage.text, size)[: self._max_chunks]
            ]
            if size <= SMALLEST_CHUNK or all(self._asker.engine.fits(request) for _, _, request in pieces):
                return size, pieces
            size //= 2

    def _answer_request(self, row: Row, criterion: str, title: str | None, text: str) -> Request:
        shared = shared_part(criterion, row.query, row.instruction)
        messages = [
            {"role": "system", "content": instructions("answer", criterion, folder=self._prompts)},
            {"role": "user", "content": shared + passage_part(title, text)},
        ]
        return _request("answer", messages, _SCHEMA, self._max_tokens)

    def _again(self, request: Request, response: Response, status: str) -> Request:
        """The second attempt: what was said, and what is wrong with it."""
        turn = template("again", self._prompts).substitute(problem=_PROBLEMS[status]).strip()
        messages = [
            *request.payload["messages"],
            {"role": "assistant", "content": response.text},
            {"role": "user", "content": turn},
        ]
        return _request("answer", messages, _SCHEMA, self._max_tokens, attempt=2)

    def _say_shrunk(self) -> None:
        """Once per run."""
        if not self._shrunk:
            self._shrunk = True
            self._notice(f"Windows of {self._window_size} passages do not fit into the model's context: they shrink.")

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
            {"role": "system", "content": instructions("ranking", criterion, count, self._prompts)},
            {"role": "user", "content": body},
        ]
        thinking = max(0, self._max_tokens - ANSWER_TOKENS)
        return _request("rank", messages, schema, 8 * count + 32 + thinking)

    def _shown(self, row: Row, index: int, answer: Answer) -> str:
        passage = row.passages[index]
        whole = f"Title: {passage.title}\n{passage.text}" if passage.title else passage.text
        if answer.status not in GROUNDED or self._rank_input == "passage":
            return whole[:CHUNK]
        if self._rank_input == "snippet":
            return answer.snippet or ""
        return f"{whole[:CHUNK]}\nAnswer in it: {fenced('answer', answer.snippet or '')}"


def _chunks(text: str, size: int) -> list[tuple[int, str]]:
    """Overlapping chunks of at most `size` code points, with their offsets."""
    if len(text) <= size:
        return [(0, text)]
    overlap = min(OVERLAP, size // 4)
    return [(start, text[start : start + size]) for start in range(0, max(1, len(text) - overlap), size - overlap)]


def _request(
    kind: str, messages: list[dict[str, str]], schema: dict[str, Any], max_tokens: int, attempt: int = 1
) -> Request:
    return Request(kind, {"messages": messages, "schema": schema, "max_tokens": max_tokens}, attempt)


def _too_long(responses: Sequence[Response]) -> bool:
    return any(response.finish_reason == "too_long" for response in responses)


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
