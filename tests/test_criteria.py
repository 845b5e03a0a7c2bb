"""Which criterion a subset is judged by, and where relabeling is off."""

from __future__ import annotations

import pytest

from arhn_hf.criteria import Criteria, subset_key

DEFAULTS = [
    ("arguana", "skip", False), ("ArguAna", "skip", False), ("scidocsrr", "skip", False), ("SciDocs-RR", "skip", False),
    ("quora_duplicates", "skip", False), ("Quora-Duplicates", "skip", False),
     ("StackOverflowDupQuestions", "skip", False),
    ("AskUbuntuDupQuestions", "skip", False), ("all-nli", "skip", False), ("AllNLI", "skip", False),
     ("SNLI", "skip", False),
    ("STS-B", "skip", False), ("STSBenchmark", "skip", False), ("sts12", "skip", False),
    ("fever", "claim", True), ("FEVER", "claim", True), ("climate-fever", "claim", True),
     ("Climate_FEVER", "claim", True),
    ("climatefever", "claim", True), ("claims", "claim", False),
    ("hotpotqa", "question", True), ("HotpotQA", "question", True), ("hotpot_qa", "question", True),
    ("msmarco", "question", False), ("nq", "question", False), ("", "question", False), (None, "question", False),
    ("feverish", "question", False), ("my-fever", "question", False),
]  # fmt: skip


@pytest.mark.parametrize(("subset", "criterion", "filter_only"), DEFAULTS, ids=[str(case[0]) for case in DEFAULTS])
def test_shipped_profile(subset: str | None, criterion: str, filter_only: bool) -> None:
    criteria = Criteria()
    assert (criteria.criterion(subset), criteria.only_filters(subset)) == (criterion, filter_only)


def test_subset_key_ignores_case_and_punctuation() -> None:
    assert subset_key(" Climate-FEVER_v2.0 ") == subset_key("climatefever V20") == "climatefeverv20"
    assert subset_key("Ｆｅｖｅｒ") == "fever"
    assert subset_key(None) == subset_key("-_-") == ""
    assert subset_key("日本語") == "日本語"


def test_overrides_win_and_the_last_of_them() -> None:
    criteria = Criteria(("ArguAna=question", "msmarco=skip", "MS-MARCO=claim"), ("MSMARCO",))
    assert criteria.criterion("arguana") == "question"
    assert criteria.criterion("msmarco") == "claim"
    assert criteria.only_filters("ms_marco")
    assert criteria.only_filters("fever"), "the profile stays in force beside it"
    assert not criteria.only_filters("arguana")


def test_a_subset_name_may_hold_an_equals_sign() -> None:
    assert Criteria(("a=b=claim",)).criterion("A=B") == "claim"


def test_without_the_profile_only_overrides_count() -> None:
    criteria = Criteria(("x=claim",), ("y",), profile=False)
    assert [criteria.criterion(name) for name in ("x", "fever", "arguana", None)] == ["claim", *["question"] * 3]
    assert [criteria.only_filters(name) for name in ("y", "fever", None)] == [True, False, False]


def test_rows_without_a_subset_are_named_by_nothing() -> None:
    criteria = Criteria(("=claim",))
    assert [criteria.criterion(name) for name in (None, "", "msmarco")] == ["claim", "claim", "question"]
    assert not Criteria(filter_only=("msmarco",)).only_filters(None)
