"""Triplets, n-tuples and labeled pairs: what the rows of one query become, in which order, with which other columns."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import ClassLabel, Features, Value
from format_helpers import place, shape, table_of

from arhn_hf.formats import detect
from arhn_hf.records import Cell, UsageError

S = Value("string")


def neg(row: int, position: int = 0) -> Cell:
    return Cell(row, "negative", position)


def refine(rows: list[dict[str, Any]], group: list[int], **decided: Any) -> list[tuple[Any, ...]]:
    """The rows of one query refined as decided, as tuples of their columns."""
    table = table_of(rows)
    form = detect(Features.from_arrow_schema(table.schema))
    written = shape(form, table, [place(form.read(table), group, **decided)])
    assert written.schema.equals(table.schema, check_metadata=True)
    return [tuple(row.values()) for row in written.to_pylist()]


def triplets(*pairs: tuple[str, str], query: str = "q") -> list[dict[str, Any]]:
    return [{"i": i, "anchor": query, "positive": p, "negative": n} for i, (p, n) in enumerate(pairs)]


def test_triplet_rows_leave_with_their_negative() -> None:
    rows = triplets(("p", "a"), ("p", "b"), ("r", "a"))
    assert refine(rows, [0, 1, 2], remove=[neg(0)]) == [(1, "q", "p", "b")]


def test_triplets_of_a_new_positive_come_after_the_last_row() -> None:
    rows = triplets(("p", "a"), ("p", "b"), ("p", "c"), ("r", "a"), ("p", "d"))
    # b then c are promoted: their rows leave; each is paired with the negatives left, a and d, which repeat no row.
    assert refine(rows, [0, 1, 2, 3, 4], promote=[neg(2), neg(1)]) == [
        (0, "q", "p", "a"), (3, "q", "r", "a"), (4, "q", "p", "d"),
        (2, "q", "c", "a"), (2, "q", "c", "d"), (1, "q", "b", "a"), (1, "q", "b", "d"),
    ]  # fmt: skip


def test_triplets_with_donors() -> None:
    rows = [*triplets(("p", "a"), ("r", "b")), {"i": 9, "anchor": "x", "positive": "y", "negative": "z"}]
    assert refine(rows, [0, 1], promote=[neg(0)], remove=[neg(1)], donors=[neg(2), neg(2)]) == [
        (0, "q", "p", "z"), (1, "q", "r", "z"), (0, "q", "a", "z"),
    ]  # fmt: skip


def test_triplets_of_queries_in_turns() -> None:
    rows = triplets(("p", "a")) + triplets(("s", "t"), query="other") + triplets(("p", "b"))
    table = table_of(rows)
    form = detect(Features.from_arrow_schema(table.schema))
    read = form.read(table)
    placed = [place(read, [0, 2], promote=[neg(0)]), place(read, [1])]
    written = [tuple(row.values())[1:] for row in shape(form, table, placed).to_pylist()]
    assert written == [("other", "s", "t"), ("q", "p", "b"), ("q", "a", "b")]


def tuples(*rows: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"query": "q", "positive": p, **{f"negative_{i}": n for i, n in enumerate(ns, 1)}} for p, *ns in rows]


def test_n_tuples_are_filled_up_with_donors() -> None:
    rows = tuples(("p", "a", "b", "c"), ("x", "d", "e", "f"))
    assert refine(rows, [0], remove=[neg(0, 1)], donors=[neg(1, 2), neg(1, 2), neg(1, 0)]) == [
        ("q", "p", "a", "c", "f")
    ]


def test_n_tuples_short_of_negatives_are_left_out() -> None:
    rows = tuples(("p", "a", "b"), ("r", "a", "c"))
    # The group has a, b and c, the second row lost c; nobody lends.
    assert refine(rows, [0, 1], remove=[neg(1, 1)]) == [("q", "p", "a", "b")]
    assert refine(rows, [0, 1], remove=[neg(0, 0), neg(0, 1)]) == []


def test_n_tuples_of_a_new_positive_get_the_first_of_the_group() -> None:
    rows = tuples(("p", "a", "b"), ("p", "c", "d"), ("x", "e", "f"))
    assert refine(rows, [0, 1], promote=[neg(1, 0)], donors=[neg(2, 0)]) == [
        ("q", "p", "a", "b"), ("q", "p", "d", "e"), ("q", "c", "a", "b"),
    ]  # fmt: skip
    assert refine(rows, [0, 1], promote=[neg(0, 0)], remove=[neg(0, 1), neg(1, 1)], donors=[neg(2, 1)]) == [
        ("q", "p", "c", "f"), ("q", "a", "c", "f"),
    ]  # fmt: skip


def test_a_repeated_negative_stays_repeated() -> None:
    rows = tuples(("p", "a", "a", "b"), ("p", "a", "a", "b"))
    assert refine(rows, [0, 1]) == [("q", "p", "a", "a", "b")] * 2


def pairs(*labeled: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"query": "q", "label": label, "passage": text, "i": i} for i, (text, label) in enumerate(labeled)]


def test_labeled_pairs_change_their_label_or_leave() -> None:
    rows = pairs(("p", 1), ("a", 0), ("b", 0), ("p", 1), ("a", 0), ("c", 0))
    assert refine(rows, list(range(6)), promote=[neg(1)], remove=[neg(2)]) == [
        ("q", 1, "p", 0), ("q", 1, "a", 1), ("q", 1, "p", 3), ("q", 1, "a", 4), ("q", 0, "c", 5),
    ]  # fmt: skip


def test_labeled_pairs_with_donors() -> None:
    rows = [*pairs(("p", True), ("a", False)), {"query": "x", "label": False, "passage": "d", "i": 9}]
    assert refine(rows, [0, 1], remove=[neg(1)], donors=[neg(2), neg(2)]) == [("q", True, "p", 0), ("q", False, "d", 1)]


def test_labeled_pairs_of_a_class_label() -> None:
    features = Features({"query": S, "text": S, "label": ClassLabel(names=["no", "yes"])})
    table = table_of([{"query": "q", "text": "p", "label": 1}, {"query": "q", "text": "n", "label": 0}], features)
    form = detect(features)
    written = shape(form, table, [place(form.read(table), [0, 1], promote=[neg(1)])])
    assert written.to_pylist() == [{"query": "q", "text": "p", "label": 1}, {"query": "q", "text": "n", "label": 1}]
    assert Features.from_arrow_schema(written.schema) == features


@pytest.mark.parametrize("label", [0.5, 2.0, -1.0, float("nan"), None])
def test_other_labels_are_refused_with_their_row(label: float | None) -> None:
    table = table_of(pairs(("p", 1.0), ("a", 0.0), ("b", label)))
    form = detect(Features.from_arrow_schema(table.schema))
    for refuse in (form.validate, form.read):
        with pytest.raises(
            UsageError, match=f"row 2, column label: the label is {'null' if label is None else label}, but"
        ):
            refuse(table)
    form.validate(table.slice(0, 2))


def test_null_texts_are_read_as_they_are() -> None:
    table = table_of([{"anchor": None, "positive": "p", "negative": None}])
    [row] = detect(Features.from_arrow_schema(table.schema)).read(table)
    assert row.query is None
    assert row.positives[0].text == "p"
    assert row.negatives[0].text is None
