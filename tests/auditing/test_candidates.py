"""What an audit counts: each labelled negative that was decided, once a query, and why others are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arhn_hf.auditing.candidates import Audited, gather, ids_of
from arhn_hf.auditing.labels import Labels, from_field
from arhn_hf.records import Cell, UsageError

Gather = Callable[..., Audited]


@pytest.fixture
def gathered(desk: SimpleNamespace) -> Gather:
    """The candidates of a folder, by a field of its passages or by grades given here."""

    def by(folder: Path, grades: dict[tuple[int, int], float] | str = "grade") -> Audited:
        with desk.opened(folder) as (stored, inputs):
            if isinstance(grades, str):
                return gather(stored, inputs, from_field(inputs.dataset, grades))
            cells = {Cell(row, "negative", position): grade for (row, position), grade in grades.items()}
            return gather(stored, inputs, Labels("field", "grade", cells))

    return by


def test_candidates_are_the_labelled_negatives_that_were_decided(judged: Path, gathered: Gather) -> None:
    found = gathered(judged)
    assert [(one.document.docid, one.query, one.subset, one.grade, one.action) for one in found.candidates] == [
        ("q0n0", 0, "a", 2.0, "relabel"), ("q0n1", 0, "a", 2.0, "filter"), ("q0n2", 0, "a", 0.0, "keep"),
        ("q0n3", 0, "a", 1.0, "keep"), ("q1n0", 1, "a", 0.0, "relabel"), ("q1n1", 1, "a", 2.0, "keep"),
        ("q1n2", 1, "a", 1.0, "filter"), ("q1n3", 1, "a", 0.0, "keep"), ("q2n0", 2, "b", 2.0, "filter"),
        ("q2n1", 2, "b", 0.0, "keep"),
    ]  # fmt: skip
    assert [one.score for one in found.candidates] == pytest.approx(
        [0.9, 0.7, 0.2, 0.1, 0.8, 0.3, 0.6, 0.05, 0.65, 0.15]
    )
    assert found.candidates[1].cell == Cell(0, "negative", 1)


def test_what_was_not_decided_is_counted_by_its_reason_and_what_has_no_label_apart(
    judged: Path, gathered: Gather
) -> None:
    found = gathered(judged)
    assert found.left_out == Counter({"undecided: answer_failed": 1, "duplicate": 1})
    assert found.unlabelled == 1


def test_a_query_has_its_text_its_positives_and_the_best_grade_among_them(judged: Path, gathered: Gather) -> None:
    found = gathered(judged)
    assert found.queries == [
        "what is known of harbour lights", "what is known of winter wheat", "what is known of copper roofs"
    ]  # fmt: skip
    assert [[one.docid for one in many] for many in found.positives] == [["q0p0"], ["q1p0"], ["q2p0"]]
    assert [one.positive_grade for one in found.candidates] == [3.0] * 4 + [None] * 6


def test_a_judge_without_scores_gives_none(scoreless: Path, judged: Path, gathered: Gather) -> None:
    found, scored = gathered(scoreless), gathered(judged)
    assert [one._replace(score=None, judge=None) for one in scored.candidates] == [
        one._replace(judge=None) for one in found.candidates
    ]  # the judges of two runs
    assert (found.left_out, found.unlabelled) == (scored.left_out, scored.unlabelled)


def test_a_passage_in_several_triplets_of_one_query_counts_once(triplets: Path, gathered: Gather) -> None:
    grades = {(row, 0): (2.0, 0.0, 2.0)[row % 3] for row in range(12)}
    found = gathered(triplets, grades)
    assert [(one.query, one.grade, one.action) for one in found.candidates] == [
        (0, 2.0, "relabel"), (0, 0.0, "keep"), (1, 2.0, "relabel"), (1, 0.0, "keep")
    ]  # fmt: skip
    assert found.left_out == {"undecided: answer_failed": 2}
    assert (len(found.queries), [len(many) for many in found.positives]) == (2, [2, 2])


def test_a_label_in_one_of_the_cells_of_a_passage_is_enough(triplets: Path, gathered: Gather) -> None:
    found = gathered(triplets, {(0, 0): 2.0, (4, 0): 0.0})
    assert [(one.grade, one.action) for one in found.candidates] == [(2.0, "relabel"), (0.0, "keep")]


def test_one_passage_of_a_query_with_two_grades_in_two_cells_is_refused(triplets: Path, gathered: Gather) -> None:
    with pytest.raises(UsageError, match="same passage of one query has two grades, 2 and 0") as raised:
        gathered(triplets, {(0, 0): 2.0, (1, 0): 0.0, (3, 0): 0.0})
    assert raised.value.where == "row 3, negative 0"


def test_the_same_passage_of_another_query_is_another_candidate(
    tmp_path: Path, desk: SimpleNamespace, gathered: Gather
) -> None:
    shared = [desk.passage("shared", "filter", 0.6, grade=2), desk.passage("other", "keep", 0.1, grade=0)]
    rows = [
        {
            "query_id": f"q{i}", "query": f"what is known of {topic}",
            "positive_passages": [desk.passage(f"p{i}", "positive", grade=2)], "negative_passages": shared,
        }
        for i, topic in enumerate(("glass lenses", "river barges"))
    ]  # fmt: skip
    rows[1]["negative_passages"] = [{**one, "grade": 0} for one in shared]
    found = gathered(desk.run(tmp_path, rows))
    assert [(one.query, one.grade) for one in found.candidates] == [(0, 2.0), (0, 0.0), (1, 0.0), (1, 0.0)]


def test_rows_of_one_query_are_one_query(tmp_path: Path, desk: SimpleNamespace, gathered: Gather) -> None:
    def row(number: int, negatives: list[Any]) -> dict[str, Any]:
        positive = desk.passage(f"p{number}", "positive", grade=2 + number)
        return {
            "query_id": f"q{number}", "query": "what is known of glass lenses", "positive_passages": [positive],
            "negative_passages": negatives,
        }  # fmt: skip

    both = desk.passage("both", "filter", 0.6, grade=2)
    rows = [row(0, [both]), row(1, [both, desk.passage("late", "keep", 0.1, grade=0)])]
    found = gathered(desk.run(tmp_path, rows))
    assert [(one.query, one.document.docid) for one in found.candidates] == [(0, "both"), (0, "late")]
    assert [one.docid for one in found.positives[0]] == ["p0", "p1"]
    assert {one.positive_grade for one in found.candidates} == {3.0}  # the best, though it comes later


def test_a_passage_whose_second_copy_was_decided_is_not_left_out_for_its_first(
    tmp_path: Path, desk: SimpleNamespace, gathered: Gather
) -> None:
    """Of two equal negatives the better placed one is relabeled and the other is its duplicate."""
    twice = [desk.passage(docid, "relabel", 0.9, grade=2) for docid in ("first", "second")]
    twice[1]["text"] = twice[0]["text"]
    row = {
        "query_id": "q", "query": "what is known of glass lenses",
        "positive_passages": [desk.passage("p", "positive", grade=2)],
        "negative_passages": [*twice, desk.passage("n", "keep", 0.1, grade=0)],
    }  # fmt: skip
    found = gathered(desk.run(tmp_path, [row], judge=desk.judge(late_first=True)))
    assert [one.action for one in found.candidates] == ["relabel", "keep"]
    assert found.left_out == {}


def test_only_the_rows_of_a_sample_are_candidates(tmp_path: Path, desk: SimpleNamespace, gathered: Gather) -> None:
    folder = desk.run(tmp_path, desk.rows(), sample=1)
    found = gathered(folder)
    assert len(found.queries) == 1
    assert len({one.cell.row for one in found.candidates}) == 1


def test_a_subset_that_was_left_alone_is_left_out_and_counted(
    tmp_path: Path, desk: SimpleNamespace, gathered: Gather
) -> None:
    found = gathered(desk.run(tmp_path, desk.rows(), criterion=("b=skip",)))
    assert {one.subset for one in found.candidates} == {"a"}
    assert found.left_out == {"duplicate": 1, "skipped": 2, "undecided: answer_failed": 1}


def test_ids_lead_to_every_cell_that_holds_the_pair(judged: Path, triplets: Path, desk: SimpleNamespace) -> None:
    with desk.opened(judged) as (_, inputs):
        ids = ids_of(inputs)
    assert ids["q0", "q0n1"] == [Cell(0, "negative", 1)]
    assert ids["q0", "q0p0"] == [Cell(0, "positive", 0)]
    assert len(ids) == 16
    with desk.opened(triplets) as (_, inputs):
        found = ids_of(inputs)
    assert sorted(map(len, found.values())) == [2] * 6 + [3] * 4
    assert {query for query, _ in found} == {"t0", "t1"}


def test_rows_without_ids_join_to_nothing(tmp_path: Path, desk: SimpleNamespace) -> None:
    rows = [{name: value for name, value in row.items() if name != "query_id"} for row in desk.triplets()]
    with desk.opened(desk.run(tmp_path, rows)) as (_, inputs):
        assert ids_of(inputs) == {}
