"""The card that a push leaves: our section and keys from this run, and all that a person wrote there or here, once."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.publishing.card import PLACE, merge_cards, refuse_broken_card
from arhn_hf.publishing.card_text import BEGIN, END, join_card, split_card
from arhn_hf.records import ArhnError, UsageError

REPO = "me/data"
OURS = [
    {"config_name": "combined", "data_files": "combined/train-*.parquet", "default": True, "description": "content 1"},
    {"config_name": "evidence", "data_files": "evidence/train-*.parquet"},
]
THEIRS = {"config_name": "own", "data_files": "own/*.parquet"}


def section(run: str = "new") -> str:
    lines = f'load_dataset("{PLACE}", "combined")\nload_dataset("parquet", data_files="{PLACE}/evidence/*.parquet")'
    return f"{BEGIN}\n# Run {run}\n{lines}\n{END}"


def card(head: dict[str, Any], before: str = "", after: str = "", run: str = "new") -> str:
    words = "\n\n".join(part for part in (before, section(run), after) if part)
    return join_card(yaml.safe_dump(head, sort_keys=False, allow_unicode=True), f"{words}\n")


LOCAL = {"license": "mit", "size_categories": ["n<1K"], "tags": ["arhn-hf"], "configs": OURS}


def merged(remote: str | None, local: str | None = None, **options: Any) -> tuple[dict[str, Any], str, str]:
    """Head, body and whole of what is pushed."""
    text = merge_cards(local or card(LOCAL), remote, **{"repo_id": REPO, "license": None, **options})
    head, body = split_card(text)
    return yaml.safe_load(head), body, text


def test_without_a_card_there_the_local_one_goes_with_the_repositorys_name() -> None:
    head, body, _ = merged(None, card(LOCAL, before="Mine."))
    assert head == LOCAL
    assert f'load_dataset("{REPO}", "combined")' in body
    assert f'data_files="hf://datasets/{REPO}/evidence/*.parquet"' in body
    assert PLACE not in body
    assert body.index("Mine.") < body.index(BEGIN)


def test_words_of_a_person_that_hold_our_placeholder_are_not_rewritten() -> None:
    words = f'I call load_dataset("{PLACE}", "x").'
    assert words in merged(card(LOCAL, before=words))[1]
    assert words in merged(None, card(LOCAL, after=words))[1]


def test_our_section_is_that_of_this_run() -> None:
    _, body, _ = merged(card(LOCAL, "# Theirs", "Last.", run="old"))
    assert ("# Run new" in body, "# Run old" in body, body.count(BEGIN), body.count(END)) == (True, False, 1, 1)
    assert body.index("# Theirs") < body.index(BEGIN) < body.index(END) < body.index("Last.")


@pytest.mark.parametrize("there", ["cc-by-4.0", ["mit", "cc0-1.0"]])
def test_a_licence_on_the_hub_stays(there: Any) -> None:
    assert merged(card({**LOCAL, "license": there}))[0]["license"] == there


@pytest.mark.parametrize("there", ["unknown", "", None, ["unknown"], []])
def test_an_unknown_licence_on_the_hub_gives_way(there: Any) -> None:
    assert merged(card({**LOCAL, "license": there}))[0]["license"] == "mit"


def test_a_named_licence_wins() -> None:
    assert merged(card({**LOCAL, "license": "cc0-1.0"}), license="cc-by-4.0")[0]["license"] == "cc-by-4.0"
    assert merged(None, license="cc-by-4.0")[0]["license"] == "cc-by-4.0"


def test_another_licence_does_not_keep_the_name_and_link_of_the_old_one() -> None:
    there = {**LOCAL, "license": "other", "license_name": "mine", "license_link": "LICENSE"}
    head, _, _ = merged(card(there), license="mit")
    assert (head["license"], "license_name" in head) == ("mit", False)


def test_our_own_keys_are_updated_and_theirs_stay() -> None:
    there = {"size_categories": ["n>1T"], "pretty_name": "Theirs", "extra": {"a": [1]}, "configs": [OURS[1]]}
    head, _, _ = merged(card(there), card({**LOCAL, "pretty_name": "Ours", "language": ["en"]}))
    assert (head["size_categories"], head["configs"]) == (["n<1K"], OURS)
    assert (head["pretty_name"], head["extra"], head["language"]) == ("Theirs", {"a": [1]}, ["en"])


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["x"], ["x", "arhn-hf"]), ("x", ["x", "arhn-hf"]), (["arhn-hf", "x"], ["arhn-hf", "x"]), (None, ["arhn-hf"]),
        ([], ["arhn-hf"]),
    ],
)  # fmt: skip
def test_tags_are_added_to(there: Any, expected: list[str]) -> None:
    assert merged(card({"tags": there}))[0]["tags"] == expected


def test_tags_that_are_not_all_words_are_added_to_once() -> None:
    text = card({"tags": ["x", 2024]})
    for _ in range(2):
        head, _, text = merged(text)
    assert head["tags"] == ["x", 2024, "arhn-hf"]


def test_a_first_line_keeps_its_indent() -> None:
    assert (
        "\n    code, by its indent\n" in merged(card(LOCAL), card(LOCAL, after="    code, by its indent\n    more"))[1]
    )


def test_configurations_of_older_runs_go_and_those_of_a_person_stay() -> None:
    there = {"configs": [{"config_name": "relabel", "data_files": "relabel/*"}, OURS[0], THEIRS]}
    assert merged(card(there))[0]["configs"] == [*OURS, THEIRS]


def test_there_is_one_default() -> None:
    head, _, _ = merged(card({"configs": [*OURS, {**THEIRS, "default": True}]}))
    assert sum(bool(one.get("default")) for one in head["configs"]) == 1


@pytest.mark.parametrize("there", ["own/*", {"config_name": "own"}, ["own"], [{"config_name": "own"}, 3]])
def test_odd_configurations_of_a_person_are_no_traceback(there: Any) -> None:
    try:
        head, _, _ = merged(card({"configs": there}))
    except ArhnError:
        return
    assert head["configs"][:2] == OURS


def test_comments_and_order_of_the_hubs_head_stay() -> None:
    head = "# first\nlicense: mit # mine\n\ntags: [x]  # of x\n# about size\nsize_categories: [n>1T]\n# last\n"
    _, _, text = merged(f"---\n{head}---\nWords.\n")
    assert text.startswith("---\n# first\nlicense: mit # mine\n")
    assert "# about size\nsize_categories:\n- n<1K\n# last\n" in text


def test_local_words_are_added_once_on_their_side() -> None:
    local = card(LOCAL, "Before.", "After.")
    text = card(LOCAL, "# Theirs", "Theirs too.")
    for _ in range(3):
        text = merged(text, local)[2]
    assert [text.count(part) for part in ("Before.", "After.", "# Theirs", "Theirs too.")] == [1] * 4
    assert text.index("Before.") < text.index(BEGIN) < text.index("After.")


def test_short_local_words_are_not_taken_for_part_of_another_word() -> None:
    text = merged(card(LOCAL, "Notes on hard negatives."), card(LOCAL, "Note"))[2]
    assert "\nNote\n" in text


def test_words_that_stand_before_on_the_hub_and_after_here_are_not_said_twice() -> None:
    assert merged(card(LOCAL, before="Mine."), card(LOCAL, after="Mine."))[1].count("Mine.") == 1


def test_a_card_on_the_hub_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ArhnError) as caught:
        merged("---\na: [1\n---\n")
    assert "\n" not in str(caught.value)


def test_a_broken_local_card_is_refused_in_time(tmp_path: Any) -> None:
    (tmp_path / "README.md").write_text("---\na: [1\n---\n")
    with pytest.raises(UsageError, match="YAML"):
        refuse_broken_card(tmp_path)
    (tmp_path / "README.md").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        refuse_broken_card(tmp_path)


WORDS = st.lists(st.sampled_from(["# Title", "Some words.", "- a list", "| a | b |", "---", "é"]), max_size=4).map(
    "\n\n".join
)
REMOTE_HEADS = st.dictionaries(
    st.sampled_from(["license", "tags", "pretty_name", "configs", "language", "source_datasets", "mine"]),
    st.sampled_from(["mit", ["mit", "x"], None, [THEIRS], [THEIRS, OURS[1]]]),
)


@settings(max_examples=100, deadline=None)
@given(REMOTE_HEADS, WORDS, WORDS, WORDS, WORDS, st.booleans())
def test_merging_again_changes_nothing_and_loses_no_words(
    head: dict[str, Any], before: str, after: str, local_before: str, local_after: str, ours: bool
) -> None:
    if not isinstance(head.get("configs", []), list) or not all(
        isinstance(one, dict) for one in head.get("configs") or []
    ):
        head.pop("configs")
    if head.get("tags") == [THEIRS] or head.get("tags") == [THEIRS, OURS[1]]:
        head.pop("tags")
    remote = (
        card(head, before, after) if ours else join_card(yaml.safe_dump(head) if head else "", f"Words.\n\n{before}\n")
    )
    local = card(LOCAL, local_before, local_after)
    found, body, text = merged(remote, local)
    assert found["configs"][:2] == OURS
    assert {key: found[key] for key in ("pretty_name", "mine") if key in head} == {
        key: head[key] for key in ("pretty_name", "mine") if key in head
    }
    said = [
        *before.split("\n\n"),
        *local_before.split("\n\n"),
        *local_after.split("\n\n"),
        *(after.split("\n\n") if ours else ()),
    ]
    assert all(part in body for part in said)
    assert (body.count(BEGIN), body.count(END)) == (1, 1)
    assert merged(text, local)[2] == text
