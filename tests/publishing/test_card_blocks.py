"""The card's blocks: what they say of the judge, what a hostile text cannot do to them, and a command that makes the run again."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn_hf.config import RunConfig
from arhn_hf.publishing.card_blocks import (
    code,
    command,
    decided_by,
    escaped,
    judged_by,
    prompts,
    rules,
    source_name,
)
from arhn_hf.publishing.summary import Summary
from arhn_hf.rules import Rules

LLM = {
    "kind": "vllm", "model": "Qwen/Qwen3-32B", "revision": "9216db5781bf21249d130ec9da846c4624c16137", "vllm": "0.26.0",
    "dtype": "torch.bfloat16", "quantization": None, "template": "0123456789abcdef", "sampling": {"temperature": 0.0},
    "thinking": False, "prompts": {"answer": "Say ```what``` you see.", "again": "$problem"},
}  # fmt: skip
READER = {"kind": "reader", "model": "arhn-reader", "revision": "sha256:aa"}


def document(**more: Any) -> dict[str, Any]:
    """A lineage with every rule at its default."""
    rules = {item.name: item.default for item in fields(Rules)}
    source = {
        "id": "me/data", "kind": "hub", "revision": "a" * 40, "name": None, "split": "train", "format": "tevatron",
        "fingerprint": "f", "rows": 3,
    }  # fmt: skip
    base = {
        "source": source, "sample": None, "format": {"to": None, "negatives": None, "short_rows": "drop"}, "rules": rules,
        "variants": ["combined", "relabel", "filter"], "judges": {"vllm": LLM}, "criteria": {},
        "ranking": {"candidates": "answered", "input": "passage", "window_size": 20, "window_positives": 5},
    }  # fmt: skip
    return {**base, **more}


def test_an_llm_judge_is_named_with_all_that_changes_what_it_says() -> None:
    said = judged_by({"vllm": LLM})
    for part in ("Qwen/Qwen3-32B", LLM["revision"], "vLLM 0.26.0", "bfloat16", "quantisation none", "temperature 0.0"):
        assert part in said
    assert "0123456789abcdef" in said
    assert "thinking" not in said
    assert "thinking on" in judged_by({"vllm": {**LLM, "thinking": True}})


def test_a_run_judged_by_the_reader_says_that_no_llm_read_it() -> None:
    assert "No LLM judged" in judged_by({"reader": READER})
    assert "none" in prompts({"reader": READER})


def test_a_cascade_says_who_decided_how_many_and_by_which_scores() -> None:
    judges = {"vllm": LLM, "reader": {**READER, "band": {"low": 0.1, "high": 0.9}}}
    negative = (None, "negative", "no_answer", "not_ranked", False, "keep", "no_answer", None, None, None)
    summary = Summary(Counter({(*negative, "reader"): 30, (*negative, "vllm"): 1970}))
    said = decided_by(judges, summary)
    for part in (
        "30 of 2,000 negatives",
        "Qwen/Qwen3-32B",
        "below a score of 0.1",
        "from 0.9 on",
        "every labelled positive",
    ):
        assert part in said
    never = decided_by({**judges, "reader": {**READER, "band": {"low": 0.1, "high": 1.0}}}, summary)
    assert "an answer from" not in never
    whole = document(judges=judges)
    assert "--cascade reader --cascade-low 0.1 --cascade-high 0.9" in command(whole)
    assert "- band of judge reader: low 0.1 high 0.9" in rules(whole)


def test_prompts_stand_word_for_word_in_fences_they_cannot_close() -> None:
    text = prompts({"vllm": LLM})
    assert "Say ```what``` you see." in text
    assert "````text\nSay" in text


@given(st.text(alphabet=st.sampled_from("`~ \nab#$<")))
def test_no_text_closes_its_code_block(text: str) -> None:
    lines = code(text).splitlines()
    fence = re.match(r"`+", lines[0])
    assert fence is not None
    assert lines[-1] == fence.group()
    assert not any(line.strip().startswith(fence.group()) for line in lines[1:-1])


@given(st.text())
def test_escaped_data_is_one_line_without_markup(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[*_`\[\]|$]", re.sub(r"\\\\", "", shown))
    assert "<" not in shown


def test_a_hub_source_is_linked_at_its_commit() -> None:
    said = source_name(document()["source"])
    assert f"https://huggingface.co/datasets/me/data/tree/{'a' * 40}" in said


def test_the_command_of_a_plain_run_is_plain() -> None:
    words = shlex.split(command(document(judges={"reader": READER})))
    assert words == ["arhn-hf", "refine", "me/data", "--revision", "a" * 40, "--output", "refined"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"rules": {"relabel": False}}, ["--no-relabel"]),
        ({"rules": {"min_negatives": 3}}, ["--min-negatives", "3"]),
        ({"ranking": {"input": "both"}}, ["--rank-input", "both"]),
        ({"ranking": {"window_size": 10}}, ["--window-size", "10"]),
        ({"criteria": {"how to; rm -rf": {"criterion": "claim", "filter_only": True}}},
         ["--criterion", "how to; rm -rf=claim", "--filter-only", "how to; rm -rf"]),
        ({"sample": {"n": 5, "seed": 42}}, ["--sample", "5"]),
        ({"variants": ["filter"]}, ["--variants", "filter"]),
        ({"format": {"to": "n-tuple", "negatives": 7}}, ["--to", "n-tuple", "--negatives", "7"]),
    ],
)  # fmt: skip
def test_the_command_holds_what_is_not_default_and_is_read_back(changed: dict[str, Any], expected: list[str]) -> None:
    base = document()
    merged = {key: {**base[key], **value} if isinstance(base[key], dict) else value for key, value in changed.items()}
    words = shlex.split(command(document(**merged)))
    assert " ".join(expected) in " ".join(words)
    assert ["--judge", "vllm", "--model", LLM["model"], "--model-revision", LLM["revision"]] == words[
        words.index("--judge") : words.index("--judge") + 6
    ]
    options = {word[2:].replace("-", "_") for word in words if word.startswith("--")}
    known = {item.name for item in fields(RunConfig)}
    assert {name.removeprefix("no_") for name in options} <= known
