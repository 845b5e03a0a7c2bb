"""Configurations that are refused before anything is spent, and the line that says why."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from arhn_hf.config import RunConfig, option_fields
from arhn_hf.config_file import read_yaml
from arhn_hf.records import UsageError
from arhn_hf.rules import Rules, option_name


def refused(**options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        RunConfig.from_mapping(options)
    assert caught.value.exit_code == 2
    line = str(caught.value)
    assert "\n" not in line
    return line


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults_are_the_documented_ones() -> None:
    config = RunConfig()
    expected = {
        "min_answerable": 0.5, "near_duplicate": 0.8, "reference": "best", "no_answer_in_positives": "filter",
        "relabel": True,
        "filter_scope": "all", "undecided": "keep", "max_new_positives": 3, "ambiguous_above": 7, "min_negatives": 1,
        "short_rows": None, "max_negatives": None, "train_max_length": None, "orders": 2, "rank_candidates": "answered",
        "rank_input": "passage", "max_failures": 0.02, "max_ungrounded": 0.2, "judge": "reader",
    }  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.variant_names == ("combined", "relabel", "filter")


def test_every_rule_is_an_option_of_a_run() -> None:
    assert {item.name for item in fields(Rules)} <= set(option_fields())
    for name, item in option_fields().items():
        assert item.metadata["help"].endswith((".", "]")), name
        assert option_name(name) == "--" + name.replace("_", "-")


OUT_OF_RANGE = [
    ("min_answerable", -0.1), ("min_answerable", 1.1), ("min_answerable", float("nan")), ("near_duplicate", 0.49),
    ("near_duplicate", 1.01), ("max_new_positives", -1), ("ambiguous_above", -1), ("min_negatives", -1),
     ("max_negatives", 0),
    ("train_max_length", 7), ("orders", 0), ("orders", 17), ("seed", -1), ("sample", 0), ("negatives", 0),
    ("answer_threshold", 1.5), ("max_chunks", 0), ("max_in_flight", 0), ("window_size", 1), ("window_positives", 0),
    ("max_failures", 1.01), ("max_failures", float("inf")), ("max_ungrounded", -1), ("min_relabel", 11),
     ("max_relabel", -1),
    ("min_filter", 11), ("max_filter", float("nan")), ("min_rows", -1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE, ids=[f"{n}={v}" for n, v in OUT_OF_RANGE])
def test_out_of_range(name: str, value: float) -> None:
    line = refused(**{name: value})
    assert line.startswith(f"{option_name(name)}: {value} is out of range")


AT_THE_EDGE = [
    ("min_answerable", 0), ("min_answerable", 1), ("near_duplicate", 0.5), ("near_duplicate", 1),
     ("max_new_positives", 0),
    ("orders", 16), ("train_max_length", 8), ("max_failures", 0.0), ("window_size", 6), ("min_relabel", 10),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), AT_THE_EDGE)
def test_the_edge_is_in_range(name: str, value: float) -> None:
    assert getattr(RunConfig.from_mapping({name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reference", "median"), ("no_answer_in_positives", "keep"), ("filter_scope", "above"), ("undecided", "drop"),
        ("short_rows", "remove"), ("judge", "oracle"), ("rank_candidates", "none"), ("rank_input", "title"),
         ("to", "beir"),
        ("format", "beir"),
    ],
)  # fmt: skip
def test_not_a_choice(name: str, value: str) -> None:
    assert refused(**{name: value}).startswith(f"{option_name(name)}: {value!r} is not one of ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_answerable", "half"), ("max_new_positives", 1.5), ("max_new_positives", True), ("relabel", "yes"),
         ("relabel", 1),
        ("split", 2020), ("min_answerable", True), ("sample", "10"),
    ],
)  # fmt: skip
def test_wrong_type(name: str, value: Any) -> None:
    assert refused(**{name: value}).startswith(f"{option_name(name)}: {value!r} is not a valid ")


@pytest.mark.parametrize("name", ["relabel", "orders", "reference", "split"])
def test_null_only_where_it_means_not_given(name: str) -> None:
    assert refused(**{name: None}) == f"{option_name(name)}: needs a value"
    assert RunConfig.from_mapping({"sample": None, "short_rows": None}).sample is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("combined", ("combined",)), ("filter, combined", ("combined", "filter")), ("relabel,relabel", ("relabel",)),
        ("filter,", ("filter",)),
    ],
)  # fmt: skip
def test_variants(text: str, names: tuple[str, ...]) -> None:
    assert RunConfig(variants=text).variant_names == names


@pytest.mark.parametrize("text", ["", ",", "combined,both", "Combined"])
def test_variants_refused(text: str) -> None:
    assert refused(variants=text).startswith("--variants: ")


@pytest.mark.parametrize("item", ["fever", "fever=", "fever=maybe", "=", "fever=Claim"])
def test_criterion_refused(item: str) -> None:
    assert refused(criterion=[item]).startswith(f"--criterion: {item!r}")


def test_window_must_leave_room_for_candidates() -> None:
    assert refused(window_size=5, window_positives=5).startswith("--window-positives: ")
    assert RunConfig(window_size=6, window_positives=5).window_size == 6


def test_unknown_option_suggests_the_near_one() -> None:
    assert refused(max_new_positive=2) == "unknown option 'max_new_positive'; did you mean 'max_new_positives'?"
    assert refused(zzz=2) == "unknown option 'zzz'"


# ---- YAML


def test_yaml_dashes_and_underscores_are_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, "max-new-positives: 2\nmin_negatives: 0\nrelabel: no\nsource: some/data\n")
    values = read_yaml(path)
    assert values == {"max_new_positives": 2, "min_negatives": 0, "relabel": False, "source": "some/data"}
    assert RunConfig.from_mapping(values).max_new_positives == 2


def test_yaml_empty(tmp_path: Path) -> None:
    assert read_yaml(written(tmp_path, "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("key", "near"),
    [("max-new-positive", "max_new_positives"), ("min_negative", "min_negatives"), ("variant", "variants"),
    ("rank-inputs", "rank_input")],
)  # fmt: skip
def test_yaml_unknown_key_suggests_the_near_one(tmp_path: Path, key: str, near: str) -> None:
    path = written(tmp_path, f"{key}: 1\n")
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}: unknown key {key!r}; did you mean {near!r}?"


def test_yaml_unknown_key_without_a_near_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'qqqq'$"):
        read_yaml(written(tmp_path, "qqqq: 1\n"))


def test_yaml_key_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown key 5"):
        read_yaml(written(tmp_path, "5: 1\n"))


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n", "42\n"])
def test_yaml_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="must hold options as"):
        read_yaml(written(tmp_path, text))


def test_yaml_that_is_broken_names_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 1\nsplit: [train\n")
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}:3: not valid YAML")
    assert "\n" not in str(caught.value)


def test_yaml_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read \(FileNotFoundError\)"):
        read_yaml(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match=r"cannot be read \(IsADirectoryError\)"):
        read_yaml(str(tmp_path))
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"split: \xe9\n")
    with pytest.raises(UsageError, match=r"cannot be read \(UnicodeDecodeError\)"):
        read_yaml(str(path))


def test_yaml_lists_and_mappings_of_criteria(tmp_path: Path) -> None:
    for text in ("criterion: {fever: claim, arguana: question}\n", "criterion: [fever=claim, arguana=question]\n"):
        config = RunConfig.from_mapping(read_yaml(written(tmp_path, text)))
        assert config.criterion == ("fever=claim", "arguana=question")
    assert RunConfig.from_mapping(read_yaml(written(tmp_path, "filter-only: [a, b]\n"))).filter_only == ("a", "b")


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("filter-only: hotpotqa\n", "filter_only", ("hotpotqa",)),
         ("criterion: fever=claim\n", "criterion", ("fever=claim",)),
        ("filter-only:\n", "filter_only", ()), ("filter-only: []\n", "filter_only", ()),
    ],
)  # fmt: skip
def test_yaml_subsets_without_brackets(tmp_path: Path, text: str, name: str, expected: tuple[str, ...]) -> None:
    assert getattr(RunConfig.from_mapping(read_yaml(written(tmp_path, text))), name) == expected


@pytest.mark.parametrize("text", ["criterion: 5\n", "criterion: [5]\n", "criterion: true\n", "criterion: [[a]]\n"])
def test_yaml_criteria_that_are_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"^--criterion: "):
        RunConfig.from_mapping(read_yaml(written(tmp_path, text)))


def test_yaml_subset_that_is_a_number(tmp_path: Path) -> None:
    assert RunConfig.from_mapping(read_yaml(written(tmp_path, "filter-only: [2019, nq]\n"))).filter_only == (
        "2019",
        "nq",
    )


def test_yaml_filter_only_as_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--filter-only"):
        RunConfig.from_mapping(read_yaml(written(tmp_path, "filter-only: {fever: true}\n")))


@pytest.mark.parametrize(
    "url", ["http://localhost:8000/v1", "https://api.example.org", "http://[::1]:8000/v1", "http://10.0.0.1"]
)
def test_addresses_of_every_kind_of_host_are_taken(url: str) -> None:
    assert RunConfig(source="x", judge="server", model="m", base_url=url).base_url == url
