"""What a model replied → a named status; nothing is invented, nothing is completed, nothing raises."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.engines.base import Response
from arhn_hf.judges.parsing import ParsedAnswer, ParsedRanking, parse_answer, parse_ranking

FINISHED = [("length", "cut_off"), ("refused", "refused"), ("content_filter", "refused"), ("error", "engine_error")]


@pytest.mark.parametrize(("finish_reason", "status"), FINISHED)
def test_a_reply_that_did_not_end_well_is_not_read(finish_reason: str, status: str) -> None:
    assert parse_answer(Response('{"answer": "x"}', finish_reason)) == ParsedAnswer(status)
    assert parse_answer(Response('{"answer": null}', finish_reason)) == ParsedAnswer(status)
    assert parse_ranking(Response("[2, 1]", finish_reason), 2) == ParsedRanking(status)


ANSWERS = [
    ("plain", '{"answer": "in 1666"}', "answer", "in 1666"),
    ("null", '{"answer": null}', "no_answer", None),
    ("white space around", ' \n{"answer": " in 1666 "}\n', "answer", "in 1666"),
    ("more keys", '{"reason": "it says so", "answer": "x"}', "answer", "x"),
    ("escapes", r'{"answer": "a \"b\"\n\u00e9 \ud83d\udc4d"}', "answer", 'a "b"\né 👍'),
    ("braces in the snippet", '{"answer": "f(x) = {x}"}', "answer", "f(x) = {x}"),
    ("prose around", 'Sure! {"answer": "x"} Hope it helps.', "answer", "x"),
    ("braces before it", 'The set {1, 2} is meant: {"answer": "x"}', "answer", "x"),
    ("another object before it", '{"thought": "hm"} {"answer": "x"}', "answer", "x"),
    ("code fence", '```json\n{"answer": "x"}\n```', "answer", "x"),
    ("code fence with prose", 'Here:\n```\n{"answer": null}\n```\nDone.', "no_answer", None),
    ("thinking", '<think>is it {"answer": "no"}?</think>\n{"answer": "x"}', "answer", "x"),
    ("thinking that began in the prompt", 'is it {"answer": "no"}?\n</think>\n\n{"answer": null}', "no_answer", None),
    ("thinking that never ends", '<think>perhaps {"answer": "x"}', "malformed", None),
    ("thinking in the snippet", '{"answer": "a </think> tag"}', "answer", "a </think> tag"),
    ("empty text", "", "malformed", None),
    ("empty snippet", '{"answer": ""}', "malformed", None),
    ("blank snippet", '{"answer": " \\n"}', "malformed", None),
    ("a number", '{"answer": 1666}', "malformed", None),
    ("a list", '{"answer": ["x"]}', "malformed", None),
    ("false", '{"answer": false}', "malformed", None),
    ("another key", '{"snippet": "x"}', "malformed", None),
    ("not an object", '["answer"]', "malformed", None),
    ("a bare null", "null", "malformed", None),
    ("cut off but not said so", '{"answer": "in 16', "malformed", None),
    ("prose only", "The passage does not answer the question.", "malformed", None),
    ("Python's None", "{'answer': None}", "malformed", None),
    ("deep nonsense", "[" * 5000 + "{" * 5000, "malformed", None),
    ("deep objects", '{"a":' * 5000, "malformed", None),
]


@pytest.mark.parametrize(("name", "text", "status", "snippet"), ANSWERS, ids=[case[0] for case in ANSWERS])
def test_answer(name: str, text: str, status: str, snippet: str | None) -> None:
    assert parse_answer(Response(text)) == ParsedAnswer(status, snippet)


RANKINGS: list[tuple[str, str, int, str, tuple[int, ...]]] = [
    ("plain", "[2, 3, 1]", 3, "ranked", (1, 2, 0)),
    ("texts in the list", '["2", "[3]", "1"]', 3, "ranked", (1, 2, 0)),
    ("prose around", "The order is [2, 3, 1].", 3, "ranked", (1, 2, 0)),
    ("code fence", "```json\n[2, 3, 1]\n```", 3, "ranked", (1, 2, 0)),
    ("thinking", "<think>[1, 2, 3]? no</think>[2, 3, 1]", 3, "ranked", (1, 2, 0)),
    ("thinking that began in the prompt", "[1, 2, 3]? no</think>[2, 3, 1]", 3, "ranked", (1, 2, 0)),
    ("thinking that never ends", "<think>[1, 2, 3]", 3, "malformed", ()),
    ("arrows", "[2] > [3] > [1]", 3, "ranked", (1, 2, 0)),
    ("arrows without brackets", "2 > 3 > 1", 3, "ranked", (1, 2, 0)),
    ("arrows without spaces", "[2]>[3]>[1]", 3, "ranked", (1, 2, 0)),
    ("arrows over lines", "[2] >\n[3] > [1]", 3, "ranked", (1, 2, 0)),
    ("arrows after a number", "1. [2] > [3] > [1]", 3, "ranked", (1, 2, 0)),
    ("brackets", "[2] [3] [1]", 3, "ranked", (1, 2, 0)),
    ("brackets line by line", "1. [2]\n2. [3]\n3. [1]", 3, "ranked", (1, 2, 0)),
    ("arrows and list numbers", "1. [3] > 2. [1] > 3. [2]", 3, "ranked", (2, 0, 1)),
    ("passages quoted again", "[1] The first says so.\n[2] The second does not.\n[3] x", 3, "malformed", ()),
    ("one passage", "[1]", 1, "ranked", (0,)),
    ("one passage, as text", '["[1]"]', 1, "ranked", (0,)),
    ("left out", "[2, 1]", 3, "partial", (1, 0)),
    ("invented", "[2, 7, 3, 1, 0]", 3, "partial", (1, 2, 0)),
    ("repeated", "[2, 3, 2, 1]", 3, "partial", (2, 0)),
    ("negative", "[-1, 2, 3]", 3, "partial", (1, 2)),
    ("a longer number is not its end", "[10003] > [1] > [2]", 3, "partial", (0, 1)),
    ("too little left", "[2, 2, 9, 1]", 3, "malformed", ()),
    ("one of three", "[2]", 3, "malformed", ()),
    ("none", "[]", 3, "malformed", ()),
    ("empty arrows", "[] > []", 3, "malformed", ()),
    ("empty", "", 3, "malformed", ()),
    ("prose with one number", "20 passages are provided.", 20, "malformed", ()),
    ("not numbers", "[true, false, null]", 3, "malformed", ()),
    ("fractions", "[1.0, 2.0, 3.0]", 3, "malformed", ()),
    ("cut off but not said so", "[2, 3, ", 3, "malformed", ()),
    ("deep nonsense", "[" * 5000, 3, "malformed", ()),
    ("a number without end", "[" + "9" * 5000 + ", 1]", 3, "malformed", ()),
]


@pytest.mark.parametrize(("name", "text", "count", "status", "places"), RANKINGS, ids=[case[0] for case in RANKINGS])
def test_ranking(name: str, text: str, count: int, status: str, places: tuple[int, ...]) -> None:
    assert parse_ranking(Response(text), count) == ParsedRanking(status, places)


def test_a_list_in_an_object() -> None:
    """In prose it is read, alone it is not; hosted endpoints whose schemas must be objects answer so."""
    assert parse_ranking(Response('So: {"ranking": [2, 3, 1]}'), 3) == ParsedRanking("ranked", (1, 2, 0))
    assert parse_ranking(Response('{"ranking": [2, 3, 1]}'), 3) == ParsedRanking("ranked", (1, 2, 0))


FRAGMENTS = st.lists(
    st.sampled_from(
        ['{"answer": ', "null", '"x"', "}", "{", "[", "]", "1", "2", "12", ", ", " > ", "```", "```json\n", "<think>",
        "</think>",
         "\\", '"', "\n", "[3]", "é", "\u0663", "\ud800", "answer"]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=250, deadline=None, database=None)
@given(FRAGMENTS | st.text(max_size=30), st.integers(1, 5))
def test_every_text_ends_in_a_named_status(text: str, count: int) -> None:
    answer = parse_answer(Response(text))
    assert answer.status in ("answer", "no_answer", "malformed")
    assert (answer.snippet is not None) == (answer.status == "answer")
    ranking = parse_ranking(Response(text), count)
    assert ranking.status in ("ranked", "partial", "malformed")
    check_places(text, ranking, count)


def check_places(text: str, ranking: ParsedRanking, count: int) -> None:
    """No place that the text does not name, none twice; complete only if it is."""
    named = {int(n) for n in re.findall(r"\d+", text)}
    assert len(set(ranking.places)) == len(ranking.places)
    assert all(0 <= place < count and place + 1 in named for place in ranking.places)
    assert (ranking.status == "malformed") == (ranking.places == ())
    assert ranking.status != "ranked" or sorted(ranking.places) == list(range(count))


@settings(max_examples=100, deadline=None, database=None)
@given(st.permutations(range(1, 8)), st.sampled_from(["json", "arrows", "fence", "prose"]))
def test_a_complete_ranking_is_read_whatever_its_dress(order: list[int], dress: str) -> None:
    plain = json.dumps(order)
    text = {
        "json": plain,
        "arrows": " > ".join(f"[{n}]" for n in order),
        "fence": f"Here it is:\n```json\n{plain}\n```",
        "prose": f"I rank them so: {plain}, best first.",
    }[dress]
    assert parse_ranking(Response(text), 7) == ParsedRanking("ranked", tuple(n - 1 for n in order))


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(min_size=1), st.booleans())
def test_any_snippet_survives(snippet: str, ascii_only: bool) -> None:
    text = json.dumps({"answer": snippet}, ensure_ascii=ascii_only)
    want = ParsedAnswer("answer", snippet.strip()) if snippet.strip() else ParsedAnswer("malformed")
    assert parse_answer(Response(text)) == want


# ---- what models really say


def responses(shared: Path, name: str) -> list[str]:
    with gzip.open(shared / "listwise-logs" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [record["response"] for record in records]


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("rankvicuna", {"ranked": 387}),
        ("vicuna-7b", {"ranked": 365, "partial": 19, "malformed": 3}),  # 22 not as asked
        ("vicuna-13b", {"ranked": 1, "malformed": 386}),
    ],
)
def test_real_replies(shared_data: Path, name: str, statuses: dict[str, int]) -> None:
    found = Counter[str]()
    for text in responses(shared_data, name):
        ranking = parse_ranking(Response(text), 20)
        found[ranking.status] += 1
        check_places(text, ranking, 20)
        assert len(ranking.places) <= len(re.findall(r"\d+", text))
    assert found == statuses
