"""What counts as the same text, and what as nearly the same."""

from __future__ import annotations

import hashlib
import unicodedata
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.text import near_duplicate_clusters, normalised, passage_key, text_sha256, token_set

NORMALISED = [
    ("none", None, ""),
    ("empty", "", ""),
    ("blank", " \t\r\n\u00a0\u3000", ""),
    ("case", "GROẞE Straße", "grosse strasse"),
    ("white space", " a\r\n\tb  c\u2003d ", "a b c d"),
    ("compatibility forms", "ﬁne Ｗｉｄｅ ² ½", "fine wide 2 1⁄2"),
    ("composed and not", "e\u0301", "é"),
    ("emoji and right-to-left stay", "👍🏽 שלום", "👍🏽 שלום"),
    ("punctuation stays", "a.b—c!", "a.b—c!"),
]


@pytest.mark.parametrize(("name", "text", "expected"), NORMALISED, ids=[case[0] for case in NORMALISED])
def test_normalised(name: str, text: str | None, expected: str) -> None:
    assert normalised(text) == expected


def test_passage_key_tells_title_and_text_apart() -> None:
    assert passage_key(None, "A b") == passage_key("", "a  B") == ("", "a b")
    assert passage_key("a", "b") != passage_key(None, "a b")


def test_text_sha256_is_over_raw_title_nul_text() -> None:
    assert text_sha256("Té", "x\r\n") == hashlib.sha256("Té".encode() + b"\0x\r\n").hexdigest()
    assert text_sha256(None, "x") == text_sha256("", "x") == hashlib.sha256(b"\0x").hexdigest()
    assert text_sha256("a", "b") != text_sha256("A", "b")
    assert len({text_sha256("a", "b"), text_sha256("", "ab"), text_sha256("ab", ""), text_sha256(None, "a\0b")}) == 4


def test_text_sha256_of_what_is_no_utf8() -> None:
    assert text_sha256(None, "\ud800") == hashlib.sha256(b"\0\xed\xa0\x80").hexdigest()


def test_token_set_joins_title_and_text() -> None:
    assert token_set(("a title", "a text, a_b 42")) == {"a", "title", "text", "a_b", "42"}
    assert token_set(("", "?!")) == frozenset()


def clusters(texts: list[str], threshold: float = 0.8) -> list[int]:
    return near_duplicate_clusters([frozenset(text.split()) for text in texts], threshold)


def words(count: int, start: int = 0) -> str:
    return " ".join(f"w{i}" for i in range(start, start + count))


@pytest.mark.parametrize(
    ("name", "texts", "expected"),
    [
        ("none", [], []),
        ("one", ["a"], [0]),
        ("exactly the threshold", [words(4), words(5)], [0, 0]),
        ("just below it", [words(7), words(9)], [0, 1]),
        ("a chain", [words(10), words(8), words(7)], [0, 0, 0]),
        ("two clusters", ["a", words(5), "a", words(4)], [0, 1, 0, 1]),
        ("empty sets are like nothing", ["", "", words(2)], [0, 1, 2]),
    ],
)
def test_clusters(name: str, texts: list[str], expected: list[int]) -> None:
    assert clusters(texts) == expected


@pytest.mark.parametrize("hundredths", range(50, 101, 5))
def test_a_similarity_equal_to_the_threshold_counts_whatever_the_fraction(hundredths: int) -> None:
    for scale in (1, 2, 3, 5):
        inner, outer = words(hundredths * scale), words(100 * scale)
        assert clusters([inner, outer], hundredths / 100) == [0, 0]
        assert clusters([words(hundredths * scale - 1), outer], hundredths / 100) == [0, 1]


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.lists(st.frozensets(st.integers(0, 9).map(str), max_size=8), max_size=9),
    st.sampled_from([0.5, 0.6, 0.8, 0.9, 1.0]),
)
def test_clusters_are_the_connected_components(sets: list[frozenset[str]], threshold: float) -> None:
    group = list(range(len(sets)))
    for i, j in combinations(range(len(sets)), 2):
        union = len(sets[i] | sets[j])
        if union and len(sets[i] & sets[j]) / union >= threshold:
            low, high = sorted((group[i], group[j]))
            group = [low if one == high else one for one in group]
    assert near_duplicate_clusters(sets, threshold) == group


@settings(max_examples=150, deadline=None, database=None)
@given(st.text())
def test_normalised_ignores_case_width_and_space(text: str) -> None:
    once = normalised(text)
    assert normalised(f" {text}\n") == once
    assert normalised(unicodedata.normalize("NFD", text)) == normalised(unicodedata.normalize("NFC", text)) == once
    assert "  " not in once
    assert once == once.strip()
