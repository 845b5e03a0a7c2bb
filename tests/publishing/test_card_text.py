"""Editing a card changes what it is told to and nothing that a person wrote: comments, order, other keys, words."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.publishing.card_text import (
    BEGIN,
    END,
    edit_head,
    join_card,
    outside,
    read_head,
    section_of,
    split_card,
    with_section,
)
from arhn_hf.records import ArhnError

SECTION = f"{BEGIN}\n# Ours\n{END}"
HEAD = """# before all
license: mit  # checked by me
pretty_name: 'A: name'
tags:
- a
- b  # why b
# between
"quoted key": 1
configs:
  - config_name: x
    data_files: x/*
text: |
  key: not a key
  # not a comment
# at the end
"""


# Splitting and joining.


@pytest.mark.parametrize(
    ("text", "head", "body"),
    [
        ("---\na: 1\n---\n# Title\n", "a: 1", "# Title\n"),
        ("---\r\na: 1\r\n---\r\n# Title\r\n", "a: 1", "# Title\r\n"),
        ("\ufeff---\na: 1\n---\nbody", "a: 1", "body"),
        ("---\n---\nbody", "", "body"),
        ("---  \na: 1\n---  \nbody", "a: 1", "body"),
        ("---\na: 1\n---", "a: 1", ""),
        ("# Title\n\n---\n\nno head\n---\n", "", "# Title\n\n---\n\nno head\n---\n"),
        ("---\na: '---'\nb: 2\n---\n", "a: '---'\nb: 2", ""),
        ("---\na: 1\nnever closed", "", "---\na: 1\nnever closed"),
        ("", "", ""),
    ],
)
def test_a_card_has_two_halves(text: str, head: str, body: str) -> None:
    assert split_card(text) == (head, body)


@given(st.text(alphabet="ab:# \n'-", max_size=40), st.text(alphabet="ab# \n-é", max_size=40))
def test_halves_that_are_joined_are_split_again(head: str, body: str) -> None:
    if "---" in head or not head.strip() or "---" in body:
        return
    again_head, again_body = split_card(join_card(head, body))
    assert (again_head, again_body.strip()) == (head.rstrip(), body.strip())


# The head.


@pytest.mark.parametrize("head", ["a: [1", "a: b: c", "\tx: 1", "a: &x 1\nb: *y", "a: 1\n- b"])
def test_yaml_that_cannot_be_read_is_said_in_one_line(head: str) -> None:
    with pytest.raises(ArhnError, match="cannot be read") as caught:
        read_head(head)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", ["- a\n- b", "words", "1"])
def test_yaml_that_is_no_mapping_is_refused(head: str) -> None:
    with pytest.raises(ArhnError, match="not a mapping"):
        read_head(head)


@pytest.mark.parametrize("head", ["", "# only a comment\n", "{}", "null"])
def test_a_head_may_be_empty(head: str) -> None:
    assert read_head(head) == {}
    assert yaml.safe_load(edit_head(head, {"a": 1})) == {"a": 1}


def test_a_key_is_replaced_where_it_stands_and_nothing_else() -> None:
    edited = edit_head(HEAD, {"pretty_name": "Other", "configs": [{"config_name": "y"}]})
    lines = edited.splitlines()
    assert lines[:3] == ["# before all", "license: mit  # checked by me", "pretty_name: Other"]
    assert "- b  # why b" in lines
    assert "  # not a comment" in lines
    assert (lines.index("# between"), lines[-1]) == (6, "# at the end")
    assert yaml.safe_load(edited) == {
        **yaml.safe_load(HEAD),
        "pretty_name": "Other",
        "configs": [{"config_name": "y"}],
    }


def test_a_new_key_comes_last() -> None:
    assert edit_head(HEAD, {"new": ["é"]}) == HEAD + "new:\n- é\n"


def test_a_value_that_is_there_already_changes_nothing() -> None:
    assert edit_head(HEAD, yaml.safe_load(HEAD)) == HEAD
    assert edit_head(HEAD, {}) == HEAD


@pytest.mark.parametrize("key", ['"tags"', "'tags'", "tags ", "tags"])
def test_a_quoted_key_is_found(key: str) -> None:
    assert edit_head(f"{key}: [a]\nb: 1\n", {"tags": ["c"]}) == "tags:\n- c\nb: 1\n"


def test_a_list_at_the_margin_is_replaced_whole() -> None:
    assert edit_head("tags:\n- a\n- b\nb: 1\n", {"tags": ["c"]}) == "tags:\n- c\nb: 1\n"


def test_a_comment_before_the_next_key_stays_with_it() -> None:
    assert edit_head("a: 1\n# of b\nb: 2\n", {"a": 3}) == "a: 3\n# of b\nb: 2\n"


def test_anchors_across_keys_keep_their_values() -> None:
    edited = edit_head("a: &x [1]\nb: *x\n# mine\n", {"a": [2]})
    assert yaml.safe_load(edited) == {"a": [2], "b": [1]}


@pytest.mark.parametrize("head", ["{a: 1, b: 2}", "? a\n: 1\nb: 2\n", "a: 1\n...\n", "a: >\n  x\n\n  y\nb: 2\n"])
def test_unusual_yaml_keeps_its_values(head: str) -> None:
    assert yaml.safe_load(edit_head(head, {"c": 3, "a": "n"})) == {**yaml.safe_load(head), "c": 3, "a": "n"}


def test_a_head_of_comments_alone_keeps_them() -> None:
    assert edit_head("# mine\n", {}) == "# mine\n"
    assert edit_head("", {}) == ""
    assert edit_head("# mine\n", {"a": 1}) == "# mine\na: 1\n"


def test_a_comment_survives_a_head_that_is_written_anew() -> None:
    assert "# mine" in edit_head("# mine\na: &x [1]\nb: *x\n", {"a": [2]})


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.text(max_size=12),
    st.sampled_from(["---", "a: b", "# x", "no", "1e3"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(["license", "tags", "configs", "pretty_name", "language", "a key", "é"])
HEADS = st.dictionaries(KEYS, VALUES, max_size=5)


@settings(max_examples=100, deadline=None)
@given(HEADS, HEADS, st.booleans())
def test_any_head_gets_just_the_values_it_is_given(there: dict[str, Any], values: dict[str, Any], flow: bool) -> None:
    head = yaml.safe_dump(there, sort_keys=False, allow_unicode=True, default_flow_style=flow) if there else ""
    there = yaml.safe_load(head) or {}  # PyYAML itself loses U+0085
    edited = edit_head(head, values)
    assert (yaml.safe_load(edited) or {}) == {**there, **values}
    assert edit_head(edited, values) == edited
    assert split_card(join_card(edited, "body"))[1].strip() == "body"


@settings(max_examples=100, deadline=None)
@given(st.lists(KEYS, unique=True, min_size=1), st.data())
def test_every_comment_between_keys_survives(keys: list[str], data: st.DataObject) -> None:
    head = "".join(f"# about {key}\n{key}: {data.draw(st.sampled_from(['1', '[a, b]', 'x y']))}\n" for key in keys)
    values = data.draw(st.dictionaries(KEYS, st.sampled_from([1, ["z"], "w", {"k": [1]}])))
    edited = edit_head(head, values)
    lines = edited.splitlines()
    assert [line for line in lines if line.startswith("#")] == [f"# about {key}" for key in keys]
    for key in keys:
        assert lines[lines.index(f"# about {key}") + 1].startswith(f"{key}:")


# The section.


@given(st.text(max_size=60), st.text(max_size=60))
def test_words_around_the_section_stay_letter_by_letter(before: str, after: str) -> None:
    body = f"{before}{BEGIN}\nold\n{END}{after}"
    assert with_section(body, SECTION) == f"{before}{SECTION}{after}"
    assert outside(body) == (before, after)
    assert section_of(with_section(body, SECTION)) == SECTION


@given(st.text(max_size=60))
def test_a_text_without_a_section_gets_one_first_and_once(body: str) -> None:
    once = with_section(body, SECTION)
    assert once.startswith(SECTION)
    assert body.strip() in once
    assert with_section(once, SECTION) == once


@pytest.mark.parametrize("body", [f"{BEGIN}\nhalf", f"half\n{END}", f"{END}\n{BEGIN}", "none"])
def test_half_a_section_is_a_persons_words(body: str) -> None:
    assert outside(body) is None
    assert section_of(body) == ""
    assert body in with_section(body, SECTION)
