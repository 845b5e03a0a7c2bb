"""Labels in every form become grades of source cells; what is no label is refused, with its place."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset, Features, List, Value

from arhn_hf.auditing.labels import RELEVANT, WORDS, Labels, as_grade, from_dataset, from_field, from_gold
from arhn_hf.records import Cell, UsageError

IDS = {
    ("q0", "a"): [Cell(0, "negative", 0)],
    ("q0", "b"): [Cell(0, "negative", 1)],
    ("q0", "p"): [Cell(0, "positive", 0)],
    ("q1", "a"): [Cell(1, "negative", 0), Cell(2, "negative", 0)],
    ("7", "8"): [Cell(3, "negative", 0)],
}


def negative(row: int, position: int = 0) -> Cell:
    return Cell(row, "negative", position)


def gold(tmp_path: Path, *lines: Any, name: str = "gold.jsonl") -> str:
    """A gold file; strings are lines as they are."""
    words = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (tmp_path / name).write_bytes(gzip.compress(words.encode()) if name.endswith(".gz") else words.encode())
    return str(tmp_path / name)


def label(query: Any, docid: Any, grade: Any, key: str = "gold") -> dict[str, Any]:
    return {"query_id": query, "docid": docid, key: grade}


# What a label means


@pytest.mark.parametrize(
    ("value", "grade"),
    [
        (0, 0.0),
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (1.5, 1.5),
        (-1, -1.0),
        (True, RELEVANT),
        (False, 0.0),
        ("2", 2.0),
        ("0.5", 0.5),
        ("-1", -1.0),
        (" 3 ", 3.0),
        ("false_negative", 2.0),
        ("False Negative", 2.0),
        ("false-negative", 2.0),
        ("relevant", 2.0),
        ("POSITIVE", 2.0),
        ("ambiguous", 1.0),
        ("partial", 1.0),
        ("clean", 0.0),
        ("negative", 0.0),
        ("not relevant", 0.0),
        ("irrelevant", 0.0),
        ("duplicate", None),
        (None, None),
    ],
)
def test_numbers_are_grades_and_words_mean_grades(value: Any, grade: float | None) -> None:
    assert as_grade(value, where="here") == grade


@pytest.mark.parametrize("value", ["maybe", "", "2 or 3", "clean?", [2], {"grade": 2}])
def test_an_unknown_label_is_refused_with_its_place_and_what_is_known(value: Any) -> None:
    with pytest.raises(UsageError, match="unknown label") as raised:
        as_grade(value, where="gold.jsonl, line 3")
    assert raised.value.where == "gold.jsonl, line 3"
    assert all(word in str(raised.value) for word in WORDS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "NaN", "inf", "-inf", "Infinity"])
def test_what_is_not_a_finite_number_is_no_grade(value: Any) -> None:
    with pytest.raises(UsageError) as raised:
        as_grade(value, where="line 1")
    assert raised.value.where == "line 1"


# A field of the passages


def test_a_field_of_a_list_of_passages() -> None:
    dataset = Dataset.from_list(
        [
            {
                "query": "x",
                "positive_passages": [{"text": "p", "grade": 3}],
                "negative_passages": [{"text": "n", "grade": 0}],
            },
            {
                "query": "y",
                "positive_passages": [{"text": "p", "grade": None}],
                "negative_passages": [
                    {"text": "n", "grade": 2},
                    {"text": "m", "grade": None},
                    {"text": "o", "grade": 1},
                ],
            },
        ]
    )
    found = from_field(dataset, "grade")
    assert (found.kind, found.name, found.unjoined) == ("field", "grade", 0)
    assert found.grades == {Cell(0, "positive", 0): 3.0, negative(0): 0.0, negative(1): 2.0, negative(1, 2): 1.0}


def test_a_field_of_a_struct_of_lists() -> None:
    passages = {"text": List(Value("string")), "grade": List(Value("string"))}
    features = Features({"query": Value("string"), "positive_passages": passages, "negative_passages": passages})
    rows = {
        "query": ["x", "y"],
        "positive_passages": [{"text": ["p"], "grade": ["relevant"]}, {"text": ["q"], "grade": [None]}],
        "negative_passages": [{"text": ["n", "m"], "grade": ["clean", "false_negative"]}, {"text": [], "grade": []}],
    }
    found = from_field(Dataset.from_dict(rows, features=features), "grade")
    assert found.grades == {Cell(0, "positive", 0): 2.0, negative(0): 0.0, negative(0, 1): 2.0}


def test_a_struct_of_lists_whose_list_of_grades_is_null_has_no_labels_there() -> None:
    passages = {"text": List(Value("string")), "grade": List(Value("int64"))}
    features = Features({"query": Value("string"), "negative_passages": passages})
    rows = {"query": ["x", "y"], "negative_passages": [{"text": ["n"], "grade": None}, {"text": ["n"], "grade": [2]}]}
    assert from_field(Dataset.from_dict(rows, features=features), "grade").grades == {negative(1): 2.0}


def test_null_passages_and_null_lists_have_no_labels() -> None:
    item = {"text": Value("string"), "grade": Value("int64")}
    features = Features({"query": Value("string"), "negative_passages": List(item)})
    rows = {"query": ["x", "y"], "negative_passages": [None, [None, {"text": "n", "grade": 2}]]}
    assert from_field(Dataset.from_dict(rows, features=features), "grade").grades == {negative(1, 1): 2.0}


def test_lists_beside_the_passages() -> None:
    dataset = Dataset.from_list(
        [
            {"query": "x", "pos": ["p"], "neg": ["n", "m"], "pos_grade": [3], "neg_grade": [0, 2]},
            {"query": "y", "pos": ["p"], "neg": ["n", "m"], "pos_grade": None, "neg_grade": [None, 1]},
            {"query": "z", "pos": ["p"], "neg": ["n"], "pos_grade": None, "neg_grade": None},
        ]
    )
    assert from_field(dataset, "grade").grades == {
        Cell(0, "positive", 0): 3.0, negative(0): 0.0, negative(0, 1): 2.0, negative(1, 1): 1.0
    }  # fmt: skip


def test_a_field_of_more_rows_than_one_batch_keeps_its_rows() -> None:
    rows = [{"query": "x", "neg": ["n"], "neg_grade": [i % 3]} for i in range(2100)]
    found = from_field(Dataset.from_list(rows), "grade")
    assert found.grades == {negative(i): float(i % 3) for i in range(2100)}


def test_a_bad_value_in_a_field_names_row_column_and_item() -> None:
    dataset = Dataset.from_list([{"query": "x", "neg": ["n", "m"], "neg_grade": ["clean", "perhaps"]}])
    with pytest.raises(UsageError, match="unknown label 'perhaps'") as raised:
        from_field(dataset, "grade")
    assert raised.value.where == "row 0, neg_grade, item 1"


def test_a_grade_that_is_a_column_of_the_rows_is_refused() -> None:
    dataset = Dataset.from_list([{"query": "x", "pos": ["p"], "neg": ["n"], "grade": 2}])
    with pytest.raises(UsageError, match="'grade' is a column of the rows, not a field of the negatives") as raised:
        from_field(dataset, "grade")
    assert raised.value.where == "--grades"
    assert "neg_NAME" in str(raised.value)


def test_a_field_that_only_the_positives_have_is_refused() -> None:
    dataset = Dataset.from_list([{"query": "x", "pos": ["p"], "neg": ["n"], "pos_grade": [2]}])
    with pytest.raises(UsageError, match="the negatives have no field 'grade'"):
        from_field(dataset, "grade")


def test_a_field_that_is_not_there_is_refused_with_the_columns_that_are() -> None:
    dataset = Dataset.from_list([{"query": "x", "pos": ["p"], "neg": ["n"]}])
    with pytest.raises(UsageError, match="the negatives have no field 'grade'") as raised:
        from_field(dataset, "grade")
    assert "query, pos, neg" in str(raised.value)


@pytest.mark.parametrize("grades", [[2, 0], ["false_negative", "clean"]])
def test_the_grade_beside_the_single_negative_of_a_triplet(grades: list[Any]) -> None:
    rows = [{"anchor": "x", "positive": "p", "negative": f"n{g}", "negative_grade": g} for g in grades]
    assert from_field(Dataset.from_list(rows), "grade").grades == {negative(0): 2.0, negative(1): 0.0}


# A gold file


@pytest.mark.parametrize("name", ["gold.jsonl", "gold.jsonl.gz"])
def test_a_gold_file_plain_or_compressed(tmp_path: Path, name: str) -> None:
    path = gold(
        tmp_path,
        label("q0", "a", "clean"),
        "",
        label("q0", "b", 2, "grade"),
        label(7, 8, "1"),
        label("q0", "p", 3),
        name=name,
    )
    found = from_gold(path, IDS)
    assert (found.kind, found.name, found.unjoined, found.examples) == ("file", name, 0, [])
    assert found.grades == {negative(0): 0.0, negative(0, 1): 2.0, negative(3): 1.0, Cell(0, "positive", 0): 3.0}


def test_a_pair_in_several_cells_labels_each_of_them(tmp_path: Path) -> None:
    assert from_gold(gold(tmp_path, label("q1", "a", 2)), IDS).grades == {negative(1): 2.0, negative(2): 2.0}


def test_a_duplicate_has_no_grade_and_is_no_miss(tmp_path: Path) -> None:
    found = from_gold(gold(tmp_path, label("q0", "a", "duplicate"), label("q0", "b", 0)), IDS)
    assert (found.grades, found.unjoined) == ({negative(0, 1): 0.0}, 0)


def test_labels_of_other_passages_are_counted_and_three_of_them_named(tmp_path: Path) -> None:
    others = [label("q9", f"d{i}", 1) for i in range(5)]
    found = from_gold(gold(tmp_path, *others, label("q0", "a", 2)), IDS)
    assert (found.unjoined, found.examples) == (5, ["q9, d0", "q9, d1", "q9, d2"])


def test_labels_that_join_to_nothing_say_how_many_and_which(tmp_path: Path) -> None:
    path = gold(tmp_path, label("q9", "d1", 2), label("q9", "d2", 0))
    with pytest.raises(UsageError, match="none of 2 labels .*, such as q9, d1") as raised:
        from_gold(path, IDS)
    assert raised.value.where == path
    assert "query_id and docid" in str(raised.value)


def test_the_same_grade_twice_is_fine_and_two_grades_are_refused(tmp_path: Path) -> None:
    assert from_gold(gold(tmp_path, label("q0", "a", 2), label("q0", "a", "relevant")), IDS).grades == {
        negative(0): 2.0
    }
    path = gold(tmp_path, label("q0", "b", 0), label("q0", "a", 2), label("q0", "a", 0))
    with pytest.raises(UsageError, match="query q0 and passage a have two grades, 2 and 0") as raised:
        from_gold(path, IDS)
    assert raised.value.where == f"{path}, line 3"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"docid": "a", "gold": 2}, "needs query_id, docid and gold or grade"),
        ({"query_id": "q0", "gold": 2}, "needs query_id, docid and gold or grade"),
        ({"query_id": "q0", "docid": "a"}, "needs query_id, docid and gold or grade"),
        ({"query_id": "q0", "docid": "a", "gold": None}, "needs query_id, docid and gold or grade"),
        ({"query_id": "q0", "docid": "a", "gold": "perhaps"}, "unknown label 'perhaps'"),
        ('{"query_id": "q0", "docid": "a", "gold": NaN}', "nan is no grade"),
        ("[1, 2]", "is not an object"),
        ("query_id,docid,gold", "is not JSON"),
        ('{"query_id": "q0", ', "is not JSON"),
    ],
)
def test_a_line_that_is_no_label_is_named_by_its_number(tmp_path: Path, line: Any, says: str) -> None:
    path = gold(tmp_path, label("q0", "b", 0), "", line, label("q0", "a", 2))
    with pytest.raises(UsageError) as raised:
        from_gold(path, IDS)
    assert says in str(raised.value)
    assert raised.value.where == f"{path}, line 3"
    assert "\n" not in str(raised.value)


def test_the_first_line_is_line_one(tmp_path: Path) -> None:
    path = gold(tmp_path, "no json")
    with pytest.raises(UsageError, match="is not JSON") as raised:
        from_gold(path, IDS)
    assert raised.value.where == f"{path}, line 1"


@pytest.mark.parametrize(
    "name", ["absent.jsonl", "folder", "latin.jsonl", "plain.jsonl.gz", "cut.jsonl.gz", "torn.jsonl.gz"]
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    whole = gzip.compress("".join(json.dumps(label("q0", f"d{i}", i)) + "\n" for i in range(500)).encode())
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin.jsonl").write_bytes('{"query_id": "q0", "docid": "ü", "gold": 2}\n'.encode("latin-1"))
    (tmp_path / "plain.jsonl.gz").write_text("{}\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    (tmp_path / "torn.jsonl.gz").write_bytes(whole[:40] + b"\xff" * 40 + whole[80:])
    with pytest.raises(UsageError, match="cannot be read") as raised:
        from_gold(str(tmp_path / name), IDS)
    assert raised.value.where == str(tmp_path / name)
    assert "\n" not in str(raised.value)


# A second dataset


def tevatron(query: str, positives: list[str], negatives: list[str], **more: Any) -> dict[str, Any]:
    return {
        "query_id": query, "query": f"what is {query}", **more,
        "positive_passages": [{"docid": d, "title": "", "text": f"text of {d}"} for d in positives],
        "negative_passages": [{"docid": d, "title": "", "text": f"text of {d}"} for d in negatives],
    }  # fmt: skip


def test_a_second_dataset_tells_moved_passages_from_those_that_stayed(tmp_path: Path, desk: SimpleNamespace) -> None:
    ids = {**IDS, ("q0", "gone"): [negative(0, 2)]}
    path = desk.write_jsonl(
        tmp_path / "after.jsonl", [tevatron("q0", ["p", "a"], ["b", "new"]), tevatron("q5", ["x"], ["y"])]
    )
    found = from_dataset(str(path), ids)
    assert (found.kind, found.name) == ("dataset", "after.jsonl")
    assert found.grades == {Cell(0, "positive", 0): RELEVANT, negative(0): RELEVANT, negative(0, 1): 0.0}
    assert (found.unjoined, found.examples) == (3, ["q0, new", "q5, x", "q5, y"])


def test_a_second_dataset_without_a_shared_pair_is_refused(tmp_path: Path, desk: SimpleNamespace) -> None:
    path = desk.write_jsonl(tmp_path / "after.jsonl", [tevatron("q5", ["x"], ["y"])])
    with pytest.raises(UsageError, match="none of 2 labels .*, such as q5, x"):
        from_dataset(str(path), IDS)


def test_a_second_dataset_with_a_passage_on_both_sides_is_refused(tmp_path: Path, desk: SimpleNamespace) -> None:
    path = desk.write_jsonl(tmp_path / "after.jsonl", [tevatron("q0", ["p", "a"], ["a"])])
    with pytest.raises(UsageError, match="query q0 and passage a have two grades, 2 and 0") as raised:
        from_dataset(str(path), IDS)
    assert raised.value.where == f"{path}, query q0"


def test_a_second_dataset_without_ids_is_refused(tmp_path: Path, desk: SimpleNamespace) -> None:
    path = desk.write_jsonl(tmp_path / "flag.jsonl", [{"query": "x", "pos": ["p"], "neg": ["n"]}])
    with pytest.raises(UsageError, match="has no query ids or docids to join on"):
        from_dataset(str(path), IDS)


def test_a_second_dataset_of_another_split_or_that_is_not_there_is_refused(
    tmp_path: Path, desk: SimpleNamespace
) -> None:
    path = desk.write_jsonl(tmp_path / "after.jsonl", [tevatron("q0", ["p"], ["a"])])
    with pytest.raises(UsageError, match="no split 'test'"):
        from_dataset(str(path), IDS, split="test")
    with pytest.raises(UsageError, match="no such file or folder"):
        from_dataset(str(tmp_path / "absent.jsonl"), IDS)


def test_no_more_than_three_misses_are_kept() -> None:
    labels = Labels("file", "x")
    for i in range(10):
        labels.miss(str(i))
    assert (labels.unjoined, labels.examples) == (10, ["0", "1", "2"])
