"""Read what a model replied: strictly where it kept to the schema, tolerantly where it did not, never inventing anything.

Every reply ends in a named status. What a model left out, repeated or made up stays out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from arhn_hf.engines.base import Response

_FAILED = {
    "length": "cut_off", "refused": "refused", "content_filter": "refused", "error": "engine_error",
    "too_long": "engine_error",
}  # fmt: skip
_THINK = re.compile(r".*</think>|<think>.*", re.DOTALL)  # the opening tag often stands in the prompt
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_LIST_NUMBER = re.compile(r"(?<![\d\[])\d{1,4}[.)]\s+(?=\[)")  # the `2.` of `2. [17]` names no passage
_BRACKETED = re.compile(r"\[\d{1,4}\](?:[\s,;]*\[\d{1,4}\])+")  # with words between, it quotes the passages
_CHAIN = re.compile(r"(?<!\d)\[?\d{1,4}\]?(?:\s*>\s*\[?\d{1,4}\]?)+")


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """`status` is `answer` (with `snippet`), `no_answer`, or why there is none: `malformed, cut_off, refused, engine_error`."""

    status: str
    snippet: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedRanking:
    """`status` is `ranked`, `partial`, or why there is none; `places` are indices into the shown list, best first."""

    status: str
    places: tuple[int, ...] = ()


def parse_answer(response: Response) -> ParsedAnswer:
    """Read an answer: `{"answer": string or null}`, possibly in prose, a code fence or after `<think>`."""
    failed = _FAILED.get(response.finish_reason)
    if failed:
        return ParsedAnswer(failed)
    for value in _json_values(response.text, "{"):
        if isinstance(value, dict) and "answer" in value:
            answer = value["answer"]
            if answer is None:
                return ParsedAnswer("no_answer")
            if isinstance(answer, str) and answer.strip():
                return ParsedAnswer("answer", answer.strip())
            return ParsedAnswer("malformed")
    return ParsedAnswer("malformed")


def parse_ranking(response: Response, count: int) -> ParsedRanking:
    """Read a ranking of `count` shown passages, numbered from 1: a JSON list, or `[2] > [1]`.

    A number named twice has no clear place and is left out with those that are missing or made up (`partial`); fewer than two
    usable numbers are `malformed`.
    """
    failed = _FAILED.get(response.finish_reason)
    if failed:
        return ParsedRanking(failed)
    named = _numbers(response.text)
    if named is None:
        return ParsedRanking("malformed")
    usable = [n for n in named if 1 <= n <= count and named.count(n) == 1]
    if len(usable) < min(2, count):
        return ParsedRanking("malformed")
    complete = len(usable) == count and len(named) == count
    return ParsedRanking("ranked" if complete else "partial", tuple(n - 1 for n in usable))


def _numbers(text: str) -> list[int] | None:
    for value in _json_values(text, "["):
        if isinstance(value, list) and len(value) > 1:
            numbers = [_number(item) for item in value]
            if all(n is not None for n in numbers):
                return [n for n in numbers if n is not None]
    body = _LIST_NUMBER.sub("", _THINK.sub("", text))
    runs = _CHAIN.findall(body) or _BRACKETED.findall(body)
    if runs:
        return [int(n) for n in re.findall(r"\d{1,4}", max(runs, key=len))]
    for value in _json_values(text, "["):
        if isinstance(value, list) and len(value) == 1 and _number(value[0]) is not None:
            return [n for n in map(_number, value) if n is not None]
    return None


def _number(item: Any) -> int | None:
    if isinstance(item, bool):
        return None
    if isinstance(item, int):
        return item
    if isinstance(item, str) and re.fullmatch(r"\[?\d{1,4}\]?", item.strip()):
        return int(item.strip().strip("[]"))
    return None


def _decoded(text: str, wanted: type) -> Any:
    """The text as JSON if it is a value of the wanted type, else `None`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, wanted) else None


def _json_values(text: str, opening: str) -> list[Any]:
    """JSON values that stand in the text: the whole of it, a code fence, or whatever decodes from an opening bracket on."""
    wanted = dict if opening == "{" else list
    whole = _decoded(text.strip(), wanted)  # nearly always: what follows is for models that say more
    if whole is not None:
        return [whole]
    body = _THINK.sub("", text).strip()
    fence = _FENCE.search(body)
    for candidate in (body, fence.group(1) if fence else ""):
        value = _decoded(candidate, wanted)
        if value is not None:
            return [value]
    values: list[Any] = []
    decoder = json.JSONDecoder()
    start = body.find(opening)
    while start >= 0 and len(values) < 64:
        try:
            value, end = decoder.raw_decode(body, start)
            values.append(value)
        except RecursionError:  # nothing but opening brackets: trying each of them would take seconds
            break
        except ValueError:
            end = start + 1
        start = body.find(opening, end)
    return values
