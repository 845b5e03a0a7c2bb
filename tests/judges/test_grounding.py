"""A snippet is found in its passage, whatever its typography, and the offsets speak of the original text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.judges.grounding import ground

PASSAGE = (
    "The “Great Fire” of London — it’s said — began in Pudding Lane,\r\n2 September 1666.  "
    "A baker's oven was\tthe cause."
)

FOUND = [
    # name, snippet, text, status, the slice of the original
    ("exact", "began in Pudding Lane", PASSAGE, "answered", "began in Pudding Lane"),
    ("the first of several", "a", "b a a", "answered", "a"),
    ("quotes", 'The "Great Fire" of', PASSAGE, "answered", "The “Great Fire” of"),
    ("guillemets and low quotes", '"a" "b"', "«a» „b“", "answered", "«a» „b“"),
    ("apostrophe", "it's said", PASSAGE, "answered", "it’s said"),
    ("acute accent as apostrophe", "don't", "we don´t know", "answered", "don´t"),
    ("back-tick as apostrophe", "don't", "we don`t know", "answered", "don`t"),
    ("double prime", '5" pipe', "a 5″ pipe", "answered", "5″ pipe"),
    ("dashes", "London - it's said -", PASSAGE, "answered", "London — it’s said —"),
    ("minus sign and non-breaking hyphen", "-5 well-known", "at −5 well‑known", "answered", "−5 well‑known"),
    ("case", "PUDDING lane", PASSAGE, "answered", "Pudding Lane"),
    ("sharp s", "STRASSE", "die Straße dort", "answered", "Straße"),
    ("part of a sharp s", "Stras", "die Straße dort", "answered", "Straß"),
    ("line ends", "Lane, 2 September", PASSAGE, "answered", "Lane,\r\n2 September"),
    ("tabs and runs of spaces", "1666. A baker's oven was the cause", PASSAGE, "answered",
     "1666.  A baker's oven was\tthe cause"),
    ("no-break and ideographic spaces", "a b c", "x a\u00a0b\u3000c", "answered", "a\u00a0b\u3000c"),
    ("space around the snippet", "  Pudding Lane \n", PASSAGE, "answered", "Pudding Lane"),
    ("ligature", "first office", "the ﬁrst oﬃce", "answered", "ﬁrst oﬃce"),
    ("full width", "ABC 12", "x ＡＢＣ　１２ y", "answered", "ＡＢＣ　１２"),
    ("combining marks", "café", "the cafe\u0301 there", "answered", "cafe\u0301"),
    ("combining marks in the snippet", "cafe\u0301", "the café there", "answered", "café"),
    ("marks in another order", "q\u0323\u0307", "x q\u0307\u0323 y", "answered", "q\u0307\u0323"),
    ("Hangul letters", "각", "x \u1100\u1161\u11a8 y", "answered", "\u1100\u1161\u11a8"),
    ("two-part vowel", "\u0995\u09cb", "x \u0995\u09c7\u09be", "answered", "\u0995\u09c7\u09be"),
    ("half-width kana", "ガ", "x ｶﾞ y", "answered", "ｶﾞ"),
    ("after emoji", "two", "👩‍👩‍👧 one two", "answered", "two"),
    ("emoji", "👍🏽 yes", "👍🏽 YES", "answered", "👍🏽 YES"),
    ("beyond the basic plane", "bold", "x 𝐛𝐨𝐥𝐝 y", "answered", "𝐛𝐨𝐥𝐝"),
    ("right to left", "שלום", "א שלום ב", "answered", "שלום"),
    ("a word wrong", "began in the Pudding Lane, 2 September 1666", PASSAGE, "approximate", None),
    ("punctuation left out", "began in Pudding Lane 2 September 1666 A baker's oven", PASSAGE, "approximate", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "snippet", "text", "status", "slice_"), FOUND, ids=[case[0] for case in FOUND])
def test_found(name: str, snippet: str, text: str, status: str, slice_: str | None) -> None:
    found = ground(snippet, None, text)
    assert found is not None
    assert (found.status, found.field) == (status, "text")
    if slice_ is None:
        assert 0 <= found.start < found.end <= len(text)
        assert "Pudding Lane" in text[found.start : found.end]
    else:
        assert text[found.start : found.end] == slice_


NOT_FOUND = [
    ("something else", "the river Thames flooded the town", PASSAGE),
    ("short and misspelt", "Puding", PASSAGE),
    ("longer than the passage", "a passage that is far longer", "a passage"),
    ("empty", "", ""),
    ("blank", " \n ", PASSAGE),
    ("in an empty passage", "x", ""),
]


@pytest.mark.parametrize(("name", "snippet", "text"), NOT_FOUND, ids=[case[0] for case in NOT_FOUND])
def test_not_found(name: str, snippet: str, text: str) -> None:
    assert ground(snippet, None, text) is None


def test_text_comes_before_title_and_every_step_before_the_next() -> None:
    found = ground("Rome", "Rome", "in Rome")
    assert found is not None
    assert (found.field, found.start, found.end) == ("text", 3, 7)
    found = ground("Rome", "On Rome", "ROME")
    assert found is not None
    assert (found.field, found.start, found.end) == ("title", 3, 7)
    found = ground("rome", "On Rome", "no such town")
    assert found is not None
    assert (found.status, found.field) == ("answered", "title")


def test_empty_title_is_no_title() -> None:
    assert ground("x", "", "y") is None


def test_long_text_of_marks_takes_no_time() -> None:
    text = "a" + "\u0301" * 30_000 + " the end"
    found = ground("THE END", None, text)
    assert found is not None
    assert text[found.start : found.end] == "the end"


# Pieces that folding treats differently, and one way to write each otherwise.
PIECES = {
    "“": '"', "”": '"', "«": '"', "’": "'", "‘": "'", "´": "'", "—": "-", "–": "-", "−": "-", "‑": "-", "ﬁ": "fi",
    "ﬀ": "FF",
    "é": "e\u0301", "Å": "A\u030a", "ẛ̣": "ṩ", "\r\n": " ", "\t": "  ", "\u00a0": " ", "👍🏽": "👍🏽", "👩‍👧": "👩‍👧",
    "Ｗ": "w", "½": "1⁄2",
    "각": "\u1100\u1161\u11a8", "が": "か\u3099", "ß": "SS", "İ": "i\u0307", "word": "WORD", "Σ": "ς", "²": "2",
    "…": "...",
}  # fmt: skip
PIECE = st.sampled_from(sorted(PIECES)) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Mn", "Mc", "Me"]), max_size=3
)


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(PIECE, max_size=6), st.lists(PIECE, min_size=1, max_size=5), st.lists(PIECE, max_size=6))
def test_an_exact_copy_is_found_where_it_is(before: list[str], middle: list[str], after: list[str]) -> None:
    snippet, text = "".join(middle), "".join([*before, *middle, *after])
    if not snippet.strip():
        return
    found = ground(snippet, None, text)
    assert found is not None
    assert (found.status, found.start) == ("answered", text.find(snippet))
    assert text[found.start : found.end] == snippet


def folded(text: str) -> str:
    """The contract's words, over a whole text at once."""
    table = str.maketrans(dict.fromkeys("‘’‚‛′`´", "'") | dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‐‑‒–—―−", "-"))
    text = unicodedata.normalize("NFKC", text.translate(table)).casefold().translate(table)
    return " ".join(text.split())


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.lists(PIECE, max_size=6),
    st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=5),
    st.lists(PIECE, max_size=6),
)
def test_another_typography_is_found_and_the_slice_means_the_same(
    before: list[str], middle: list[str], after: list[str]
) -> None:
    text = " ".join(["".join(before), "".join(middle), "".join(after)])
    snippet = "".join(PIECES[piece] for piece in middle)
    if not folded(snippet):
        return
    found = ground(snippet, None, text)
    assert found is not None
    assert found.status == "answered"
    assert folded(snippet) in folded(text[found.start : found.end])
    # No wider than needed: without its first or last code point the slice no longer holds the snippet.
    assert (
        folded(text[found.start + 1 : found.end]) != folded(text[found.start : found.end])
        or found.end - found.start == 1
    )


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(max_size=40), st.none() | st.text(max_size=20), st.text(max_size=120))
def test_offsets_lie_within_the_field(snippet: str, title: str | None, text: str) -> None:
    found = ground(snippet, title, text)
    if found is not None:
        field = text if found.field == "text" else title or ""
        assert snippet.strip()
        assert 0 <= found.start < found.end <= len(field)
        if found.status == "answered" and snippet not in (text, title or ""):
            assert folded(snippet) in folded(field[found.start : found.end])


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "“epsilon”", "zeta—eta"]), min_size=8, max_size=30),
    st.data(),
)
def test_fuzzy_offsets_are_a_real_slice(words: list[str], data: st.DataObject) -> None:
    text = "  ".join(words)
    at = data.draw(st.integers(0, len(words) - 6))
    snippet = " ".join(words[at : at + 6])
    cut = data.draw(st.integers(1, len(snippet) - 1))
    found = ground(snippet[:cut] + snippet[cut + 1 :], None, text)
    if found is not None:
        assert 0 <= found.start < found.end <= len(text)
