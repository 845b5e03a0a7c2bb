"""Rule 1, before any judge: what equals or nearly equals a positive, what belongs together, what is judged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.methods.duplicates import prepare
from arhn_hf.records import Cell, Label, Passage, Row
from arhn_hf.rules import Rules

EQUAL, ELSEWHERE = ("duplicate", "equals_positive"), ("duplicate", "equals_positive_elsewhere")
NEAR, NOT_CHOSEN = ("duplicate", "near_positive"), ("skipped", "max_negatives")
TEN = "one two three four five six seven eight nine ten"
NINE = "one two three four five six seven eight nine"
EIGHT = "one two three four five six seven eight"
SEVEN = "one two three four five six seven"
Text = str | tuple[str | None, str]


def make_row(positives: list[Text], negatives: list[Text], query: str = "q") -> Row:
    def passages(label: Label, texts: list[Text]) -> list[Passage]:
        pairs = [one if isinstance(one, tuple) else (None, one) for one in texts]
        return [Passage(label, i, title, text, f"d{i}", [Cell(0, label, i)]) for i, (title, text) in enumerate(pairs)]

    return Row(0, [0], query, passages("positive", positives), passages("negative", negatives))


CASES: list[tuple[str, list[Text], list[Text], list[Any]]] = [
    ("equal", ["Same text."], ["Same text.", "other"], [EQUAL, None]),
    ("equal after NFKC, case and white space", ["Ｆｉｎｅ  ﬁsh\r\nStraße"], ["fine fish STRASSE"], [EQUAL]),
    ("punctuation alone differs: not equal, but near", [f"{TEN}."], [f"{TEN}!"], [NEAR]),
    ("a missing title is empty", [("", "x y")], [(None, "x y")], [EQUAL]),
    ("a title that only stands in one of them", [("Title", "x y")], ["x y"], [None]),
    ("title and text are told apart, but words are not", [("a b", "c d")], [("a", "b c d")], [NEAR]),
    ("punctuation alone can be equal", ["???"], ["???", "!!!"], [EQUAL, None]),
    ("the second positive counts too", ["first thing", "second thing here"], ["second  thing here"], [EQUAL]),
    ("near a positive: 8 of 10", [TEN], [EIGHT], [NEAR]),
    ("not near: 7 of 10", [TEN], [SEVEN], [None]),
    ("near a positive through another negative", [TEN], [SEVEN, EIGHT], [NEAR, NEAR]),
    ("near something equal to a positive", [TEN], [TEN.upper(), NINE], [EQUAL, NEAR]),
    ("same docid with another text is no match", ["something"], ["anything else"], [None]),
    ("no negatives", ["x"], [], []),
]


@pytest.mark.parametrize(("name", "positives", "negatives", "outcome"), CASES, ids=[case[0] for case in CASES])
def test_outcome(name: str, positives: list[Text], negatives: list[Text], outcome: list[Any]) -> None:
    assert prepare(make_row(positives, negatives), Rules()).outcome == outcome


def test_equal_to_a_positive_elsewhere() -> None:
    row = make_row(["here"], ["there", "here", "nowhere"])
    prepared = prepare(row, Rules(), lambda p: p.text in ("there", "here"))
    assert prepared.outcome == [ELSEWHERE, EQUAL, None]
    assert prepared.cluster == [-1, -1, 2]


def test_near_a_positive_elsewhere_is_judged() -> None:
    prepared = prepare(make_row(["other"], [TEN, NINE]), Rules(), lambda p: p.text == TEN)
    assert prepared.outcome == [ELSEWHERE, None]


CLUSTERS = [
    ("apart", ["a b", "c d", "e f"], [0, 1, 2]),
    ("two of three", [TEN, "c d", NINE], [0, 1, 0]),
    ("equal ones", ["x y", "X  Y"], [0, 0]),
    ("connected, though the ends are not similar", [TEN, EIGHT, SEVEN], [0, 0, 0]),
    ("connected in another order", [SEVEN, TEN, EIGHT], [0, 0, 0]),
    ("without words they are like nothing", ["??", "!!"], [0, 1]),
]


@pytest.mark.parametrize(("name", "negatives", "cluster"), CLUSTERS, ids=[case[0] for case in CLUSTERS])
def test_cluster(name: str, negatives: list[Text], cluster: list[int]) -> None:
    assert prepare(make_row(["p"], negatives), Rules()).cluster == cluster


def test_clusters_hold_only_what_is_judged() -> None:
    prepared = prepare(make_row(["p q r"], ["p q r", TEN, "x", NINE]), Rules())
    assert prepared.outcome == [EQUAL, None, None, None]
    assert prepared.cluster == [-1, 1, 2, 1]


def test_threshold_is_an_option() -> None:
    row = make_row(["p"], [TEN, NINE])
    assert prepare(row, Rules(near_duplicate=0.9)).cluster == [0, 0]
    assert prepare(row, Rules(near_duplicate=0.95)).cluster == [0, 1]


def test_max_negatives_caps_what_is_judged() -> None:
    texts: list[Text] = [f"number {i} alone {i * i}" for i in range(20)]
    row = make_row(["p"], ["p", *texts])
    prepared = prepare(row, Rules(max_negatives=5))
    assert prepared.outcome[0] == EQUAL, "duplicates leave first and take no place"
    assert (prepared.outcome.count(None), prepared.outcome.count(NOT_CHOSEN)) == (5, 15)
    assert prepare(row, Rules(max_negatives=5)) == prepared
    assert prepare(row, Rules(max_negatives=5, seed=7)).outcome != prepared.outcome
    assert prepare(row, Rules(max_negatives=20)).outcome == [EQUAL] + [None] * 20


WORDS = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]), min_size=1, max_size=6).map(
    " ".join
)


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(WORDS, min_size=1, max_size=2), st.lists(WORDS, max_size=8, unique=True), st.data())
def test_order_of_negatives_does_not_matter(positives: list[str], negatives: list[str], data: st.DataObject) -> None:
    rules = Rules(max_negatives=data.draw(st.sampled_from([None, 1, 3])))
    order = data.draw(st.permutations(range(len(negatives))))
    before = prepare(make_row([*positives], [*negatives]), rules)
    after = prepare(make_row([*positives], [negatives[i] for i in order]), rules)
    assert after.outcome == [before.outcome[i] for i in order]
    together = {frozenset(i for i, c in enumerate(before.cluster) if c == n) for n in set(before.cluster) - {-1}}
    moved = {frozenset(order[i] for i, c in enumerate(after.cluster) if c == n) for n in set(after.cluster) - {-1}}
    assert moved == together
    assert all(c == -1 or c <= i for i, c in enumerate(after.cluster)), "a cluster is named by its first member"
