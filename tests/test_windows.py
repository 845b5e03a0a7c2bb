"""Windows: every candidate once per order, the same positives in all, nothing depends on the order of the source."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.records import Cell, Label, Passage, Row
from arhn_hf.windows import Window, cut


def make_row(positives: list[str], negatives: list[str], query: str = "a query") -> Row:
    def passages(label: Label, texts: list[str]) -> list[Passage]:
        return [Passage(label, i, None, text, None, [Cell(0, label, i)]) for i, text in enumerate(texts)]

    return Row(0, [0], query, passages("positive", positives), passages("negative", negatives))


def numbered(positives: int, negatives: int, query: str = "a query") -> Row:
    return make_row([f"positive {i}" for i in range(positives)], [f"negative {i}" for i in range(negatives)], query)


def test_a_list_that_fits_is_one_window() -> None:
    windows = cut(numbered(1, 3), [0], [1, 2, 3], size=4, orders=2, seed=1)
    assert [(w.window, w.order, sorted(w.items)) for w in windows] == [(0, 0, [0, 1, 2, 3]), (0, 1, [0, 1, 2, 3])]


def test_orders_come_with_their_reverses() -> None:
    windows = cut(numbered(2, 8), [0, 1], list(range(2, 10)), size=20, orders=5, seed=1)
    shown = [w.items for w in windows]
    assert shown[1] == shown[0][::-1]
    assert shown[3] == shown[2][::-1]
    assert len({*shown}) == 5


def test_no_candidates_no_windows() -> None:
    assert cut(numbered(2, 0), [0, 1], [], size=4, orders=2, seed=1) == []


def test_positives_must_leave_room() -> None:
    with pytest.raises(ValueError, match="no room"):
        cut(numbered(4, 1), [0, 1, 2, 3], [4], size=4, orders=2, seed=1)


def test_seed_and_content_decide() -> None:
    row, candidates = numbered(1, 12), list(range(1, 13))
    base = cut(row, [0], candidates, size=6, orders=2, seed=1)
    assert cut(row, [0], candidates, size=6, orders=2, seed=1) == base
    assert cut(row, [0], candidates, size=6, orders=2, seed=2) != base
    assert cut(numbered(1, 12, "another query"), [0], candidates, size=6, orders=2, seed=1) != base


def test_the_reference_has_no_fixed_place() -> None:
    """Over many rows, the positive is shown first about as often as last, in both orders."""
    places: Counter[tuple[int, int]] = Counter()
    for i in range(300):
        for window in cut(numbered(1, 4, f"query {i}"), [0], [1, 2, 3, 4], size=5, orders=2, seed=1):
            places[window.order, window.items.index(0)] += 1
    assert len(places) == 10
    assert min(places.values()) > 30


@st.composite
def rows(draw: st.DrawFn) -> tuple[Row, list[int], list[int], int, int]:
    positives, negatives = draw(st.integers(1, 5)), draw(st.integers(0, 30))
    texts = draw(
        st.lists(st.text(max_size=4), min_size=positives + negatives, max_size=positives + negatives, unique=True)
    )
    row = make_row(texts[:positives], texts[positives:])
    shown = list(range(draw(st.integers(1, positives))))
    every = list(range(positives, positives + negatives))
    candidates = draw(st.lists(st.sampled_from(every), unique=True)) if every else []
    return row, shown, candidates, draw(st.integers(len(shown) + 1, 24)), draw(st.integers(1, 4))


@settings(max_examples=100, deadline=None, database=None)
@given(rows())
def test_cut_covers_each_candidate_once_per_order(case: tuple[Row, list[int], list[int], int, int]) -> None:
    row, positives, candidates, size, orders = case
    windows = cut(row, positives, candidates, size=size, orders=orders, seed=3)
    for order in range(orders):
        inside = [i for w in windows if w.order == order for i in w.items if i not in positives]
        assert sorted(inside) == sorted(candidates)
    held: dict[int, set[frozenset[int]]] = {}
    for w in windows:
        assert len(w.items) <= size
        assert len(set(w.items)) == len(w.items)
        assert set(positives) <= set(w.items)
        held.setdefault(w.window, set()).add(frozenset(w.items))
    assert all(len(one) == 1 for one in held.values()), "the orders of a window hold the same passages"
    assert sorted(held) == list(range(len(held)))
    assert {(w.window, w.order) for w in windows} == {(n, order) for n in held for order in range(orders)}
    room = size - len(positives)
    assert len(held) == -(-len(candidates) // room)


@settings(max_examples=100, deadline=None, database=None)
@given(rows(), st.randoms(use_true_random=False))
def test_cut_does_not_depend_on_the_order_of_the_source(
    case: tuple[Row, list[int], list[int], int, int], random: st.DataObject
) -> None:
    row, positives, candidates, size, orders = case
    positives = list(range(len(row.positives)))
    size = max(size, len(positives) + 1)
    texts = [p.text for p in row.negatives]
    shuffled, upside = texts[:], [p.text for p in row.positives][::-1]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = make_row(upside, shuffled)
    place = {p.text: i for i, p in enumerate(other.passages)}
    moved = sorted(place[row.passages[i].text] for i in candidates)

    def told(one: Row, windows: list[Window]) -> list[tuple[int, int, list[str]]]:
        return [(w.window, w.order, [one.passages[i].text for i in w.items]) for w in windows]

    before = told(row, cut(row, positives, candidates, size=size, orders=orders, seed=3))
    assert told(other, cut(other, positives, moved, size=size, orders=orders, seed=3)) == before
