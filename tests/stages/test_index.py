"""One pass over the source: what is judged together, and the positives that other rows of the same query hold."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.formats import detect
from arhn_hf.records import Document, SourceRow
from arhn_hf.stages import index as index_module
from arhn_hf.stages import ondisk
from arhn_hf.stages.index import Index, build_index, invalid_reason, passage_digest


def index_of(rows: list[dict[str, Any]]) -> Index:
    source = Dataset.from_list(rows)
    return build_index(source, detect(source.features))


def groups(index: Index) -> list[list[int]]:
    return [index.rows(i) for i in range(len(index))]


def triplets(*rows: tuple[str | None, str | None, str | None]) -> list[dict[str, Any]]:
    return [{"anchor": a, "positive": p, "negative": n} for a, p, n in rows]


def listed(*rows: tuple[str | None, list[str], list[str]]) -> list[dict[str, Any]]:
    def passages(texts: list[str]) -> list[dict[str, Any]]:
        return [{"docid": text, "title": "", "text": text} for text in texts]

    return [
        {"query_id": str(i), "query": query, "positive_passages": passages(pos), "negative_passages": passages(neg)}
        for i, (query, pos, neg) in enumerate(rows)
    ]


# ---- which rows are judged together


def test_list_formats_keep_every_row_apart() -> None:
    index = index_of(listed(("q", ["p"], ["n"]), ("q", ["p"], ["n"]), ("r", ["p"], ["n"])))
    assert groups(index) == [[0], [1], [2]]
    assert index.source_rows == 3


def test_triplets_of_a_query_form_a_group_in_source_order() -> None:
    index = index_of(
        triplets(("b", "p", "n"), ("a", "p", "n"), ("b", "p", "m"), ("c", "p", "n"), ("a", "o", "n"), ("b", "p", "k"))
    )
    assert groups(index) == [[0, 2, 5], [1, 4], [3]]


def test_groups_share_the_very_query_and_its_instruction_and_subset() -> None:
    rows = triplets(("Q", "p", "n"), ("q", "p", "n"), ("q ", "p", "n"), ("q", "p", "m"))
    assert groups(index_of(rows)) == [[0], [1, 3], [2]]
    for i, row in enumerate(rows):
        row["anchor"], row["subset"] = "q", "ab"[i % 2]
    assert groups(index_of(rows)) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "bad", [("q", "p", None), ("q", "p", "  "), ("q", None, "n"), (None, "p", "n"), (" ", "p", "n")]
)
def test_a_row_that_cannot_be_judged_stands_alone(bad: tuple[str | None, str | None, str | None]) -> None:
    assert groups(index_of(triplets(("q", "p", "n"), bad, ("q", "p", "m")))) == [[0, 2], [1]]


def test_labeled_pairs_without_a_positive_belong_to_their_query() -> None:
    rows = [
        {"query": "q", "passage": "n", "label": 0}, {"query": "r", "passage": "x", "label": 1},
        {"query": "q", "passage": "p", "label": 1}, {"query": "q", "passage": "m", "label": 0},
    ]  # fmt: skip
    assert groups(index_of(rows)) == [[0, 2, 3], [1]]


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", "B", ""]), min_size=1, max_size=14), st.sampled_from([1, 3, 1000]))
def test_every_source_row_is_in_one_group(queries: list[str], batch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:  # records of a mapped file are worked on in blocks: of these too
        patch.setattr(index_module, "BATCH", batch)
        patch.setattr(index_module, "BLOCK", batch)
        patch.setattr(ondisk, "BLOCK", batch)
        index = index_of(triplets(*((query, f"p{i}", "n") for i, query in enumerate(queries))))
        taken = index.sample(3, 1)
        items = index.dataset(taken).to_list()
        everything = index.dataset(index.sample(None, 1)).to_list()
    expected: dict[str, list[int]] = {}
    for i, query in enumerate(queries):
        expected.setdefault(query or f"empty {i}", []).append(i)
    assert groups(index) == list(expected.values())
    assert items == [{"judged": i, "rows": index.rows(i)} for i in taken]
    assert [item["rows"] for item in everything] == groups(index)
    for i, rows in enumerate(groups(index)):
        same = [r for r, query in enumerate(queries) if query and query.lower() == queries[rows[0]].lower()]
        assert index.positives_elsewhere(i) == {passage_digest(None, f"p{r}") for r in same if r not in rows}


# ---- positives elsewhere


def elsewhere(index: Index, i: int, *texts: str) -> list[bool]:
    known = index.positives_elsewhere(i)
    return [passage_digest("", text) in known for text in texts]


def test_positives_of_other_rows_of_the_same_normalised_query() -> None:
    index = index_of(
        listed(("Who?", ["p0"], ["n"]), (" who? ", ["P  1"], ["n"]), ("other", ["p2"], ["n"]), ("WHO?", ["p3"], []))
    )
    assert elsewhere(index, 0, "p0", "p 1", "p2", "p3", "n") == [False, True, False, True, False]
    assert elsewhere(index, 1, "p0", "p 1", "p2", "p3", "n") == [True, False, False, True, False]
    assert elsewhere(index, 2, "p0", "p 1", "p2", "p3", "n") == [False] * 5
    assert elsewhere(index, 3, "p0", "p 1", "p2", "p3", "n") == [True, True, False, False, False]


def test_a_positive_of_both_rows_is_elsewhere_for_both() -> None:
    index = index_of(listed(("q", ["p"], ["n"]), ("q", ["p"], ["n"])))
    assert elsewhere(index, 0, "p") == elsewhere(index, 1, "p") == [True]


def test_another_instruction_is_another_query() -> None:
    rows = [
        {"query": "q", "pos": [f"p{i}"], "neg": ["n"], "prompt": prompt}
        for i, prompt in enumerate(["find", "Find ", "prove", ""])
    ]
    index = index_of(rows)
    assert elsewhere(index, 0, "p0", "p1", "p2", "p3") == [False, True, False, False]
    assert elsewhere(index, 2, "p0", "p1", "p2", "p3") == [False] * 4


def test_groups_of_nearly_the_same_query_are_elsewhere_to_each_other() -> None:
    index = index_of(triplets(("q", "p0", "n"), ("Q", "p1", "n"), ("q", "p2", "n")))
    assert groups(index) == [[0, 2], [1]]
    assert elsewhere(index, 0, "p0", "p1", "p2") == [False, True, False]
    assert elsewhere(index, 1, "p0", "p1", "p2") == [True, False, True]


def test_rows_that_cannot_be_judged_have_no_elsewhere() -> None:
    index = index_of(listed(("", ["p0"], ["n"]), ("", ["p1"], ["n"]), ("q", [], ["n"]), ("q", ["p3"], ["n"])))
    assert [index.positives_elsewhere(i) for i in (0, 1, 3)] == [frozenset()] * 3


def test_positives_of_rows_that_cannot_be_judged_count_elsewhere() -> None:
    """The row with an empty negative is not judged, but its positive is a positive of that query all the same."""
    index = index_of(listed(("q", ["p0"], [""]), ("q", ["p1"], ["p0"])))
    assert index.positives_elsewhere(1) == {passage_digest(None, "p0")}


def test_passage_digest_is_of_the_normalised_passage() -> None:
    assert passage_digest(None, "Ａ  b") == passage_digest("", "a b")
    assert passage_digest("a", "b") != passage_digest("", "a b")
    assert 0 <= passage_digest("\ud800", "x") < 2**63


# ---- sample


def test_sample_is_seeded_ascending_and_of_judged_rows() -> None:
    index = index_of(triplets(*((f"q{i // 2}", f"p{i}", "n") for i in range(40))))
    assert len(index) == 20
    assert [list(index.sample(n, 1)) for n in (None, 20, 99)] == [list(range(20))] * 3
    chosen = index.sample(5, 1)
    assert chosen == sorted(set(chosen)) == index.sample(5, 1) != index.sample(5, 2)
    assert index.dataset(chosen).to_list() == [{"judged": i, "rows": [2 * i, 2 * i + 1]} for i in chosen]
    assert index.dataset([]).to_list() == []
    assert index.dataset(list(range(20))).to_list() == [{"judged": i, "rows": [2 * i, 2 * i + 1]} for i in range(20)]


def test_positives_elsewhere_are_those_of_the_whole_source() -> None:
    index = index_of(listed(*(("q", [f"p{i}"], ["n"]) for i in range(10))))
    (chosen,) = index.sample(1, 3)
    assert len(index.positives_elsewhere(chosen)) == 9


def test_an_empty_source() -> None:
    source = Dataset.from_list(listed(("q", ["p"], ["n"]))).select([])
    index = build_index(source, detect(source.features))
    assert (len(index), index.source_rows, len(index.sample(3, 1))) == (0, 0, 0)


def test_progress_is_told_and_may_stop() -> None:
    source = Dataset.from_list(listed(*(("q", ["p"], ["n"]) for _ in range(2500))))
    told: list[int] = []
    build_index(source, detect(source.features), told.append)
    assert told == [1000, 2000, 2500]

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(source, detect(source.features), stop)


def test_fingerprint_is_of_the_source() -> None:
    rows = listed(("q", ["p"], ["n"]), ("r", ["p"], ["n"]))
    assert index_of(rows).fingerprint == index_of(rows).fingerprint != index_of(rows[::-1]).fingerprint


DOC, BLANK, NULL = Document("d", None, "x"), Document("d", "t", " \n"), Document(None, None, None)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (SourceRow("q", [DOC], [DOC]), None),
        (SourceRow("q", [DOC], []), None),
        (SourceRow("", [DOC], [DOC]), "the query is empty"),
        (SourceRow("\u00a0", [DOC], [DOC]), "the query is empty"),
        (SourceRow(None, [DOC], [DOC]), "the query is empty"),
        (SourceRow("q", [], [DOC]), "there is no positive"),
        (SourceRow("q", [DOC, BLANK], [DOC]), "positive 1 has no text"),
        (SourceRow("q", [DOC], [DOC, DOC, NULL]), "negative 2 has no text"),
    ],
)
def test_invalid_reason(row: SourceRow, reason: str | None) -> None:
    assert invalid_reason(row) == reason
